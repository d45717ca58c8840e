"""attach(): a reader of any session of this user, live, finished or killed, be it a ring or a recording."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from phasescope.readers.reader import SessionNotFoundError
from phasescope.readers.ring_reader import RingReader
from phasescope.wire import ring_files
from phasescope.wire.ring import MAGIC, RingError

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.readers.reader import Reader

_FILE_ENDINGS = (ring_files.SUFFIX, ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet")


def attach(
    target: int | str | os.PathLike[str] | None = None, *, directory: str | os.PathLike[str] | None = None
) -> Reader:
    """A reader of one session.

    `target` is a pid, the path of a ring file or of a recording, a session id or its beginning, or None for any
    session. Of several it is the one started last, live ones first. Raises SessionNotFoundError, or for a path OSError
    and RingError.
    """
    if isinstance(target, bool) or not isinstance(target, (int, str, os.PathLike, type(None))):
        raise TypeError(f"target must be a pid, a path, a session id or None, not a {type(target).__name__}")
    if isinstance(target, os.PathLike) or (isinstance(target, str) and _looks_like_path(target)):
        return _open(target)
    best: Reader | None = None
    best_rank = (False, False)
    for path in ring_files.find(directory):
        reader, rank = _opened(path, target)
        if reader is None:
            continue
        if best is not None and rank <= best_rank:
            reader.close()
            continue
        if best is not None:
            best.close()
        best, best_rank = reader, rank
        if rank == (True, True):
            break
    if best is None:
        raise SessionNotFoundError(_not_found(target, directory))
    return best


def _looks_like_path(target: str) -> bool:
    if os.sep in target or (os.altsep is not None and os.altsep in target):
        return True
    if target.partition("#")[0].lower().endswith(_FILE_ENDINGS):
        return True
    return bool(target) and not target.isdecimal() and os.path.exists(target)  # noqa: PTH110


def _open(path: str | os.PathLike[str]) -> Reader:
    """A ring by its name or its first bytes; anything else is read as a recording."""
    if os.fspath(path).endswith(ring_files.SUFFIX):
        return RingReader.open(path)
    if os.path.isfile(path):  # noqa: PTH113 - a pipe would block
        with open(path, "rb") as file:  # noqa: PTH123
            if file.read(len(MAGIC)) == MAGIC:
                return RingReader.open(path)
    from phasescope.recordings.reader import RecordingReader

    return RecordingReader.open(path)


def _opened(path: Path, target: int | str | None) -> tuple[Reader | None, tuple[bool, bool]]:
    """The file's reader if it is of a session that `target` may mean, and how well: exactly, and still running."""
    try:
        reader = RingReader.open(path)
        exact = _match(reader.constants, target)
        if exact is not None:
            return reader, (exact, reader.state == "running")
        reader.close()
    except (OSError, RingError):
        pass
    return None, (False, False)


def _pid(target: int | str | None) -> int | None:
    return int(target) if isinstance(target, int) or (isinstance(target, str) and target.isdecimal()) else None


def _match(constants: dict[str, Any], target: int | str | None) -> bool | None:
    """True where `target` is this session's pid or id, False where it is only the beginning of the id, else None."""
    session_id = constants["session_id"]
    if target is None or constants["pid"] == _pid(target) or session_id == target:
        return True
    return False if isinstance(target, str) and target and session_id.startswith(target) else None


def _not_found(target: int | str | None, directory: str | os.PathLike[str] | None) -> str:
    pid = _pid(target)
    what = "no session" if target is None else f'no "{target}"' if pid is None else f"no session of pid {pid}"
    looked = ", ".join(ring_files.places(directory))
    closed = "".join(f" ({reason})" for reason in ring_files.not_looked_into(directory))
    return f"{what} in {looked}{closed}; `phasescope ls` shows those that there are"
