"""Existing files: whether one is a recorder's own, and where its sound lines end."""

from __future__ import annotations

import stat
from itertools import islice
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat
from phasescope.recordings.event_parser import parse
from phasescope.recordings.formats import compression_in, compression_of
from phasescope.recordings.line_stream import read_lines
from phasescope.recordings.notes import is_note
from phasescope.recordings.open_file import NotARecordingError
from phasescope.wire.event import InvalidEventError

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.recordings.open_file import OpenFile

_FIRST_BATCHES = 16


def is_own_part(path: Path) -> bool:
    """Return whether a file that is named like a part was written by a recorder of this user: `train.1.jsonl` may be
    data."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or _os_compat.user_id() not in (-1, status.st_uid):
            return False
        with path.open("rb") as file:
            first = _first_line(file)
        return first is not None and is_note(parse(first))
    except (OSError, InvalidEventError, ImportError):
        return False


def sound_end(file: OpenFile) -> int:
    """Return the end of an existing recording's last whole line or block. Raises NotARecordingError."""
    size = file.size()
    if size == 0:
        return 0
    with file.reading() as reading:
        reading.seek(0)
        kind = compression_in(reading.read(4))
        reading.seek(0)
        if not _begins_with_event(reading):
            raise NotARecordingError(f"{file.path} exists and holds no recording; name another file")
        if kind != compression_of(file.path):
            raise NotARecordingError(f"{file.path} exists and is not compressed as its name says; name another file")
        return size if kind is not None else _end_of_last_line(reading, size)


def _begins_with_event(file: Any) -> bool:
    first = _first_line(file)
    if first is None:
        return True
    if not first.endswith(b"\n"):
        return first.startswith(b'{"')  # killed in its first write
    try:
        parse(first)
    except InvalidEventError:
        return False
    return True


def _first_line(file: Any) -> bytes | None:
    """Return the first line that is not blank, without an end if it is torn; None if there is none."""
    for batch in islice(read_lines(file, lambda _: None), _FIRST_BATCHES):
        for line in batch:
            if line.strip():
                return line if batch.torn and len(batch) == 1 else line + b"\n"
    return None


def _end_of_last_line(file: Any, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - (1 << 16))
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return int(start + newline + 1)
        end = start
    return 0
