"""The sessions that are looked at: which there are, the chosen one's job followed, the others glanced at."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._attach import attach
from phasescope.analysis.devices import Devices
from phasescope.analysis.spans import current_phase
from phasescope.readers.default_session import default_session
from phasescope.readers.diagnosis import LAST_EVENTS, Moment
from phasescope.views.catalogue import index_of_job, job_with, key_of
from phasescope.views.job_loader import MAX_RANKS
from phasescope.views.top.shown_session import Watched
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.jobs.job import Job
    from phasescope.views.catalogue import Catalogue, Entry

_FULL_RANKS = 8
"""The most ranks of which all is kept; of others only the figures of their table, until one is chosen."""

_GLANCE_AGAIN_S = 1.0


class Glance(NamedTuple):
    """A session's columns in the list: the innermost open phase, its device's allocated bytes, and how it is doing or
    ended, None if it cannot be read."""

    phase: tuple[str, ...] | None
    allocated_bytes: int | None
    ending: Ending | None
    at_s: float


class SessionWatch:
    """Call `look` once a second, `poll` some times a second, and `close` at the end.

    `jobs` are the sessions there are, `key` is the chosen one. `pid` is of a process whose next session is chosen too
    when this one is over. `news` is a message for the person, shown once.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        path: str | Path | None = None,
        pid: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs: list[list[Entry]] = []
        self.key: str | None = None if path is None else key_of(path)
        self.news: str | None = None
        self._catalogue = catalogue
        self._pid = pid
        self._clock = clock
        self._by_hand = path is not None
        self._known: set[str] = set()
        self._watched: dict[str, Watched] = {}
        self._glances: dict[str, Glance] = {}
        self._turn = 0

    @property
    def chosen(self) -> Watched | None:
        """The chosen session."""
        return self._watched.get(self.key or "")

    @property
    def ranks(self) -> list[Watched]:
        """The followed sessions of the chosen one's job, by rank."""
        return [self._watched[entry.key] for entry in self.job if entry.key in self._watched]

    @property
    def job(self) -> list[Entry]:
        """The chosen session's job; if its file is gone, the parts that are known."""
        return job_with(self.jobs, self.key) or ([self.chosen.entry] if self.chosen is not None else [])

    def look(self) -> None:
        """See which sessions there are, and follow the chosen one's job."""
        self.jobs = self._catalogue.jobs()
        entries = {entry.key: entry for job in self.jobs for entry in job}
        for key, watched in self._watched.items():
            watched.is_gone = key not in entries
            watched.entry = entries.get(key, watched.entry)
        self._choose(entries)
        self._known |= entries.keys()
        self._glances = {key: glance for key, glance in self._glances.items() if key in entries}
        self._follow()

    def _choose(self, entries: dict[str, Entry]) -> None:
        newest_first = sorted(entries.values(), key=_started, reverse=True)
        running = [entry for entry in newest_first if entry.state == "running"]
        fresh = [entry for entry in running if entry.key not in self._known] if self._known else []
        again = self._begun_again(running)
        if again is not None:
            self.key, self.news = again.key, f"pid {self._pid} has begun a new session"
        elif not self._by_hand and (self.key is None or (self.chosen is not None and self.chosen.was_over)):
            # Nobody looks at a session that was over before it was first seen, once something runs.
            meant = default_session(newest_first)
            self.key = self.key if meant is None else self._first_rank(meant).key
        elif fresh:
            self.news = f"a new session has begun: pid {fresh[0].constants.get('pid')}"

    def _begun_again(self, running: Iterable[Entry]) -> Entry | None:
        """Return the next session of the process that was named, once the one that is shown is over."""
        chosen = self.chosen
        if self._pid is None or chosen is None or not (chosen.is_over or chosen.is_gone):
            return None
        same = (entry for entry in running if entry.constants.get("pid") == self._pid and entry.key != self.key)
        return next((entry for entry in same if _started(entry) > _started(chosen.entry)), None)

    def _first_rank(self, entry: Entry) -> Entry:
        """Return the first rank of the entry's job that is in its state."""
        job = next((job for job in self.jobs if entry in job), [entry])
        return next((rank for rank in job if rank.state == entry.state), entry)

    def _follow(self) -> None:
        wanted = self.job[:MAX_RANKS]
        if self.key is not None and all(entry.key != self.key for entry in wanted):
            wanted += [entry for entry in self.job if entry.key == self.key]
        for key in self._watched.keys() - {entry.key for entry in wanted}:
            self._watched.pop(key).close()
        for entry in wanted:
            full = entry.key == self.key or len(wanted) <= _FULL_RANKS
            followed = self._watched.get(entry.key)
            if followed is None or (full and not followed.full):
                self._open(entry, full)

    def _open(self, entry: Entry, full: bool) -> None:
        reader = self._catalogue.open(entry.key)
        if reader is None:
            return
        former = self._watched.pop(entry.key, None)
        if former is not None:
            former.close()
        self._watched[entry.key] = Watched(entry, reader, full=full)

    def choose(self, key: str) -> None:
        """Look at this session from now on."""
        if key != self.key:
            self.key, self._by_hand, self._pid = key, True, None
            self._follow()

    def choose_job(self, by: int) -> None:
        """Look at the job this many further down the list; of its ranks the first."""
        index = index_of_job(self.jobs, self.key)
        if self.jobs:
            index = 0 if index is None else max(0, min(len(self.jobs) - 1, index + by))
            if all(entry.key != self.key for entry in self.jobs[index]):
                self.choose(self.jobs[index][0].key)

    def choose_rank(self, by: int) -> None:
        """Look at another rank of the job, after the last the first again."""
        keys = [entry.key for entry in self.job]
        if self.key in keys and len(keys) > 1:
            self.choose(keys[(keys.index(self.key) + by) % len(keys)])

    def poll(self, budget_s: float) -> bool:
        """Take in new events, the chosen session's first; return whether there is more to read."""
        deadline = time.monotonic() + budget_s
        chosen = self.chosen
        if chosen is not None:
            chosen.poll(budget_s)
        others = [watched for watched in self.ranks if watched is not chosen]
        for _ in range(len(others)):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            self._turn += 1
            others[self._turn % len(others)].poll(left_s)
        return any(watched.is_behind for watched in self.ranks)

    def glance(self, keys: Iterable[str]) -> None:
        """Look briefly at the one of these sessions that was not looked at for the longest time."""
        entries = {entry.key: entry for job in self.jobs for entry in job}
        listed = [entries[key] for key in keys if key in entries and key not in self._watched]
        due = [entry for entry in listed if self._is_due(entry)]
        if due:
            entry = min(due, key=lambda entry: self._seen_s(entry.key))
            self._glances[entry.key] = _glance(entry, self._clock())

    def _is_due(self, entry: Entry) -> bool:
        glance = self._glances.get(entry.key)
        if glance is None:
            return True
        is_final = entry.state != "running" and (glance.ending is None or glance.ending.is_over)
        return not is_final and self._clock() - glance.at_s >= _GLANCE_AGAIN_S

    def _seen_s(self, key: str) -> float:
        glance = self._glances.get(key)
        return -1.0 if glance is None else glance.at_s

    def glanced(self, key: str) -> Glance | None:
        """Return a session's columns for the list, without reading anything."""
        watched = self._watched.get(key)
        return self._glances.get(key) if watched is None else Glance(*watched.glance(), 0.0)

    def compared(self) -> Job | None:
        """Return the ranks of the chosen session's job side by side; None if it has one rank only, or
        as long as one is not read."""
        from phasescope.analysis.jobs.job import job

        ranks = self.ranks
        if any(watched.is_reading for watched in ranks):
            return None  # half of a rank's steps would look like a rank that is behind
        return job([watched.member() for watched in ranks]) if len(ranks) > 1 else None

    def close(self) -> None:
        """Let go of all files."""
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()


def _started(entry: Entry) -> int:
    started_ns: Any = entry.constants.get("started_ns")
    return started_ns if type(started_ns) is int else 0


def _glance(entry: Entry, at_s: float) -> Glance:
    phase, allocated_bytes, ending = None, None, None
    with contextlib.suppress(OSError, RingError, LookupError, ImportError), attach(Path(entry.path)) as reader:
        moment = Moment.of(reader)
        events = reader.events(last=LAST_EVENTS)
        ending = moment.ending_by(events)
        devices = Devices()
        for event in events:
            devices.see(event)
        rows = devices.rows()
        phase = current_phase(events)
        allocated_bytes = rows[0].allocated_bytes if rows else None  # accelerators come before the host
    return Glance(phase, allocated_bytes, ending, at_s)
