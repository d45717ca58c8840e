"""Where the rings of this machine lie: create one, list them.

`$PHASESCOPE_DIR`, else a directory of the user's own in the run-time tmpfs (`$XDG_RUNTIME_DIR`, `/dev/shm`), else in
the temporary directory. It must be the user's alone (mode 0700, no symlink): what a training does is nobody else's
business. In a directory that others can enter too it is a folder of the user's own there. A writer holds its file's
lock for life; a file whose lock is free belongs to a session that is over.
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
from phasescope.wire import ring
from phasescope.wire.guarded_ring import CheckedWriter, GuardedWriter

if TYPE_CHECKING:
    import mmap

SUFFIX = ".ring"
UNFINISHED = ".ring.tmp"
NAME = re.compile(r".+-\d+-(?P<started_ms>\d+)(?:\.(?P<attempt>\d+))?\.ring")

_TMPFS_SHARE = 8  # a ring takes at most this part of a tmpfs: data loaders live there too, and die when it is full


class DirectoryError(OSError):
    """The directory can not hold live files; the text says why and what to do."""


class Place(NamedTuple):
    """A directory where rings may lie, and whether it can hold one now."""

    path: str
    ok: bool
    reason: str


class RingFile(NamedTuple):
    """A ring that was just created: its file (None, None where it lives in memory) and its writer."""

    path: str | None
    fd: int | None
    buffer: Any
    writer: ring.RingWriter


def places(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """The directories where this user's rings may lie, the preferred one first."""
    named = _named(directory)
    own = f"phasescope-{_os_compat.user_id()}"
    if named:
        return [str(Path(named, own)) if _is_open_to_others(named) else named]
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if _is_own_directory(runtime):
        found.append(str(Path(runtime) / "phasescope"))
    if Path("/dev/shm").is_dir():
        found.append(f"/dev/shm/{own}")
    found.append(str(Path(_os_compat.temporary_directory()) / own))
    return found


def _named(directory: str | os.PathLike[str] | None) -> str:
    """The directory that the caller or the environment names; "" where neither does."""
    named = directory or os.environ.get("PHASESCOPE_DIR")
    return os.path.abspath(os.path.expanduser(named)) if named else ""  # noqa: PTH100, PTH111 - a symlink must stay one


