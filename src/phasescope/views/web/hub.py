"""The sessions that pages look at now: each is read once, however many pages show it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from phasescope.analysis.jobs.job import Member, job
from phasescope.views.live_session import Followed
from phasescope.views.page import page_data
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.views.catalogue import Catalogue, Entry

MAX_FOLLOWED = 80
_CATCH_UP_S = 0.5
_POLL_S = 0.05
_IDLE_S = 60.0
_LIST_S = 0.4
_MAX_RANKS = 64


class Hub:
    """Follows sessions for the pages. Safe for several threads; a session nobody looks at is let go after a minute."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._lock = threading.RLock()
        self._followed: dict[str, tuple[Followed, float]] = {}
        self._listed: tuple[float, list[list[Entry]]] | None = None

    def jobs(self) -> list[list[Entry]]:
        """The sessions there are by job, as of a moment ago."""
        with self._lock:
            now = self._clock()
            if self._listed is None or now - self._listed[0] > _LIST_S:
                self._listed = (now, self._catalogue.jobs())
                self._let_go(now)
            return self._listed[1]

    def newest(self) -> str | None:
        """The session started last, running ones first."""
        entries = [entry for run in self.jobs() for entry in run]
        running = [entry for entry in entries if entry.state == "running"]
        return next((entry.key for entry in (*running, *entries)), None)

    def progress(self, key: str) -> tuple[int, int] | None:
        """Read on for half a second; how many events are read of how many, None where all are or the session is
        gone."""
        with self._lock:
            followed = self._follow(key)
            if followed is None:
                return None
            _poll(followed, _CATCH_UP_S)
            return (followed.view.events, followed.reader.written) if followed.behind else None

    def snapshot(self, key: str) -> tuple[dict[str, Any], Cursor] | None:
        """All that there is to show of a session, and where the next `delta` begins; None where it is gone."""
        with self._lock:
            followed = self._follow(key)
            if followed is None:
                return None
            _poll(followed, _CATCH_UP_S)
            told = page_data.snapshot(followed)
            return told, Cursor(followed)

    def delta(self, key: str, cursor: Cursor) -> dict[str, Any] | None:
        """What is new; None where the session is gone."""
        with self._lock:
            followed = self._follow(key)
            if followed is None:
                return None
            _poll(followed, _POLL_S)
            due = cursor.phases_are_due(followed, self._clock())
            told = page_data.delta(followed, cursor.last_ns, cursor.marked, with_phases=due)
            cursor.move(followed)
            return told

    def job(self, key: str) -> dict[str, Any] | None:
        """The ranks of the session's job side by side; None where it is alone."""
        with self._lock:
            run = next((run for run in self.jobs() if any(entry.key == key for entry in run)), [])
            if len(run) < 2:
                return None
            followed = [(entry, self._follow(entry.key)) for entry in run[:_MAX_RANKS]]
            known = [(entry, each) for entry, each in followed if each is not None]
            for _, each in known:
                _poll(each, _CATCH_UP_S if each.behind else _POLL_S)
            if not known or any(each.behind for _, each in known):
                return None  # half of a rank's steps would look like a rank that is behind
            members = [Member(entry.constants, each.view, each.summary(), each.ending()) for entry, each in known]
            keys = [entry.key for entry, _ in known]
            return {**job(members).to_dict(), "keys": keys, "more": len(run) - len(keys)}

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            for followed, _ in self._followed.values():
                followed.close()
            self._followed.clear()

    def _follow(self, key: str) -> Followed | None:
        now = self._clock()
        known = self._followed.get(key)
        followed = None if known is None else known[0]
        if followed is None:
            reader = self._catalogue.open(key)
            if reader is None:
                return None
            followed = Followed(reader)
            if len(self._followed) >= MAX_FOLLOWED:
                oldest = min(self._followed, key=lambda other: self._followed[other][1])
                self._followed.pop(oldest)[0].close()
        self._followed[key] = (followed, now)
        return followed

    def _let_go(self, now: float) -> None:
        for key, (followed, used) in list(self._followed.items()):
            if now - used > _IDLE_S:
                followed.close()
                del self._followed[key]


class Cursor:
    """How far one page has been told of a session."""

    def __init__(self, followed: Followed) -> None:
        self.last_ns = self.marked = self.events = 0
        self.state: object = None
        self.move(followed)
        self._phases_at = 0.0
        self._phases_of = self.events

    def move(self, followed: Followed) -> None:
        """All of it has been told."""
        self.last_ns = followed.view.timeline.last_ns or 0
        self.marked = followed.view.timeline.marked
        self.events = followed.view.events

    def phases_are_due(self, followed: Followed, now: float) -> bool:
        """Whether the phase table is due: once a second, where there is anything new."""
        if self._phases_of == followed.view.events or now - self._phases_at < 1.0:
            return False
        self._phases_at, self._phases_of = now, followed.view.events
        return True


def _poll(followed: Followed, budget_s: float) -> None:
    try:
        followed.poll(budget_s)
    except (OSError, RingError):
        return  # it was damaged or is out of reach: what was read stays
