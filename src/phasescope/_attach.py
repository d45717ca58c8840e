"""attach(): a reader of any session of this user, live, finished or killed, be it a ring or a recording."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from phasescope.readers.default_session import default_ring
from phasescope.readers.reader import SessionNotFoundError
from phasescope.readers.ring_reader import RingReader
from phasescope.wire import ring_directories, ring_files
from phasescope.wire.ring import MAGIC, RingError

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.readers.reader import Reader

_FILE_ENDINGS = (ring_directories.SUFFIX, ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet")

_MOST_NAMED = 4


def attach(
    target: int | str | os.PathLike[str] | None = None, *, directory: str | os.PathLike[str] | None = None
) -> Reader:
    """Open one session for reading.

    Args:
        target: a pid, the path of a ring file or of a recording, a session id or its beginning, if no other begins so,
            or a dataset (`fleet`, `fleet#r=3`, `s3://bucket/fleet#job=4711/r=3`), of which the newest such session is
            taken. If several sessions have the pid, or if it is None, the session that was started last is opened;
            live ones first. If it is None, and that session is of a child process, the training that started the
            child is opened, unless only the child has phases.
        directory: look for rings there only. By default `$PHASESCOPE_DIR` or the usual places are searched.

    Raises SessionNotFoundError if there is no such session, or if several ids begin so, TypeError if `target` is of
    another type, and for a path OSError or RingError.
    """
    if isinstance(target, bool) or not isinstance(target, (int, str, os.PathLike, type(None))):
        raise TypeError(f"target must be a pid, a path, a session id or None, not a {type(target).__name__}")
    if isinstance(target, os.PathLike) or (isinstance(target, str) and _looks_like_path(target)):
        return _open(target)
    if target is None:
        return _default(directory)
    best: Reader | None = None
    best_rank = (False, False)
    begun: dict[str, object] = {}  # the sessions whose ids only begin so, with their pids
    for path in ring_files.find(directory):
        reader, rank = _opened(path, target)
        if reader is None:
            continue
        if not rank[0]:
            begun[reader.constants["session_id"]] = reader.constants["pid"]
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
    if not best_rank[0] and len(begun) > 1:
        best.close()
        raise SessionNotFoundError(_several(target, begun))
    return best


def _default(directory: str | os.PathLike[str] | None) -> Reader:
    ring = default_ring(directory)
    if ring is not None:
        with contextlib.suppress(OSError, RingError):  # gone meanwhile
            return RingReader.open(ring)
    raise SessionNotFoundError(_not_found(None, directory))


def _looks_like_path(target: str) -> bool:
    if os.sep in target or (os.altsep is not None and os.altsep in target):
        return True
    if target.partition("#")[0].lower().endswith(_FILE_ENDINGS):
        return True
    named = target.partition("#")[0]
    return bool(named) and not target.isdecimal() and (os.path.exists(target) or os.path.isdir(named))  # noqa: PTH110, PTH112


def _open(path: str | os.PathLike[str]) -> Reader:
    """Open a ring, known by its name or its first bytes; read anything else as a recording."""
    if os.fspath(path).endswith(ring_directories.SUFFIX):
        return RingReader.open(path)
    if os.path.isfile(path):  # noqa: PTH113 - a pipe would block
        with open(path, "rb") as file:  # noqa: PTH123
            if file.read(len(MAGIC)) == MAGIC:
                return RingReader.open(path)
    from phasescope.recordings.dataset import is_dataset
    from phasescope.recordings.dataset_reader import open_session
    from phasescope.recordings.reader import RecordingReader

    text = os.fspath(path)
    if not os.path.isfile(path) and is_dataset(text.partition("#")[0]):  # noqa: PTH113
        return open_session(text)
    return RecordingReader.open(path)


def _opened(path: Path, target: int | str) -> tuple[Reader | None, tuple[bool, bool]]:
    """Return the file's reader if it is of a session that `target` may mean, and how well: exactly, and still
    running."""
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


def _match(constants: dict[str, Any], target: int | str) -> bool | None:
    """Return True if `target` is this session's pid or id, False if it is only the beginning of the id, else None."""
    session_id = constants["session_id"]
    if constants["pid"] == _pid(target) or session_id == target:
        return True
    return False if isinstance(target, str) and target and session_id.startswith(target) else None


def _several(target: object, begun: dict[str, object]) -> str:
    named = ", ".join(f"{session_id} (pid {pid})" for session_id, pid in list(begun.items())[:_MOST_NAMED])
    more = ", ..." if len(begun) > _MOST_NAMED else ""
    return f'"{target}" begins the ids of {len(begun)} sessions: {named}{more}; more of the id says which'


def _not_found(target: int | str | None, directory: str | os.PathLike[str] | None) -> str:
    pid = _pid(target)
    what = "no session" if target is None else f'no "{target}"' if pid is None else f"no session of pid {pid}"
    looked = ", ".join(ring_directories.places(directory))
    closed = "".join(f" ({reason})" for reason in ring_directories.not_looked_into(directory))
    return f"{what} in {looked}{closed}; run `phasescope ls` to list sessions"
