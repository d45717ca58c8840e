"""A session that a view keeps up with: its reader, its fold, and how it is doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from phasescope.analysis.judged_view import JudgedView
from phasescope.analysis.session_view import SessionView
from phasescope.readers.diagnosis import oom_kills
from phasescope.readers.pieces import Pieces

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.summary.summary import Summary
    from phasescope.readers.reader import Reader

_BUDGET_S = 0.04
_JUDGE_AGAIN_S = 3.0


class Followed:
    """A reader and the view that is fed from it. One thread at a time may use it; `close` it when done.

    `behind` says that there was more to read than one `poll` took. `missed` events were overwritten before they could
    be read, `damaged` places of the ring hold no true record. `judged` False leaves out what only `answer` needs.
    """

    def __init__(self, reader: Reader, *, judged: bool = False) -> None:
        self.reader = reader
        self.judged = judged
        self.view = JudgedView() if judged else SessionView()
        self.pieces = Pieces(reader)
        self.missed = self.damaged = 0
        self._answer: Explanation | None = None
        self._answered: tuple[object, ...] = ()
        self._answer_again_s = 0.0

    @property
    def behind(self) -> bool:
        return self.pieces.behind

    def poll(self, budget_s: float = _BUDGET_S) -> int:
        """Take in the events written since the last time, for about `budget_s` at most; return how many there were.

        If it is `behind` afterwards, call it again soon: a long ring takes a while at first. Raises OSError and
        RingError if the file cannot be read any more.
        """
        taken, deadline = 0, time.monotonic() + budget_s
        while True:
            taken += self.view.feed(self.pieces.following())
            self.missed, self.damaged = self.reader.missed, self.reader.damaged
            if not self.behind or time.monotonic() > deadline:
                return taken

    def catch_up(self) -> None:
        """Take in all that is there now, however long that takes; not events that a fast writer adds meanwhile."""
        written: int | None = None
        while True:
            self.poll(1.0)
            if not self.behind:
                return
            if written is None:
                written = self.reader.written
            if self.view.events >= written:
                return

    def summary(self) -> Summary:
        """Return the table by phase, and how the devices stand."""
        return self.view.summary(self.missed, self.damaged)

    def ending(self, now_ns: int | None = None) -> Ending:
        """Return the ending, or the state of a session that runs.

        It is over only once all that was written is taken in.
        """
        state = self._state()
        now_ns = time.time_ns() if now_ns is None else now_ns
        return self.view.ending(state, heartbeat_ns=self.reader.heartbeat_ns or None, now_ns=now_ns)

    def _state(self) -> str:
        state = self.reader.state
        if state != "running":
            # Events written between the last poll and the end come before the end.
            self.poll()
            if self.behind:
                return "running"
        return state

    def answer(self) -> Explanation | None:
        """Return the explanation: of one that runs as of some seconds ago. None as long as it is not read to
        its end, or is not `judged`."""
        view = self.view
        if not isinstance(view, JudgedView) or (self.behind and self._answer is None):
            return None
        state = self._state()
        of = (view.events, self.missed, state)
        is_same = of == self._answered
        is_due = state not in self._answered or time.monotonic() >= self._answer_again_s
        if not is_same and is_due and not self.behind:
            self._answer = view.explanation(
                state,
                heartbeat_ns=self.reader.heartbeat_ns or None,
                now_ns=time.time_ns(),
                oom_kills=oom_kills(self.reader),
                missed=(self.missed, self.damaged),
                constants=self.reader.constants,
            )
            self._answered, self._answer_again_s = of, time.monotonic() + _JUDGE_AGAIN_S
        return self._answer

    def close(self) -> None:
        """Let go of the file. The events taken in stay."""
        self.reader.close()
