"""Files that dead sessions left: remove them, and give back the room that a ring's writer never came to."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from phasescope import _os_compat
from phasescope.wire import ring, ring_directories, ring_files
from phasescope.wire.record_reader import RecordReader

KEEP_DEAD_FILES = 64
KEEP_DEAD_BYTES = 512 * 2**20
KEEP_DEAD_SHARE = 8
KEEP_DEAD_SECONDS = 7 * 24 * 3600
"""What `sweep` leaves in one place of sessions that are over, those that lived last first. The bytes are at most such a
part of the file system as well: data loaders live in shared memory too, and die when it is full."""

_UNFINISHED_NAME = re.compile(r"\..+-\d+-\d+-\d+\.ring\.tmp")
_REQUEST_NAME = re.compile(r".+-\d+-\d+(?:\.\d+)?\.ring\.request(?:\.taken|\.\d+-[0-9a-f]+\.tmp)?")
_UNFINISHED_SECONDS = 60
_WORTH_IT = 64 * 1024


def clean(directory: str | os.PathLike[str] | None = None, *, dry_run: bool = False) -> list[Path]:
    """Remove the files of sessions that are over, and return them."""
    over = [path for path in ring_files.find(directory) if _over(path) is not None]
    return over if dry_run else [path for path in over if ring_files.remove(path)]


def sweep(directory: str | os.PathLike[str] | None = None) -> None:
    """Remove what is beyond the limits above, and what a killed `create` left. Never raises for a file in the way.

    The directory may hold other programs' files too: only files with our name and our content are touched.
    """
    for place in ring_directories.looked_into(directory):
        with contextlib.suppress(OSError):
            ring_directories.check_directory(place)
            _sweep(list(Path(place).iterdir()), _dead_bytes(place))


def _dead_bytes(place: str) -> int:
    """Return the most bytes that dead rings may take there: it may be the shared memory of a small container."""
    room = os.statvfs(place)
    return min(KEEP_DEAD_BYTES, room.f_blocks * room.f_frsize // KEEP_DEAD_SHARE)


def _sweep(files: list[Path], most_bytes: int) -> None:
    over = [dead for path in files if ring_files.NAME.fullmatch(path.name) and (dead := _over(path))]
    over.sort(key=lambda dead: dead.last_sign_s, reverse=True)
    kept_bytes = 0
    for kept, dead in enumerate(over):
        kept_bytes += _shrunk_bytes(dead)
        too_old = time.time() - dead.last_sign_s > KEEP_DEAD_SECONDS
        too_many = kept >= KEEP_DEAD_FILES or (kept > 0 and kept_bytes > most_bytes)
        if too_many or too_old:
            ring_files.remove(dead.path)
    for path in files:
        if _UNFINISHED_NAME.fullmatch(path.name) and not _is_fresh(path) and _over(path, finished=False) is not None:
            ring_files.remove(path)
        if _REQUEST_NAME.fullmatch(path.name) and not _is_fresh(path) and not _is_waited_for(path):
            ring_files.remove(path)


def _is_waited_for(path: Path) -> bool:
    """Return whether an asker still waits for the answer to its request."""
    try:
        fd = ring_files.open_ring(path)
    except OSError:
        return False
    try:
        return _os_compat.is_locked(fd)
    finally:
        os.close(fd)


def _shrunk_bytes(dead: _Over) -> int:
    """Return the size of a dead ring after giving back the room that its writer never came to."""
    if dead.spare is None or dead.size_bytes <= dead.spare[0] + _WORTH_IT:
        return dead.size_bytes
    with contextlib.suppress(OSError):
        fd = _opened_to_shrink(dead.path)
        try:
            _os_compat.give_back(fd, *dead.spare)
            return _blocks_bytes(os.fstat(fd))
        finally:
            os.close(fd)
    return dead.size_bytes


def _opened_to_shrink(path: Path) -> int:
    """Open the file for writing: on a tmpfs its mode keeps even its owner from that."""
    fd = ring_files.open_ring(path)
    try:
        os.fchmod(fd, 0o600)
        other = _os_compat.open_file(str(path), writable=True)
        if os.path.samestat(os.fstat(fd), os.fstat(other)):
            return other
        os.close(other)
        raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(path))
    finally:
        os.close(fd)


def _is_fresh(path: Path) -> bool:
    """Return whether a `create` may be about to lock it: that fails if another so much as tries the lock."""
    try:
        return time.time() - path.lstat().st_mtime <= _UNFINISHED_SECONDS
    except OSError:
        return True


class _Over(NamedTuple):
    """The file of a session that is over; `spare` are the bounds of the room that its writer never came to."""

    path: Path
    size_bytes: int
    last_sign_s: float
    spare: tuple[int, int] | None


def _over(path: Path, *, finished: bool = True) -> _Over | None:
    """Return the file if it is a dead ring of this very user, or, with `finished` False, one that a `create` left.

    Writing through memory leaves a file's time of change as it is: for a killed session the last heartbeat is later.
    """
    with contextlib.suppress(OSError):
        fd = ring_files.open_ring(path)
        try:
            status = os.fstat(fd)
            live = ring.peek(_os_compat.pread(fd, ring.PEEK_BYTES, 0))
            if (
                _os_compat.is_locked(fd)
                or _os_compat.user_id() not in (-1, status.st_uid)
                or (finished and live is None)
            ):
                return None
            last_sign_s = status.st_mtime if live is None else max(status.st_mtime, live.heartbeat_ns / 1e9)
            over = _Over(path, _blocks_bytes(status), last_sign_s, None)
            return over if live is None else _if_of_this_machine(over, fd, status.st_size)
        finally:
            os.close(fd)
    return None


def _if_of_this_machine(over: _Over, fd: int, size_bytes: int) -> _Over | None:
    """Return it with the room to spare; None if another machine's lock may not be seen here and the file is not old."""
    try:
        reader = RecordReader(lambda size, offset: _os_compat.pread(fd, size, offset), size_bytes)
        head = reader.live().head
    except ring.RingError:
        return over
    if reader.constants.get("host") != _os_compat.host_name() and not _os_compat.is_of_this_machine(fd):
        return over if time.time() - over.last_sign_s > KEEP_DEAD_SECONDS else None
    lapped = head > reader.layout.capacity
    return over if lapped else over._replace(spare=(reader.layout.data_offset + head, size_bytes))


def _blocks_bytes(status: os.stat_result) -> int:
    return getattr(status, "st_blocks", status.st_size // 512) * 512
