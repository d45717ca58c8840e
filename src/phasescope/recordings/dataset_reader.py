"""One session of a dataset as a recording: `fleet`, `fleet#r=3`, `fleet#job=4711/r=3`, `fleet#SESSION`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.readers.reader import SessionNotFoundError
from phasescope.recordings.dataset import KEYS, SessionFiles, sessions_in
from phasescope.recordings.object_store import is_url, shown
from phasescope.recordings.parquet_source import ParquetSource
from phasescope.recordings.reader import RecordingReader

if TYPE_CHECKING:
    from collections.abc import Mapping


def open_session(target: str) -> RecordingReader:
    """Return a reader of the session that is meant, of several the one started last. Raises SessionNotFoundError,
    OSError, MissingDependencyError."""
    place, _, named = target.partition("#")
    wanted, session = _named(named)
    sessions = [each for each in sessions_in(place, wanted) if each.name.startswith(session)]
    called = shown(place) if is_url(place) else place
    if not sessions:
        raise SessionNotFoundError(f"no session{f' of {named}' if named else ''} in the dataset {called}")
    newest = max(sessions, key=_started) if len(sessions) > 1 else sessions[0]
    return reader_of(newest)


def reader_of(session: SessionFiles) -> RecordingReader:
    """Return a reader of this session. Raises SessionNotFoundError, OSError, MissingDependencyError."""
    path = None if is_url(session.folder) else Path(session.folder)
    return RecordingReader(ParquetSource([each.file for each in session.files]), path)


def constants_of(session: SessionFiles) -> dict[str, Any] | None:
    """Return what the session said of itself, as its last file has it; None if it has no such word."""
    note = ParquetSource([session.files[-1].file]).note()
    return None if note is None else dict(note.session)


def _started(session: SessionFiles) -> int:
    started = (constants_of(session) or {}).get("started_ns")
    return started if type(started) is int else 0


def _named(text: str) -> tuple[Mapping[str, str], str]:
    """Return the folders and the beginning of a session's id that follow the `#`."""
    parts = [part.partition("=") for part in text.split("/")] if text else []
    if parts and all(mark and key in KEYS for key, mark, _ in parts):
        return {key: value for key, _, value in parts}, ""
    return {}, text
