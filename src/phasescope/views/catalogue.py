"""The sessions that a view can choose from: those of some directories, and those named by their path, as rings, as
recordings, or some as these and some as those."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._attach import attach
from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.jobs.grouping import group
from phasescope.analysis.liveness import silence_ns
from phasescope.readers.reader import SessionNotFoundError
from phasescope.recordings.formats import find
from phasescope.wire import ring_files
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phasescope.readers.reader import Reader

MOST = 256
"""The most sessions that are listed, the newest first."""


class Entry(NamedTuple):
    """A session that can be looked at. `key` names it in addresses and says nothing of its path; `silent_ns` is the age
    of its last sign of life if that is suspiciously long."""

    key: str
    path: str
    state: str
    constants: dict[str, Any]
    silent_ns: int | None = None
    heartbeat_ns: int | None = None


class Catalogue:
    """Looks again at each `entries`. `named` are files shown beside those in the directories.

    `directories` empty is: wherever this user's rings may lie; `only_named` is: nowhere.
    """

    def __init__(
        self,
        directories: Sequence[str | os.PathLike[str]] = (),
        named: Sequence[str | os.PathLike[str]] = (),
        *,
        only_named: bool = False,
    ) -> None:
        self._directories: Sequence[str | os.PathLike[str] | None] = () if only_named else (directories or (None,))
        self._named = [os.fspath(path) for path in named]
        self._paths: dict[str, str] = {}

    def entries(self) -> list[Entry]:
        """Return the sessions, the newest first, without those that cannot be read."""
        entries = []
        for path in self._files():
            try:
                with attach(path) as reader:
                    entries.append(_entry(path, reader))
            except (OSError, RingError, SessionNotFoundError, ImportError):
                continue
        self._paths = {entry.key: entry.path for entry in entries}
        return entries

    def jobs(self, entries: Sequence[Entry] | None = None) -> list[list[Entry]]:
        """Return the sessions by job, the newest job first, each by rank; a session alone is a job of one."""
        entries = self.entries() if entries is None else entries
        return [[entries[index] for index in run] for run in group(entry.constants for entry in entries)]

    def job_of(self, key: str) -> list[Entry]:
        """Return the sessions of this one's job, itself among them; empty if there is no such session."""
        return job_with(self.jobs(), key)

    def open(self, key: str) -> Reader | None:
        """Return a reader of the session; None if the session is no longer there."""
        if key not in self._paths:
            self.entries()
        path = self._paths.get(key)
        if path is None:
            return None
        with contextlib.suppress(OSError, RingError, SessionNotFoundError, ImportError):
            return attach(Path(path))
        return None

    def _files(self) -> list[Path]:
        paths = {os.path.realpath(path): Path(path) for path in self._named}
        for directory in self._directories:
            for path in ring_files.find(directory):
                if len(paths) < MOST:
                    paths.setdefault(os.path.realpath(path), path)
        return list(paths.values())


class Folders:
    """The sessions in these folders and files; without any, this user's rings, wherever they are.

    A session that is there twice, as a ring and recorded, counts once: as the ring while it runs, since that is the
    newest, else as the recording, which keeps what a ring overwrites.
    """

    def __init__(self, places: Sequence[str]) -> None:
        """Raise OSError if one cannot be read."""
        folders = [place for place in places if Path(place).is_dir()]
        files = [Path(place) for place in places if place not in folders]
        for file in files:
            file.stat()
        recordings = [recording for folder in folders for recording in find(folder)]
        self.catalogue = Catalogue(folders, [*files, *recordings], only_named=bool(places) and not folders)

    def jobs(self) -> list[list[Entry]]:
        """Return the ranks of each job that has several here, the newest job first."""
        return [job for job in self.catalogue.jobs(_once(self.catalogue.entries())) if len(job) > 1]


def _entry(path: Path, reader: Reader) -> Entry:
    state, interval_ms = reader.state, int_or_none(reader.constants.get("sampling_interval_ms"))
    silent_ns = silence_ns(state, reader.heartbeat_ns, interval_ms, time.time_ns())
    return Entry(key_of(path), os.fspath(path), state, reader.constants, silent_ns, reader.heartbeat_ns)


def _once(entries: Iterable[Entry]) -> list[Entry]:
    best: dict[object, Entry] = {}
    for entry in entries:
        session_id = entry.constants.get("session_id")
        former = best.get(session_id)
        if former is None or _worth(entry) > _worth(former):
            best[session_id] = entry
    return list(best.values())


def _worth(entry: Entry) -> tuple[bool, bool]:
    is_ring = entry.path.endswith(".ring")
    return is_ring and entry.state == "running", not is_ring


def job_with(jobs: Sequence[list[Entry]], key: str | None) -> list[Entry]:
    """Return the job that has this session; empty if none has."""
    index = index_of_job(jobs, key)
    return [] if index is None else jobs[index]


def index_of_job(jobs: Sequence[Sequence[Entry]], key: str | None) -> int | None:
    """Return the position of the job that has this session; None if none has."""
    return next((index for index, job in enumerate(jobs) if any(entry.key == key for entry in job)), None)


def key_of(path: str | os.PathLike[str]) -> str:
    """Return the key of a session's file in addresses."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
