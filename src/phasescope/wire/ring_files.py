"""The ring files of this machine: create one, list them.

A writer holds its file's lock for life; a file whose lock is free belongs to a session that is over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _os_compat
from phasescope.wire import ring, ring_directories
from phasescope.wire.guarded_ring import CheckedWriter, GuardedWriter
from phasescope.wire.ring_directories import (
    ELSEWHERE,
    SUFFIX,
    UNFINISHED,
    DirectoryError,
    check_directory,
    looked_into,
)

if TYPE_CHECKING:
    import mmap

NAME = re.compile(r".+-\d+-(?P<started_ms>\d+)(?:\.(?P<attempt>\d+))?\.ring")

_TMPFS_SHARE = 8  # a ring takes at most this part of a tmpfs: data loaders live there too, and die when it is full


class RingFile(NamedTuple):
    """A ring that was just created: its file (None, None if it lives in memory) and its writer."""

    path: str | None
    fd: int | None
    buffer: Any
    writer: ring.RingWriter


_LESS = f"set a smaller capacity_bytes, or {ELSEWHERE}"
_WAYS_OUT = {
    errno.ENOSPC: _LESS,
    errno.EDQUOT: _LESS,
    errno.EFBIG: f"raise the limit (ulimit -f), {_LESS}",
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "the machine has too many files open",
}


def create(constants: bytes, capacity_bytes: int, directory: str | None, name: str) -> RingFile:
    """Create the ring file `<name>.ring`, locked, all its pages there.

    Raises DirectoryError, naming each place and what would help, if there is no place or no room, and ValueError for a
    wrong capacity.
    """
    layout = ring.plan(constants, capacity_bytes)
    if not _os_compat.CAN_SHARE_FILES:
        raise DirectoryError("this platform cannot lock files for other processes to read")
    refused = []
    choices = ring_directories.places(directory)
    for path in choices:
        try:
            _make_directory(path)
            if path == choices[-1]:
                return _create_file(path, name, layout, constants)
            with _os_compat.alone_in(path):  # of the ranks of a job all come at once
                _check_room(path, layout.size)
                return _create_file(path, name, layout, constants)
        except DirectoryError as error:
            refused.append(str(error))
        except OSError as error:
            way_out = _WAYS_OUT.get(error.errno or 0, ELSEWHERE)
            why = error.strerror or error
            refused.append(f"cannot create a file of {layout.size} bytes in {path}: {why}; {way_out}")
    raise DirectoryError(". ".join(refused))


def create_in_memory(constants: bytes, capacity_bytes: int) -> RingFile:
    """Create a ring that only this process can read; smaller if the system does not have as much memory."""
    while True:
        layout = ring.plan(constants, capacity_bytes)
        try:
            buffer = _os_compat.map_memory(-1, layout.size)
            return RingFile(None, None, buffer, ring.RingWriter(buffer, layout, constants))
        except OSError:  # a limit on the address space, or on the memory that may be promised
            if capacity_bytes <= ring.MIN_CAPACITY_BYTES:
                small = bytearray(layout.size)  # out of Python's own stock
                return RingFile(None, None, small, ring.RingWriter(small, layout, constants))
        capacity_bytes = max(capacity_bytes // 4, ring.MIN_CAPACITY_BYTES)


def _make_directory(path: str) -> None:
    if not os.path.lexists(path):
        try:
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DirectoryError(f"{path} cannot be created: {error.strerror}; {ELSEWHERE}") from error
    check_directory(path)


def _check_room(path: str, size: int) -> None:
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free < _TMPFS_SHARE * size:
        raise DirectoryError(f"{path} has {free} bytes free, less than {_TMPFS_SHARE} times the ring's {size}")


def _create_file(directory: str, name: str, layout: ring.Layout, constants: bytes) -> RingFile:
    """Complete the file under a temporary name, then link it to its own: nobody ever sees half a header."""
    unfinished = os.path.join(directory, f".{name}-{time.monotonic_ns()}{UNFINISHED}")  # noqa: PTH118
    fd = _os_compat.out_of_the_way(_os_compat.create_file(unfinished))
    buffer = writer = None
    try:
        if not _os_compat.lock(fd):
            raise DirectoryError(f"{unfinished} could not be locked")
        _os_compat.allocate(fd, layout.size)
        buffer = _map(unfinished, layout.size)
        writer = _writer(unfinished, fd, buffer, layout, constants)
        return RingFile(_publish(unfinished, directory, name, fd), fd, buffer, writer)
    except BaseException:
        if writer is not None:
            writer.release()
        if buffer is not None:
            buffer.close()
        os.close(fd)
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)  # noqa: PTH108


def _writer(path: str, fd: int, buffer: mmap.mmap, layout: ring.Layout, constants: bytes) -> ring.RingWriter:
    """Return a writer; one that stores into the pages itself only if nobody can take the file's own pages away."""
    in_memory = _os_compat.file_system(fd) == "tmpfs"
    if in_memory and _is_sealed(path, fd):
        return ring.RingWriter(buffer, layout, constants)
    for kind in (CheckedWriter, GuardedWriter) if in_memory else (GuardedWriter,):
        with contextlib.suppress(NotImplementedError):
            return kind(buffer, layout, constants, fd)
    return ring.RingWriter(buffer, layout, constants)


