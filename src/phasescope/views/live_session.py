"""A session that a view keeps up with: its reader, its fold, and how it fares."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from phasescope.analysis.session_view import SessionView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.summary.summary import Summary
    from phasescope.readers.reader import Reader

_BUDGET_S = 0.04
_CHUNK = 256


class Followed:
    """A reader and the view that is fed from it. One thread at a time may use it; `close` it when done.

    `behind` says that there was more to read than one `poll` took. `missed` events were overwritten before they could
    be read, `damaged` places of the ring hold no true record.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.view = SessionView()
        self.behind = True
        self.missed = self.damaged = 0
        self._pending: Iterator[dict[str, Any]] | None = None

    def poll(self, budget_s: float = _BUDGET_S) -> int:
        """Take in what was written since the last time, for about so long at most; how many events that were.

        Where it is `behind` afterwards, call it again soon: a long ring takes a while at first. Raises OSError and
        RingError where the file can not be read any more.
        """
        taken, deadline = 0, time.monotonic() + budget_s
        if self._pending is None:
            self._pending = self.reader.unread()
        while True:
            count = self.view.feed(islice(self._pending, _CHUNK))
            taken += count
            self.missed, self.damaged = self.reader.missed, self.reader.damaged
            if count < _CHUNK:
                self._pending, self.behind = None, False
                return taken
            if time.monotonic() > deadline:
                self.behind = True
                return taken

    def catch_up(self) -> None:
        """Take in all that is there now, however long that takes; not what a fast writer adds meanwhile."""
        written: int | None = None
        while self.poll(1.0) and self.behind:
            if written is None:
                written = self.reader.written
            if self.view.events >= written:
                return

    def summary(self) -> Summary:
        """The table by phase, and how the devices stand."""
        return self.view.summary(self.missed, self.damaged)

    def ending(self, now_ns: int | None = None) -> Ending:
        """How it fares or ended. It is over only once everything that was written is taken in."""
        state = self.reader.state
        if state != "running":
            # What was written between the last poll and the end comes before the end.
            self.poll()
            if self.behind:
                state = "running"
        now_ns = time.time_ns() if now_ns is None else now_ns
        return self.view.ending(state, heartbeat_ns=self.reader.heartbeat_ns or None, now_ns=now_ns)

    def close(self) -> None:
        """Let go of the file. What was taken in stays."""
        self.reader.close()
