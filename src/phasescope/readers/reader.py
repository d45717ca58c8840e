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

    from phasescope.analysis.summary.packed_summary import Watch
    from phasescope.analysis.summary.summary import Summary, SummaryFold
    from phasescope.analysis.timeline.timeline import Timeline
    from phasescope.recordings.source import Problem
    from phasescope.wire.envelope import ProjectedTelemetryRecord


class SessionNotFoundError(LookupError):
    """There is no such session here; the text says what was looked for and where."""


class Reader(ABC):
    """One session, of a ring (`RingReader`) or a recording (`RecordingReader`). `attach()` makes them.

    `missed` and `damaged` say what the last reading could not give. Of a recording `problems` names the first of the
    damaged places, and `others` counts the events of further sessions in the file, by their id.
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
        """Let go of the file. Whatever is read afterwards raises ValueError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str | None:
        """What a notebook shows: how the session stands, and its summary. None, and so the plain text, once closed."""
        from phasescope.analysis.text.summary_html import summary_html

        try:
            return summary_html(self.summary(), f"{self!r}, {self.state}")
        except (OSError, ValueError):
            return None

    @property
    @abstractmethod
    def constants(self) -> dict[str, Any]:
        """What the session said of itself when it began: `session_id`, `host`, `pid`, `command`, `rank`, …"""

    @property
    @abstractmethod
    def state(self) -> str:
        """`running`, `stopped` (it ended cleanly), `dead` (its process is gone without having stopped it), or of a
        recording `unknown`."""

    @property
    @abstractmethod
    def heartbeat_ns(self) -> int:
        """When the sampler last ran, wall clock."""

    @property
    @abstractmethod
    def written(self) -> int:
        """How many events the session has written, those included that are gone by now."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """How many events the session could not write, as of its last heartbeat."""

    @abstractmethod
    def iter_events(self) -> Iterator[dict[str, Any]]:
        """The events that are there now, the oldest first, as TelemetryEvent v3 dicts."""

    def events(self, last: int | None = None) -> list[dict[str, Any]]:
        """The events that are there now, or the last so many of them."""
        return list(self.iter_events()) if last is None else self._last(last)

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """The same as envelopes."""
        from phasescope.wire.envelope import project_owned_event

        events = self.iter_events() if last is None else self._last(last)
        return [project_owned_event(event) for event in events]

    def latest(self) -> dict[str, Any] | None:
        """The newest event."""
        return next(iter(self._last(1)), None)

    @abstractmethod
    def follow(self, *, from_start: bool = False) -> Iterator[dict[str, Any]]:
        """Events as they are written, from what comes next, or `from_start` from the oldest kept."""

    def summary(self) -> Summary:
        """The table by phase path, and its rows as data."""
        return self.fold().summary(self.missed, self.damaged)

    @abstractmethod
    def fold(self, watch: Watch | None = None) -> SummaryFold:
        """What a summary is made of, in one fast pass. `watch` looks on: for how the session ended, and what grows."""

    def timeline(self) -> Timeline:
        """Memory over time per device, phases as bands, and marks; `to_dict()` has it as plain data."""
        from phasescope.analysis.timeline.timeline import timeline

        return timeline(self.iter_events())

    @abstractmethod
    def unread(self) -> Iterator[dict[str, Any]]:
        """The events written since this was last asked, the first time all that are there. Never waits.

        Read each to its end: what is left of one is not in the next.
        """

    @abstractmethod
    def _last(self, count: int) -> list[dict[str, Any]]:
        """The newest so many events, or all where there are fewer."""