def _is_sealed(path: str, fd: int) -> bool:
    """Close the file to any other writer; whether that holds. It does not for root."""
    os.fchmod(fd, 0o400)
    try:
        os.close(_os_compat.open_file(path, writable=True))
    except PermissionError:
        return True
    os.fchmod(fd, 0o600)
    return False


def _map(path: str, size: int) -> mmap.mmap:
    """Map the file into memory.

    The mapping holds on to its open file, in a forked child too, which must not hold on to the lock: so the file is
    opened once more, without it.
    """
    fd = _os_compat.open_file(path, writable=True)
    try:
        return _os_compat.map_memory(fd, size)
    finally:
        os.close(fd)


def _publish(unfinished: str, directory: str, name: str, fd: int) -> str:
    """Give the file its name without ever replacing another: in containers that share a directory pids collide."""
    for attempt in range(100):
        path = os.path.join(directory, f"{name}{f'.{attempt}' if attempt else ''}{SUFFIX}")  # noqa: PTH118
        try:
            return _named_so(unfinished, path, fd)
        except FileExistsError:
            continue
    raise DirectoryError(f"{directory} holds a hundred rings named {name}")


def _named_so(unfinished: str, path: str, fd: int) -> str:
    """Give the file its name. Raises FileExistsError, and DirectoryError if others would not find it there."""
    for give in (os.link, _rename):  # some file systems know no links, on others a link is a file of its own
        try:
            give(unfinished, path)
        except FileExistsError:
            raise
        except OSError:
            if give is os.link:
                continue
            raise
        if _is_seen(path, fd):
            return path
        remove(Path(path))
    raise DirectoryError(f"a lock in {os.path.dirname(path)} is not seen by other processes; {ELSEWHERE}")  # noqa: PTH120


def _rename(unfinished: str, path: str) -> None:
    """Rename it over an empty file of our own: a rename alone would replace another's."""
    os.close(_os_compat.create_file(path))
    try:
        os.replace(unfinished, path)  # noqa: PTH105
    except OSError:
        remove(Path(path))
        raise


def _is_seen(path: str, fd: int) -> bool:
    """Return whether another process that opens `path` finds the content of `fd`, and its lock."""
    try:
        other = open_ring(path)
    except OSError:
        remove(Path(path))
        raise
    try:
        header = _os_compat.pread(fd, ring.PEEK_BYTES, 0)
        return _os_compat.pread(other, ring.PEEK_BYTES, 0) == header and _os_compat.is_locked(other)
    finally:
        os.close(other)


def open_ring(path: str | os.PathLike[str]) -> int:
    """Open the file for reading. Raises OSError, also if it is a symlink, not a regular file, or another user's."""
    try:
        fd = _os_compat.open_file(os.fspath(path))
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):  # noqa: PTH114
            raise PermissionError(f"{os.fspath(path)}: a symbolic link; name the file itself") from error
        raise
    status = os.fstat(fd)
    wrong = ""
    if not stat.S_ISREG(status.st_mode):
        wrong = "not a regular file"
    elif _os_compat.user_id() not in (-1, 0, status.st_uid):
        wrong = f"belongs to user {status.st_uid}"
    if wrong:
        os.close(fd)
        raise PermissionError(f"{os.fspath(path)}: {wrong}")
    return fd


def find(directory: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return this user's ring files, those started last first, from every place where they can lie."""
    rings = (path for path in _files(directory) if path.name.endswith(SUFFIX))
    return sorted(rings, key=_started, reverse=True)


def _files(directory: str | os.PathLike[str] | None) -> list[Path]:
    files: list[Path] = []
    for place in looked_into(directory):
        with contextlib.suppress(OSError):
            check_directory(place)
            files += Path(place).iterdir()
    return files


def _started(path: Path) -> tuple[int, int, str]:
    match = NAME.fullmatch(path.name)
    return (int(match["started_ms"]), int(match["attempt"] or 0), path.name) if match else (0, 0, path.name)


def remove(path: Path) -> bool:
    """Return whether it could be."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
