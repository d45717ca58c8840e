"""What dead sessions left: remove it, and give back what a ring that is over takes for nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from phasescope import _os_compat
from phasescope.wire import ring, ring_files

KEEP_DEAD_FILES = 64
KEEP_DEAD_BYTES = 512 * 2**20
KEEP_DEAD_SHARE = 8
KEEP_DEAD_SECONDS = 7 * 24 * 3600
"""What `sweep` leaves in one place of sessions that are over, those that lived last first. The bytes are at most such a
part of the file system as well: data loaders live in shared memory too, and die when it is full."""

_UNFINISHED_NAME = re.compile(r"\..+-\d+-\d+-\d+\.ring\.tmp")
_UNFINISHED_SECONDS = 60
_WORTH_IT = 64 * 1024


def clean(directory: str | os.PathLike[str] | None = None, *, dry_run: bool = False) -> list[Path]:
    """Remove the files of sessions that are over, and return them."""
    over = [path for path in ring_files.find(directory) if _over(path) is not None]
    return over if dry_run else [path for path in over if ring_files.remove(path)]


def sweep(directory: str | os.PathLike[str] | None = None) -> None:
    """Remove what is beyond the limits above, and what a killed `create` left. Never raises for a file in the way.

    The directory may be one where other programs keep files too: only what has our name and our content is touched.
    """
    for place in ring_files.looked_into(directory):
        with contextlib.suppress(OSError):
            ring_files.check_directory(place)
            _sweep(list(Path(place).iterdir()), _dead_bytes(place))


def _dead_bytes(place: str) -> int:
    """What rings that are over may take there: it may be the shared memory of a small container."""
    room = os.statvfs(place)
    return min(KEEP_DEAD_BYTES, room.f_blocks * room.f_frsize // KEEP_DEAD_SHARE)


def _sweep(files: list[Path], most_bytes: int) -> None:
    over = [found for path in files if ring_files.NAME.fullmatch(path.name) and (found := _over(path))]
    over.sort(key=lambda found: found.last_sign_s, reverse=True)
    kept_bytes = 0
    for kept, found in enumerate(over):
        kept_bytes += _shrunk_bytes(found)
        too_old = time.time() - found.last_sign_s > KEEP_DEAD_SECONDS
        too_many = kept >= KEEP_DEAD_FILES or (kept > 0 and kept_bytes > most_bytes)
        if too_many or too_old:
            ring_files.remove(found.path)
    for path in files:
        if _UNFINISHED_NAME.fullmatch(path.name) and not _is_fresh(path) and _over(path, finished=False) is not None:
            ring_files.remove(path)


def _shrunk_bytes(found: _Over) -> int:
    """What a ring that is over takes once it has given back what its writer never came to."""
    if found.spare is None or found.size_bytes <= found.spare[0] + _WORTH_IT:
        return found.size_bytes
    with contextlib.suppress(OSError):
        fd = _opened_to_shrink(found.path)
        try:
            _os_compat.give_back(fd, *found.spare)
            return _blocks_bytes(os.fstat(fd))
        finally:
            os.close(fd)
    return found.size_bytes


def _opened_to_shrink(path: Path) -> int:
    """The file, open for writing: on a tmpfs its mode keeps even its owner from that."""
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
    """Whether it may belong to a `create` that is about to lock it, and fails if another so much as tries the lock."""
    try:
        return time.time() - path.lstat().st_mtime <= _UNFINISHED_SECONDS
    except OSError:
        return True


class _Over(NamedTuple):
    """The file of a session that is over; `spare` is from where to where its writer never came."""

    path: Path
    size_bytes: int
    last_sign_s: float
    spare: tuple[int, int] | None


def _over(path: Path, *, finished: bool = True) -> _Over | None:
    """What `path` is, if it is a ring file of this very user whose lock nobody holds; `finished` False: or becomes one.

    Writing through memory leaves a file's time of change as it is: of a killed session the last heartbeat tells more.
    """
    with contextlib.suppress(OSError):
        fd = ring_files.open_ring(path)
        try:
            found = os.fstat(fd)
            live = ring.peek(_os_compat.pread(fd, ring.PEEK_BYTES, 0))
            if (
                _os_compat.is_locked(fd)
                or _os_compat.user_id() not in (-1, found.st_uid)
                or (finished and live is None)
            ):
                return None
            last_sign_s = found.st_mtime if live is None else max(found.st_mtime, live.heartbeat_ns / 1e9)
            over = _Over(path, _blocks_bytes(found), last_sign_s, None)
            return over if live is None else _if_of_this_machine(over, fd, found.st_size)
        finally:
            os.close(fd)
    return None


def _if_of_this_machine(over: _Over, fd: int, size_bytes: int) -> _Over | None:
    """It, with what it has to spare; None where another machine's lock may not be seen here, and it is not old."""
    try:
        found = ring.RecordReader(lambda size, offset: _os_compat.pread(fd, size, offset), size_bytes)
        head = found.live().head
    except ring.RingError:
        return over
    if found.constants.get("host") != _os_compat.host_name() and not _os_compat.is_of_this_machine(fd):
        return over if time.time() - over.last_sign_s > KEEP_DEAD_SECONDS else None
    lapped = head > found.layout.capacity
    return over if lapped else over._replace(spare=(found.layout.data_offset + head, size_bytes))


def _blocks_bytes(found: os.stat_result) -> int:
    return getattr(found, "st_blocks", found.st_size // 512) * 512