def _is_open_to_others(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and _os_compat.user_id() >= 0 and mode & 0o077 != 0


def looked_into(directory: str | os.PathLike[str] | None) -> list[str]:
    """`places`, and where a directory is named, both it and the folder in it: it may have been closed meanwhile."""
    named = _named(directory)
    within = [named, str(Path(named, f"phasescope-{_os_compat.user_id()}"))] if named else []
    return list(dict.fromkeys((*places(directory), *within)))


def not_looked_into(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Why each of the directories that are there, but not for this user alone, holds nothing that is shown.

    One that is shared, and has no rings of its own beside the users' folders, is as it should be.
    """
    reasons = []
    for path in filter(os.path.lexists, looked_into(directory)):
        try:
            check_directory(path)
        except DirectoryError as error:
            if path in places(directory) or _holds_rings(path):
                reasons.append(str(error))
    return reasons


def _holds_rings(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.name.endswith(SUFFIX) for entry in entries)
    except OSError:
        return False


def _is_own_directory(path: str) -> bool:
    """After `sudo` the variable still names the other user's: what root leaves there would lock that user out."""
    try:
        found = os.stat(path)  # noqa: PTH116 - "" must not become "."
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and _os_compat.user_id() in (-1, found.st_uid)


def describe_directory(directory: str | os.PathLike[str] | None = None) -> list[Place]:
    """Each place with whether it could hold a ring, for a person. Creates nothing."""
    described = []
    for path in places(directory):
        try:
            if os.path.lexists(path):
                check_directory(path)
            existing = next(parent for parent in (Path(path), *Path(path).parents) if os.path.lexists(parent))
            if not os.access(existing, os.W_OK | os.X_OK):
                raise DirectoryError(f"{path}: no right to write in {existing}; {_ELSEWHERE}")
            described.append(Place(path, True, ""))
        except OSError as error:
            described.append(Place(path, False, str(error)))
    return described


def check_directory(path: str) -> None:
    """Raise DirectoryError unless this is a directory that only this user can enter."""
    try:
        found = os.lstat(path)
    except OSError as error:
        raise DirectoryError(f"{path} can not be used: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise DirectoryError(f"{path} is a symbolic link; name the directory itself, or remove the link")
    if not stat.S_ISDIR(found.st_mode):
        raise DirectoryError(f"{path} is no directory; {_ELSEWHERE}")
    if _os_compat.user_id() >= 0 and found.st_uid != _os_compat.user_id():
        raise DirectoryError(f"{path} belongs to user {found.st_uid}; {_ELSEWHERE}")
    if _os_compat.user_id() >= 0 and found.st_mode & 0o077:
        way_out = f"run: chmod 700 {path}" if _may_be_closed(path, found.st_mode) else _own_directory()
        raise DirectoryError(f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); {way_out}")


def _may_be_closed(path: str, mode: int) -> bool:
    """Whether to close it to others harms nobody: it holds nothing but rings, and is no place such as /tmp or /mnt."""
    if mode & stat.S_ISVTX or len(Path(path).parts) <= 2:
        return False
    try:
        with os.scandir(path) as entries:
            return all(entry.name.endswith((SUFFIX, UNFINISHED)) for entry in entries)
    except OSError:
        return False


def _own_directory() -> str:
    own = Path(_os_compat.temporary_directory()) / f"phasescope-{_os_compat.user_id()}"
    return f"name a directory of its own, such as {own} (PHASESCOPE_DIR, or start(directory=...))"


_ELSEWHERE = "name another directory (PHASESCOPE_DIR, or start(directory=...))"
_LESS = f"set a smaller capacity_bytes, or {_ELSEWHERE}"
_WAYS_OUT = {
    errno.ENOSPC: _LESS,
    errno.EDQUOT: _LESS,
    errno.EFBIG: f"raise the limit (ulimit -f), {_LESS}",
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "the machine has too many files open",
}


def create(constants: bytes, capacity_bytes: int, directory: str | None, name: str) -> RingFile:
    """A new ring file `<name>.ring`, locked, all its pages there. Raises DirectoryError, naming each place and what
    would help, where there is no place or no room, and ValueError for a wrong capacity."""
    layout = ring.plan(constants, capacity_bytes)
    if not _os_compat.CAN_SHARE_FILES:
        raise DirectoryError("this platform can not lock files for other processes to read")
    refused = []
    choices = places(directory)
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
            way_out = _WAYS_OUT.get(error.errno or 0, _ELSEWHERE)
            refused.append(f"no file of {layout.size} bytes in {path}: {error.strerror or error}; {way_out}")
    raise DirectoryError(". ".join(refused))


def create_in_memory(constants: bytes, capacity_bytes: int) -> RingFile:
    """A ring that only this process can read; smaller where so much memory can not be had."""
    while True:
        layout = ring.plan(constants, capacity_bytes)
        try:
            buffer = _os_compat.map_memory(-1, layout.size)
            return RingFile(None, None, buffer, ring.RingWriter(buffer, layout, constants))
        except OSError:  # a limit on the address space, or one on what may be promised
            if capacity_bytes <= ring.MIN_CAPACITY_BYTES:
                small = bytearray(layout.size)  # out of what Python has in stock
                return RingFile(None, None, small, ring.RingWriter(small, layout, constants))
        capacity_bytes = max(capacity_bytes // 4, ring.MIN_CAPACITY_BYTES)


def _make_directory(path: str) -> None:
    if not os.path.lexists(path):
        try:
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DirectoryError(f"{path} can not be created: {error.strerror}; {_ELSEWHERE}") from error
    check_directory(path)


def _check_room(path: str, size: int) -> None:
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free < _TMPFS_SHARE * size:
        raise DirectoryError(f"{path} has {free} bytes free, less than {_TMPFS_SHARE} times the ring's {size}")


def _create_file(directory: str, name: str, layout: ring.Layout, constants: bytes) -> RingFile:
    """Made complete under a temporary name, then linked to its own: nobody ever sees half a header."""
    unfinished = os.path.join(directory, f".{name}-{time.monotonic_ns()}{UNFINISHED}")  # noqa: PTH118
    fd = _os_compat.create_file(unfinished)
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
    """One that stores into the pages itself only where they are the file's own and nobody can take them away."""
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
    """The file's memory. Python keeps a copy of the descriptor with it, out of reach of a forked child, which must not
    hold on to the lock: so the file is opened once more, without it."""
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
    """The file under its name. Raises FileExistsError, and DirectoryError where others would not find it there."""
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
    raise DirectoryError(f"a lock in {os.path.dirname(path)} is not seen by other processes; {_ELSEWHERE}")  # noqa: PTH120


def _rename(unfinished: str, path: str) -> None:
    """Over an empty file of our own: a rename alone would replace another's."""
    os.close(_os_compat.create_file(path))
    try:
        os.replace(unfinished, path)  # noqa: PTH105
    except OSError:
        remove(Path(path))
        raise


def _is_seen(path: str, fd: int) -> bool:
    """Whether who opens `path` finds what was written to `fd`, and its lock."""
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
    """The file, open for reading. Raises OSError, also where it is a symlink, no plain file, or another user's."""
    try:
        fd = _os_compat.open_file(os.fspath(path))
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):  # noqa: PTH114
            raise PermissionError(f"{os.fspath(path)}: a symbolic link; name the file itself") from error
        raise
    found = os.fstat(fd)
    wrong = ""
    if not stat.S_ISREG(found.st_mode):
        wrong = "no plain file"
    elif _os_compat.user_id() not in (-1, 0, found.st_uid):
        wrong = f"belongs to user {found.st_uid}"
    if wrong:
        os.close(fd)
        raise PermissionError(f"{os.fspath(path)}: {wrong}")
    return fd


def find(directory: str | os.PathLike[str] | None = None) -> list[Path]:
    """This user's ring files, those started last first, from every place where they can lie."""
    here = (path for path in _files(directory) if path.name.endswith(SUFFIX))
    return sorted(here, key=_started, reverse=True)


def _files(directory: str | os.PathLike[str] | None) -> list[Path]:
    found: list[Path] = []
    for place in looked_into(directory):
        with contextlib.suppress(OSError):
            check_directory(place)
            found += Path(place).iterdir()
    return found


def _started(path: Path) -> tuple[int, int, str]:
    match = NAME.fullmatch(path.name)
    return (int(match["started_ms"]), int(match["attempt"] or 0), path.name) if match else (0, 0, path.name)


def remove(path: Path) -> bool:
    """Whether it could be."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
