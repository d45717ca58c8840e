"""The sessions that pages look at now: each is read once, however many pages show it."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._attach import attach
from phasescope.analysis.jobs.imbalance import ranks as compared
from phasescope.analysis.text.state_word import silent_word, state_word
from phasescope.readers.default_session import default_session
from phasescope.readers.diagnosis import LAST_EVENTS, ending
from phasescope.views.catalogue import job_with
from phasescope.views.job_loader import MAX_RANKS, member
from phasescope.views.live_session import Followed
from phasescope.views.page import page_data
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from phasescope.views.catalogue import Catalogue, Entry

MAX_FOLLOWED = 80
_CATCH_UP_S = 0.5
_POLL_S = 0.05
_IDLE_S = 60.0
_LIST_S = 0.4
_WORDS_S = 0.1


class Hub:
    """Follows sessions for the pages. Safe for several threads; a session nobody looks at is let go after a minute."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._lock = threading.RLock()
        self._followed: dict[str, tuple[Followed, float]] = {}
        self._listed: tuple[float, list[list[Entry]]] | None = None
        self._words: dict[str, str] = {}

    def jobs(self) -> list[list[Entry]]:
        """Return the sessions there are by job, as of a moment ago."""
        with self._lock:
            now = self._clock()
            if self._listed is None or now - self._listed[0] > _LIST_S:
                self._listed = (now, self._catalogue.jobs())
                self._let_go(now)
            return self._listed[1]

    def words(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Return the word for how each is doing or ended, by its key; some of them are known only the next time."""
        with self._lock:
            until = self._clock() + _WORDS_S
            words = {entry.key: self._word(entry, until) for entry in entries}
            self._words = {key: word for key, word in self._words.items() if key in words}
            return {key: word for key, word in words.items() if word is not None}

    def _word(self, entry: Entry, until: float) -> str | None:
        if entry.state == "running":
            return entry.state if entry.silent_ns is None else silent_word(entry.silent_ns)
        if entry.key not in self._words and self._clock() < until:
            with contextlib.suppress(OSError, RingError, LookupError, ImportError), attach(Path(entry.path)) as reader:
                self._words[entry.key] = state_word(ending(reader, LAST_EVENTS))
        return self._words.get(entry.key)

    def newest(self) -> str | None:
        """Return the session to show first: that which a command takes if none is named, of a job the first rank."""
        meant = default_session([entry for run in self.jobs() for entry in run])
        if meant is None:
            return None
        return next(rank.key for rank in job_with(self.jobs(), meant.key) if rank.state == meant.state)

    def progress(self, key: str) -> tuple[int, int] | None:
        """Read on for half a second; return how many events are read of how many, None if all are or the session is
        gone."""
        with self._lock:
            followed = self._follow(key)
            if followed is None:
                return None
            _poll(followed, _CATCH_UP_S)
            return (followed.view.events, followed.reader.written) if followed.behind else None

    def snapshot(self, key: str) -> tuple[dict[str, Any], Cursor] | None:
        """Return everything to show of a session, and where the next `delta` begins; None if it is gone."""
        with self._lock:
            followed = self._follow(key)
            if followed is None:
                return None
            _poll(followed, _CATCH_UP_S)
            page = page_data.snapshot(followed)
            return {**page, "answer": _answer(followed)}, Cursor(followed)

    def delta(self, key: str, cursor: Cursor) -> dict[str, Any] | None:
        """Return everything new; None if the session is gone."""
        with self._lock:
            followed = self._follow(key)
            if followed is None:
                return None
            _poll(followed, _POLL_S)
            due = cursor.phases_are_due(followed, self._clock())
            news = page_data.delta(followed, cursor.last_ns, cursor.marked, with_phases=due)
            cursor.move(followed)
            return news

    def answer(self, key: str) -> dict[str, Any] | None:
        """Return a session's explanation, as of some seconds ago; None as long as that is not known."""
        with self._lock:
            followed = self._follow(key)
            return None if followed is None else _answer(followed)

    def job(self, key: str) -> dict[str, Any] | None:
        """Return the ranks of the session's job side by side; None if it is alone."""
        with self._lock:
            run = job_with(self.jobs(), key)
            if len(run) < 2:
                return None
            followed = [(entry, self._follow(entry.key, judged=entry.key == key)) for entry in run[:MAX_RANKS]]
            ranks = [(entry, each) for entry, each in followed if each is not None]
            for _, each in ranks:
                _poll(each, _CATCH_UP_S if each.behind else _POLL_S)
            if not ranks or any(each.behind for _, each in ranks):
                return None  # half of a rank's steps would look like a rank that is behind
            members = [member(entry, each) for entry, each in ranks]
            keys = [entry.key for entry, _ in ranks]
            return {**page_data.job_data(compared(members)), "keys": keys, "more": len(run) - len(keys)}

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            for followed, _ in self._followed.values():
                followed.close()
            self._followed.clear()

    def _follow(self, key: str, *, judged: bool = True) -> Followed | None:
        """Follow a session.

        With `judged` False, for a rank that is only compared, no answer is wanted, unless a page shows one.
        """
        now = self._clock()
        followed_at = self._followed.get(key)
        followed = None if followed_at is None else followed_at[0]
        if followed is None or (judged and not followed.judged):
            reader = self._catalogue.open(key)
            if reader is None:
                return followed
            if followed is not None:
                followed.close()
            followed = Followed(reader, judged=judged)
            if key not in self._followed and len(self._followed) >= MAX_FOLLOWED:
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
    """The events of a session that one page already has."""

    def __init__(self, followed: Followed) -> None:
        self.last_ns = self.marked = self.events = 0
        self.state: object = None
        self.move(followed)
        self._phases_at = 0.0
        self._phases_of = self.events

    def move(self, followed: Followed) -> None:
        """Note that the page has all of it."""
        self.last_ns = followed.view.timeline.last_ns or 0
        self.marked = followed.view.timeline.marked
        self.events = followed.view.events

    def phases_are_due(self, followed: Followed, now: float) -> bool:
        """Return whether the phase table is due: once a second, if there is anything new."""
        if self._phases_of == followed.view.events or now - self._phases_at < 1.0:
            return False
        self._phases_at, self._phases_of = now, followed.view.events
        return True


def _answer(followed: Followed) -> dict[str, Any] | None:
    try:
        answer = followed.answer()
    except (OSError, RingError):
        return None
    return None if answer is None else page_data.answer_data(answer)


def _poll(followed: Followed, budget_s: float) -> None:
    try:
        followed.poll(budget_s)
    except (OSError, RingError):
        return  # it was damaged or is out of reach: the events read stay
