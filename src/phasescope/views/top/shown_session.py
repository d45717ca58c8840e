"""One session that is followed for the terminal view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.growth import GrowthFold
from phasescope.analysis.jobs.job import Member
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.timeline.timeline import Timeline
from phasescope.views.live_session import Followed
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.summary.summary import Summary
    from phasescope.readers.reader import Reader
    from phasescope.views.catalogue import Entry

_FEW_BUCKETS = 32


class _GrowingView(SessionView):
    """What is folded from the chosen session: growth too."""

    def __init__(self) -> None:
        super().__init__()
        self.growth = GrowthFold()

    def feed(self, events: Iterable[Mapping[str, Any]]) -> int:
        return super().feed(self._noted(events))

    def _noted(self, events: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for event in events:
            self.growth.add(event)
            yield event


class Watched:
    """A followed session. `full` False keeps only what a table of ranks needs: no timeline, no growth.

    `problem` says why it can be read no further, `is_gone` that its file is; what was read stays. `older` events were
    overwritten before it was first read, `lost` ones since then.
    """

    def __init__(self, entry: Entry, reader: Reader, *, full: bool) -> None:
        self.entry = entry
        self.full = full
        self.problem: str | None = None
        self.is_gone = False
        self.was_over = entry.state != "running"
        self.older: int | None = None
        self.followed = Followed(reader)
        self.followed.view = _GrowingView() if full else SessionView()
        if not full:
            self.followed.view.timeline = Timeline(_FEW_BUCKETS, _FEW_BUCKETS)
        self._ending: Ending | None = None
        self._summed: tuple[object, Summary] | None = None

    @property
    def view(self) -> SessionView:
        """What its events tell."""
        return self.followed.view

    @property
    def is_behind(self) -> bool:
        """Whether there is more to read now."""
        return self.followed.behind and self.problem is None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come, as of the last look."""
        return self.entry.state != "running"

    @property
    def lost(self) -> int:
        """Events that were overwritten while this view was reading."""
        return self.followed.missed - (self.older or 0)

    @property
    def growth(self) -> GrowthFold | None:
        """How its memory grows."""
        view = self.followed.view
        return view.growth if isinstance(view, _GrowingView) else None

    def poll(self, budget_s: float) -> int:
        """Take in what was written, for about so long at most; how many events."""
        if self.problem is not None:
            return 0
        try:
            if self.older is None:
                count = self.followed.poll(0.0)
                self.older = self.followed.missed
                return count
            return self.followed.poll(budget_s)
        except (OSError, RingError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
            return 0

    def ending(self) -> Ending:
        """How it fares or ended. One that is over does not change any more."""
        if self._ending is None or not self._ending.is_over or self.followed.behind:
            try:
                self._ending = self.followed.ending()
            except (OSError, RingError) as error:
                self.problem = getattr(error, "strerror", None) or str(error)
                self._ending = self.view.ending("unknown")
        return self._ending

    def summary(self) -> Summary:
        """The table by phase; made anew only where there is something new."""
        known = (self.view.events, self.followed.missed)
        if self._summed is None or self._summed[0] != known:
            self._summed = known, self.followed.summary()
        return self._summed[1]

    def glance(self) -> tuple[tuple[str, ...] | None, int | None]:
        """The innermost open phase, and what its device had allocated."""
        current, rows = self.view.current(), self.view.devices()
        return current[-1].path if current else None, rows[0].allocated_bytes if rows else None

    def member(self) -> Member:
        """For comparing it with the other ranks of its job."""
        return Member(self.entry.constants, self.view, self.summary(), self.ending())

    def close(self) -> None:
        """Let go of the file."""
        self.followed.close()
