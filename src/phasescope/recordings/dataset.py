"""Where sessions lie in a dataset of many: folders that say the job, the host and the rank, as engines read them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from phasescope.recordings.object_store import Store, is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.recordings.parquet_source import File

KEYS = {"job": "job_id", "node": "host", "r": "rank"}
"""The folders' names, with the constants of a session that they hold. The columns have other names: some engines refuse
the same one twice."""

_LONGEST = 100
_UNKNOWN = "none"
_FOLDERS = tuple(f"{key}=" for key in KEYS)
_FILE = re.compile(r"(?P<session>.+?)(?:\.(?P<part>\d{5}))?\.parquet", re.DOTALL)


class DataFile(NamedTuple):
    """A file of a dataset. `path` is what an engine calls it, `file` opens it."""

    path: str
    size: int
    file: File


class SessionFiles(NamedTuple):
    """The files of one session, in the order of writing. `folders` are the values of the folders around them, `folder`
    is that folder."""

    name: str
    folder: str
    folders: Mapping[str, str]
    files: tuple[DataFile, ...]

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)


def place_of(constants: Mapping[str, Any]) -> PurePath:
    """Return the file of a session below the dataset's folder. No constant leads out of it."""
    return folder_of(constants) / f"{name_of(constants)}.parquet"


def folder_of(constants: Mapping[str, Any]) -> PurePath:
    """Return the folder of a session's files below the dataset's."""
    return PurePath(*(f"{key}={_value(constants.get(name))}" for key, name in KEYS.items()))


def name_of(constants: Mapping[str, Any]) -> str:
    """Return how the files of a session begin."""
    return _value(constants.get("session_id"))


def is_dataset(place: str) -> bool:
    """Return whether a place is a dataset, or one of its folders."""
    if is_url(place):
        return True
    path = Path(place)
    try:
        return path.is_dir() and (
            path.resolve().name.startswith(_FOLDERS)
            or any(entry.name.startswith(_FOLDERS) and entry.is_dir() for entry in _listed(path))
        )
    except OSError:
        return False


def sessions_in(place: str, wanted: Mapping[str, str] | None = None) -> list[SessionFiles]:
    """Return the sessions of a dataset, in the order of their paths; of `wanted` folders only, and no other is looked
    into. Raises OSError, MissingDependencyError."""
    values = {key: _value(value) for key, value in (wanted or {}).items()}
    files = _on_store(place) if is_url(place) else _here(Path(place), values)
    by_session: dict[tuple[str, str], list[tuple[int, DataFile, Mapping[str, str]]]] = {}
    for file in files:
        folder, _, name = file.path.replace(os.sep, "/").rpartition("/")
        match = _FILE.fullmatch(name)
        folders = _folders(folder)
        if match is None or name.startswith(".") or any(folders.get(key) != value for key, value in values.items()):
            continue
        part = int(match["part"]) if match["part"] else 0
        by_session.setdefault((folder, match["session"]), []).append((part, file, folders))
    sessions = []
    for (folder, name), parts in sorted(by_session.items()):
        recorded = sorted((part for part in parts if part[0]), key=lambda part: part[0])
        taken = recorded or parts  # both are there if it was converted as well
        readable = {key: unquote(value) for key, value in taken[0][2].items()}
        sessions.append(SessionFiles(name, folder, readable, tuple(file for _, file, _ in taken)))
    return sessions


def _folders(path: str) -> dict[str, str]:
    parts = (part.partition("=") for part in path.split("/") if part.startswith(_FOLDERS))
    return {key: value for key, _, value in parts}


def _here(folder: Path, wanted: Mapping[str, str]) -> Iterable[DataFile]:
    """Yield the files in a folder. Of folders that are not wanted nothing is read."""
    for entry in _listed(folder):
        key, mark, value = entry.name.partition("=")
        if entry.is_dir():
            if mark and key in KEYS and wanted.get(key, value) == value:
                yield from _here(Path(entry.path), wanted)
        elif entry.name.endswith(".parquet") and entry.is_file():
            yield DataFile(entry.path, entry.stat().st_size, Path(entry.path))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _on_store(url: str) -> Iterable[DataFile]:
    store = Store(url)
    for path, size in store.files():
        yield DataFile(store.address_of(path), size, store.file(path))


def _value(value: object) -> str:
    text = quote("" if value is None else str(value), safe="", errors="replace") or _UNKNOWN
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
