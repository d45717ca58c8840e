"""The sessions that a view can choose from: those of some directories, and those named by their path."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._attach import attach
from phasescope.analysis.jobs.grouping import group
from phasescope.readers.reader import SessionNotFoundError
from phasescope.wire import ring_files
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.readers.reader import Reader

MOST = 256
"""So many sessions are listed at most, the newest first."""


class Entry(NamedTuple):
    """A session that can be looked at. `key` names it in addresses and says nothing of its path."""

    key: str
    path: str
    state: str
    constants: dict[str, Any]


class Catalogue:
    """Looks anew at each `entries`. `named` are files shown beside what lies in the directories.

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
        """The sessions, the newest first; what can not be read is left out."""
        found = []
        for path in self._files():
            try:
                with attach(path) as reader:
                    found.append(Entry(key_of(path), os.fspath(path), reader.state, reader.constants))
            except (OSError, RingError, SessionNotFoundError, ImportError):
                continue
        self._paths = {entry.key: entry.path for entry in found}
        return found

    def jobs(self, entries: Sequence[Entry] | None = None) -> list[list[Entry]]:
        """The sessions by job, the newest job first, each by rank; a session alone is a job of one."""
        entries = self.entries() if entries is None else entries
        return [[entries[at] for at in run] for run in group(entry.constants for entry in entries)]

    def job_of(self, key: str) -> list[Entry]:
        """The sessions of this one's job, itself among them; empty where there is no such session."""
        return next((job for job in self.jobs() if any(entry.key == key for entry in job)), [])

    def open(self, key: str) -> Reader | None:
        """A reader of the session; None where there is no such session any more."""
        if key not in self._paths:
            self.entries()
        path = self._paths.get(key)
        if path is None:
            return None
        with contextlib.suppress(OSError, RingError, SessionNotFoundError, ImportError):
            return attach(Path(path))
        return None

    def _files(self) -> list[Path]:
        found = {os.path.realpath(path): Path(path) for path in self._named}
        for directory in self._directories:
            for path in ring_files.find(directory):
                if len(found) < MOST:
                    found.setdefault(os.path.realpath(path), path)
        return list(found.values())


def key_of(path: str | os.PathLike[str]) -> str:
    """How a session's file is called in addresses."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
