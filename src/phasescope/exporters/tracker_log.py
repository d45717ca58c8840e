"""Live sessions in an experiment tracker: points while a session runs, and its summary and report once it is over.

The tracker's library is called in a thread of its own: it may wait for a server.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from phasescope.analysis.formatting import plural
from phasescope.exporters.quiet_threads import end_of_quiet, quiet_this_thread
from phasescope.exporters.remarks import safely
from phasescope.exporters.tracker_points import Points
from phasescope.readers.session_html import session_html

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span
    from phasescope.exporters.live_sessions import LiveSession, LiveSessions
    from phasescope.exporters.tracker_points import TrackerPoint
    from phasescope.readers.reader import Reader

QUEUE_LIMIT = 1000
"""The limit of a session's points that wait for the tracker; then the oldest are dropped and counted."""

_INTERVAL_S = 1.0
_LONGEST_PAUSE_S = 60.0
_JOIN_S = 60.0
_TRIES = 3


class TrackerRun(Protocol):
    """One session in the tracker. What its methods raise is tried again later. While the session runs it takes
    `at_once` points in a round."""

    at_once: int

    def log(self, points: list[TrackerPoint]) -> None:
        """Take the next points, oldest first."""

    def finish(self, summary: str, report: str) -> None:
        """Take the table and the page, and end."""


class Tracker(Protocol):
    """A tracker's library. `shown` says where to, without what may be secret."""

    shown: str

    def begin(self, constants: Mapping[str, Any]) -> TrackerRun:
        """Begin a run for the session with these constants."""


def short_report(reader: Reader) -> str:
    """Return the page that a notebook shows, as a file of its own."""
    return f'<!doctype html>\n<meta charset="utf-8">\n<title>phasescope</title>\n{session_html(reader)}'


class _Tracked:
    """One session: what waits for the tracker."""

    def __init__(self, session: LiveSession, every_steps: int) -> None:
        self.session = session
        self.points: deque[TrackerPoint] = deque()
        self.dropped = 0
        self.is_over = False
        self.tries = 0
        self.run: TrackerRun | None = None
        self._made = Points(every_steps)

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event."""
        self._put(self._made.take(event, scope, span))

    def end(self) -> None:
        """Make a point of the rest."""
        if not self.is_over:
            self.is_over = True
            self._put(self._made.last())

    def _put(self, point: TrackerPoint | None) -> None:
        if point is None:
            return
        self.points.append(point)
        while len(self.points) > QUEUE_LIMIT:
            self.points.popleft()
            self.dropped += 1


class TrackerLog:
    """An outlet to a tracker. `report` makes the page; `lock` guards the sessions, and is not held for the tracker."""

    patience_s = 20.0

    def __init__(
        self,
        tracker: Tracker,
        sessions: LiveSessions,
        lock: threading.Lock,
        *,
        every_steps: int,
        say: Callable[[str], object],
        report: Callable[[Reader], str] = short_report,
    ) -> None:
        self.shown = tracker.shown
        self._tracker = tracker
        self._lock = lock
        self._every_steps = every_steps
        self._say = safely(say)
        self._report = report
        self._tracked: dict[LiveSession, _Tracked] = {}
        self._left: list[_Tracked] = []
        self._dropped = self._unfinished = 0
        self._is_failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="phasescope-tracker", daemon=True)
        sessions.opened.append(self._open)
        sessions.closed.append(self._let_go)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Hand over what is there, and finish every run, within a bounded time."""
        self._ended.set()
        self._thread.join(_JOIN_S)
        with self._lock:
            for tracked in (*self._tracked.values(), *self._left):
                self._dropped += tracked.dropped + len(tracked.points)
                self._unfinished += 1

    def hurry(self) -> None:
        """Do nothing: a tracker's library cannot be interrupted; the thread is left to itself."""

    def remarks(self) -> list[str]:
        """Return what the tracker does not have."""
        counts = ((self._dropped, "point"), (self._unfinished, "summary and report"))
        return [f"{plural(count, noun)} not delivered, {self.shown}" for count, noun in counts if count]

    def abandon_in_child(self) -> None:
        """In a forked child, do nothing: its thread is the parent's."""

    def _open(self, session: LiveSession) -> None:
        tracked = self._tracked[session] = _Tracked(session, self._every_steps)
        session.watches.append(tracked.take)

    def _let_go(self, session: LiveSession) -> None:
        tracked = self._tracked.pop(session, None)
        if tracked is not None:
            tracked.end()
            self._left.append(tracked)

    def _run(self) -> None:
        quiet_this_thread()
        pause_s = _INTERVAL_S
        while not self._ended.wait(pause_s):
            is_well = self._round()
            pause_s = _INTERVAL_S if is_well else min(2 * pause_s, _LONGEST_PAUSE_S)
        for session in list(self._tracked):
            with self._lock:
                self._let_go(session)
        self._round()
        end_of_quiet()

    def _round(self) -> bool:
        """Hand over what waits; return whether the tracker took it."""
        with self._lock:
            for session in list(self._tracked):
                if session.state != "running" and not session.behind:
                    self._let_go(session)
            everything = [*self._tracked.values(), *self._left]
        is_well = True
        for tracked in everything:
            try:
                self._hand_over(tracked)
            except Exception as error:  # of the library, or of a server; its text may hold an address
                is_well = False
                self._fail(tracked, type(error).__name__)
        if is_well and self._is_failing:
            self._is_failing = False
            self._say(f"{self.shown} again")
        return is_well

    def _hand_over(self, tracked: _Tracked) -> None:
        with self._lock:
            points, is_over = list(tracked.points), tracked.is_over
        if points or is_over:
            if tracked.run is None:
                tracked.run = self._tracker.begin(tracked.session.constants)
            if not is_over:
                points = points[: tracked.run.at_once]
            if points:
                tracked.run.log(points)
                taken = set(map(id, points))
                with self._lock:
                    while tracked.points and id(tracked.points[0]) in taken:  # the oldest may be dropped by now
                        tracked.points.popleft()
        if is_over and tracked.run is not None:
            tracked.run.finish(*self._last_words(tracked.session))
            self._done(tracked)

    def _last_words(self, session: LiveSession) -> tuple[str, str]:
        """Return the table and the page; of a ring that is gone the table only."""
        table = str(session.summed().summary)
        try:
            with contextlib.closing(session.reopen()) as reader:
                return table, self._report(reader)
        except Exception:
            return table, ""

    def _fail(self, tracked: _Tracked, why: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._say(f"{self.shown}: {why}; it is tried again")
        tracked.tries += tracked.is_over
        if tracked.tries >= _TRIES:
            self._unfinished += 1
            self._done(tracked)

    def _done(self, tracked: _Tracked) -> None:
        with self._lock:
            self._dropped += tracked.dropped + len(tracked.points)
            self._left.remove(tracked)


def title_of(constants: Mapping[str, Any]) -> str:
    """Return how a session's run is called: by host, process and rank."""
    rank = f" rank {constants.get('rank')}" if (constants.get("world_size") or 1) > 1 else ""
    return f"{constants.get('host')} {constants.get('pid')}{rank}"[:120]


def about(constants: Mapping[str, Any]) -> dict[str, str]:
    """Return what identifies the session, as texts; the command line may hold secrets and is not in it."""
    names = ("session_id", "host", "pid", "job_id", "rank", "world_size")
    return {f"phasescope.{name}": str(constants[name])[:250] for name in names if constants.get(name) is not None}


def now_ms() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000_000
