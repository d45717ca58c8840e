"""One session that is followed for the terminal view."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope._attach import attach
from phasescope.analysis.jobs.job import Member
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.timeline.timeline import Timeline
from phasescope.views.live_session import Followed
from phasescope.wire import ring_directories
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.summary.summary import Summary
    from phasescope.readers.reader import Reader
    from phasescope.views.catalogue import Entry

_FEW_BUCKETS = 32
_NEWEST_EVENTS = 256
_LOOK_AGAIN_S = 1.0


class Watched:
    """A followed session. `full` False keeps only the data of a table of ranks: no timeline, no answer.

    `problem` says why it can be read no further, `is_gone` that its file is; the events read stay. `older` events were
    overwritten before it was first read, `lost` ones since then.
    """

    def __init__(self, entry: Entry, reader: Reader, *, full: bool) -> None:
        self.entry = entry
        self.full = full
        self.problem: str | None = None
        self.is_gone = False
        self.was_over = entry.state != "running"
        self.older: int | None = None
        self.followed = Followed(reader, judged=full)
        if not full:
            self.followed.view.timeline = Timeline(_FEW_BUCKETS, _FEW_BUCKETS)
        self._ending: Ending | None = None
        self._written_at_first: int | None = None
        self._has_caught_up = False
        self._newest: tuple[float, SessionView] | None = None
        self._summed: tuple[object, Summary] | None = None

    @property
    def view(self) -> SessionView:
        """The view of its events."""
        return self.followed.view

    @property
    def is_behind(self) -> bool:
        """Whether there is more to read now."""
        return self.followed.behind and self.problem is None

    @property
    def is_reading(self) -> bool:
        """Whether the events there at first are not all read yet: a picture of it would be an old one."""
        return not self._has_caught_up and self.problem is None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come, as of the last look."""
        return self.entry.state != "running"

    @property
    def lost(self) -> int:
        """Events that were overwritten while this view was reading."""
        return self.followed.missed - (self.older or 0)

    def poll(self, budget_s: float) -> int:
        """Take in new events, for about so long at most; return how many."""
        if self.problem is not None:
            return 0
        try:
            count = self.followed.poll(0.0 if self.older is None else budget_s)
            if self.older is None:
                self.older = self.followed.missed
            self._note_how_far()
            return count
        except (OSError, RingError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
            return 0

    def _note_how_far(self) -> None:
        """Note whether all is read that was there at first: a fast writer may always be some events ahead."""
        if self._has_caught_up:
            return
        if self.followed.behind and self._is_ring and self._written_at_first is None:
            self._written_at_first = self.followed.reader.written
        read, first = self.view.events + self.followed.missed, self._written_at_first
        self._has_caught_up = not self.followed.behind or (first is not None and read >= first)
        if self._has_caught_up:
            self._newest = None

    @property
    def _is_ring(self) -> bool:
        """Whether its end can be read without all that is before it."""
        return self.entry.path.endswith(ring_directories.SUFFIX)

    def newest(self) -> SessionView:
        """Return a view of the newest events alone, as of a second ago at most, for the time until all are read."""
        now = time.monotonic()
        if self._newest is None or now - self._newest[0] >= _LOOK_AGAIN_S:
            view = SessionView()
            if self._is_ring:
                with contextlib.suppress(OSError, RingError, LookupError), attach(Path(self.entry.path)) as reader:
                    view.feed(reader.events(last=_NEWEST_EVENTS))
            self._newest = now, view
        return self._newest[1]

    def newest_ending(self) -> Ending:
        """Return how it is doing or ended by its header and its newest events."""
        reader, view = self.followed.reader, self.newest()
        try:
            return view.ending(reader.state, heartbeat_ns=reader.heartbeat_ns or None, now_ns=time.time_ns())
        except (OSError, RingError):
            return view.ending("unknown")

    def ending(self) -> Ending:
        """Return its state or ending. One that is over does not change any more."""
        if self._ending is None or not self._ending.is_over or self.followed.behind:
            try:
                self._ending = self.followed.ending()
            except (OSError, RingError) as error:
                self.problem = getattr(error, "strerror", None) or str(error)
                self._ending = self.view.ending("unknown")
        return self._ending

    def answer(self) -> Explanation | None:
        """Return its explanation, as of some seconds ago; None as long as that is not known."""
        try:
            return self.followed.answer()
        except (OSError, RingError):
            return None

    def summary(self) -> Summary:
        """Return the table by phase; made again only if there is something new."""
        state = (self.view.events, self.followed.missed)
        if self._summed is None or self._summed[0] != state:
            self._summed = state, self.followed.summary()
        return self._summed[1]

    def glance(self) -> tuple[tuple[str, ...] | None, int | None, Ending]:
        """Return the innermost open phase, its device's allocated bytes, and how it is doing or ended."""
        view = self.newest() if self.is_reading else self.view
        current, rows = view.current(), view.devices()
        ending = self.newest_ending() if self.is_reading else self.ending()
        return current[-1].path if current else None, rows[0].allocated_bytes if rows else None, ending

    def member(self) -> Member:
        """Return it for comparison with the other ranks of its job."""
        return Member(self.entry.constants, self.view, self.summary(), self.ending())

    def close(self) -> None:
        """Let go of the file."""
        self.followed.close()
