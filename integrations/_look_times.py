"""When to look at what memory is made of: at first, once the set has changed, and else rarely."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from phasescope import current

from ._scopes import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope import Session

ONE_PART_IN = 2500
"""The looks of a session take this part of its time: what asking costs at each step comes on top."""

AT_LEAST_NS = 1_000_000_000
_COMPARE_NS = 50_000_000

ALWAYS = 3
"""The first looks of a session, whatever they cost."""


class Pause:
    """How long it is not asked whether the set has changed: the longer it has not, the longer, up to a second.

    To ask is as dear as a tenth of a look, since nothing of what it takes is in the caches by then.
    """

    def __init__(self) -> None:
        self._ns = _COMPARE_NS

    def after(self, has_changed: bool) -> int:
        """Return it, in ns, after an answer."""
        pause_ns = _COMPARE_NS if has_changed else self._ns
        self._ns = min(2 * pause_ns, AT_LEAST_NS)
        return pause_ns


class LookTimes:
    """The looks of one session so far, and when the next one is due."""

    __slots__ = (
        "_asked_again_ns",
        "_began_ns",
        "_due_ns",
        "_has_time_ns",
        "_look_began_ns",
        "_now_ns",
        "_pause",
        "_seen",
        "_session_id",
        "looks",
        "spent_ns",
    )

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now_ns = now_ns
        self._session_id: str | None = None
        self.begin(None)

    def begin(self, session_id: str | None) -> None:
        """Begin with a session, if it is another one than before."""
        if session_id is not None and session_id == self._session_id:
            return
        self._session_id = session_id
        self._began_ns = self._due_ns = self._has_time_ns = self._now_ns()
        self._asked_again_ns = self._look_began_ns = 0
        self._pause = Pause()
        self._seen: object = None
        self.looks = self.spent_ns = 0

    def is_soon(self, session_id: str) -> bool:
        """Return whether it is too early to ask anything of this session, in less than a microsecond."""
        return session_id == self._session_id and self._now_ns() < self._asked_again_ns

    def is_due(self, outline: Callable[[], object]) -> bool:
        """Return whether to look now. `outline` returns what differs once the set does, as far as that is quick."""
        if self.looks < ALWAYS:
            return True
        now_ns = self._now_ns()
        if now_ns < self._asked_again_ns:
            return False
        if now_ns >= self._due_ns:
            return True
        if now_ns < self._has_time_ns:
            self._asked_again_ns = self._has_time_ns
            return False
        has_changed = outline() != self._seen
        self._asked_again_ns = min(self._due_ns, now_ns + self._pause.after(has_changed))
        return has_changed

    def look_begins(self) -> None:
        """Note that a look begins."""
        self._look_began_ns = self._now_ns()
        self.looks += 1

    def look_ended(self, outline: object) -> None:
        """Note its end, and how the set was then."""
        now_ns = self._now_ns()
        took_ns = now_ns - self._look_began_ns
        self.spent_ns += took_ns
        self._seen = outline
        self._has_time_ns = self._began_ns + (self.spent_ns + took_ns) * ONE_PART_IN  # for one more of them
        self._due_ns = max(now_ns + AT_LEAST_NS, self._has_time_ns)
        self._asked_again_ns = 0


class TimedLooks:
    """Looks at what is in memory, in whichever session runs: one at a time, and when it is time to."""

    def __init__(self) -> None:
        self._times = LookTimes()
        self._busy = threading.Lock()

    def look_if_due(self, outline: Callable[[], object], look: Callable[[Session, LookTimes], None]) -> None:
        """Look, if there is a session and it is time to. `outline` is as in `LookTimes.is_due`."""
        session = current()
        if session is None or self._times.is_soon(session.session_id) or not self._busy.acquire(blocking=False):
            return
        times = self._times
        try:
            times.begin(session.session_id)
            if times.is_due(outline):
                times.look_begins()
                try:
                    look(session, times)
                finally:
                    times.look_ended(outline())
        except Exception as error:  # the training feels nothing
            logger.debug("not counted (%s: %s)", type(error).__name__, error)
        finally:
            self._busy.release()
