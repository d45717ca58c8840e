"""What every reader of a session answers, of a ring or of a recording, live, finished or killed. It only ever reads.

The same reader serves in the training's own process, in another one, and over what a killed process left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.summary.packed_summary import SummaryObserver
    from phasescope.analysis.summary.summary import Summary, SummaryFold
    from phasescope.analysis.timeline.timeline import Timeline
    from phasescope.recordings.source import Problem
    from phasescope.wire.envelope import ProjectedTelemetryRecord


class SessionNotFoundError(LookupError):
    """No such session was found; the text says which one was looked for, and where."""


def state_of(reader: Reader, *, inside: bool) -> str:
    """Return the session's state, as `Reader.state` does, for a reader that may be `inside` the session's own process.

    A program that became a daemon has closed the ring's descriptor, and so its lock is free; inside, it is known to
    live all the same.
    """
    state = reader.state
    return "running" if inside and state == "dead" else state


class Reader(ABC):
    """One session, read from its ring or from a recording, live or later. Made by `attach()`.

    `path` is the file, None if the ring is in memory. The last reading missed `missed` events, which were overwritten
    before, and found `damaged` places that hold no event. Of a recording, `problems` names the first of those places,
    and `others` counts the events of further sessions in the file by session id.
    """

    path: Path | None
    problems: Sequence[Problem] = ()
    others: Mapping[str, int] = MappingProxyType({})

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.missed = 0
        self.damaged = 0

    @abstractmethod
    def close(self) -> None:
        """Close the file. Any later reading raises ValueError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows: how the session stands, its memory over time, and its summary. None, and so the
        plain text, once closed."""
        from phasescope.readers.session_html import session_html

        try:
            return session_html(self)
        except (OSError, ValueError):
            return None

    @property
    @abstractmethod
    def constants(self) -> dict[str, Any]:
        """The facts that the session recorded when it began: `session_id`, `host`, `pid`, `command`, `rank`, …"""

    @property
    @abstractmethod
    def state(self) -> str:
        """`running`, `stopped` (it ended cleanly), `dead` (its process disappeared without stopping it), or `unknown`
        if a recording does not say."""

    @property
    @abstractmethod
    def heartbeat_ns(self) -> int:
        """The wall-clock time at which the sampler last ran, in ns since the epoch."""

    @property
    @abstractmethod
    def written(self) -> int:
        """The number of events that the session has written, including those that were overwritten."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """The number of events that the session could not write, as of its last heartbeat."""

    @abstractmethod
    def iter_events(self) -> Iterator[dict[str, Any]]:
        """Iterate over the events that are there now, oldest first, as TelemetryEvent v3 dicts."""

    def events(self, last: int | None = None) -> list[dict[str, Any]]:
        """Return the events that are there now, or only the `last` ones, oldest first, as TelemetryEvent v3 dicts."""
        return list(self.iter_events()) if last is None else self._last(last)

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """Return the same events as envelopes."""
        from phasescope.wire.envelope import project_owned_event

        events = self.iter_events() if last is None else self._last(last)
        return [project_owned_event(event) for event in events]

    def latest(self) -> dict[str, Any] | None:
        """Return the newest event, or None if there is none."""
        return next(iter(self._last(1)), None)

    @abstractmethod
    def follow(self, *, from_start: bool = False) -> Iterator[dict[str, Any]]:
        """Iterate over events as they are written, and end when the session does.

        It begins with the next event, or with the oldest one that is kept if `from_start`.
        """

    def summary(self) -> Summary:
        """Sum up the session: phases, devices and events. `print()` shows it as a table."""
        return self.fold().summary(self.missed, self.damaged)

    @abstractmethod
    def fold(self, watch: SummaryObserver | None = None) -> SummaryFold:
        """Return what a summary is made of, in one fast pass. `watch` looks on: for how the session ended, and what
        grows."""

    def ending(self) -> Ending:
        """Return how the session is doing, or how it ended."""
        from phasescope.readers.diagnosis import ending

        return ending(self)

    def explain(self) -> Explanation:
        """Return what happened to the session's memory: the cause, what held it, and what to try first.

        `str()` of it is the text for a person. It reads every event once, as `summary()` does.
        """
        from phasescope.readers.diagnosis import explain

        return explain(self)

    def timeline(self) -> Timeline:
        """Return the memory of each device over time, with the phases as bands; `to_dict()` has it as plain data."""
        from phasescope.analysis.timeline.timeline import timeline

        return timeline(self.iter_events())

    @abstractmethod
    def unread(self) -> Iterator[dict[str, Any]]:
        """Iterate over the events written since the last call, at first over all that are there. Never wait for more.

        Read each iterator to its end: the next one does not repeat what was left.
        """

    @abstractmethod
    def _last(self, count: int) -> list[dict[str, Any]]:
        """Return that many of the newest events, or all if there are fewer."""
