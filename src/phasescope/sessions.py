"""Where the rings of this machine lie: create one, list them, sweep what dead sessions left.

`$PHASESCOPE_DIR`, else a directory of the user's own in the run-time tmpfs (`$XDG_RUNTIME_DIR`, `/dev/shm`), else in
the temporary directory. It must be the user's alone (mode 0700, no symlink): what a training does is nobody else's
business. A writer holds its file's lock for life; a file whose lock is free belongs to a session that is over.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from phasescope import ring, system

SUFFIX = ".ring"
_UNFINISHED = ".tmp"

KEEP_DEAD_FILES = 64
KEEP_DEAD_BYTES = 512 * 2**20
KEEP_DEAD_SECONDS = 7 * 24 * 3600
"""What `sweep` leaves of sessions that are over, the newest first."""

_UNFINISHED_SECONDS = 60
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
    buffer: mmap.mmap
    writer: ring.RingWriter


def places(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """The directories where this user's rings may lie, the preferred one first."""
    named = directory or os.environ.get("PHASESCOPE_DIR")
    if named:
        return [os.path.abspath(os.path.expanduser(named))]  # noqa: PTH100, PTH111 - a symlink must stay one
    own = f"phasescope-{system.user_id()}"
    found = []
    if os.environ.get("XDG_RUNTIME_DIR"):
        found.append(str(Path(os.environ["XDG_RUNTIME_DIR"]) / "phasescope"))
    if Path("/dev/shm").is_dir():
        found.append(f"/dev/shm/{own}")
    found.append(str(Path(tempfile.gettempdir()) / own))
    return found


def describe_directory(directory: str | os.PathLike[str] | None = None) -> list[Place]:
    """Each place with whether it could hold a ring, for a person. Creates nothing."""
    described = []
    for path in places(directory):
        try:
            if os.path.lexists(path):
                check_directory(path)
            elif not os.access(Path(path).parent, os.W_OK):
                raise DirectoryError(f"{path} can not be created: no right to write in {Path(path).parent}")
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
        raise DirectoryError(f"{path} is no directory")
    if system.user_id() >= 0 and found.st_uid != system.user_id():
        raise DirectoryError(f"{path} belongs to user {found.st_uid}; set PHASESCOPE_DIR to a directory of your own")
    if system.user_id() >= 0 and found.st_mode & 0o077:
        raise DirectoryError(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 700 {path}"
        )


def create(constants: bytes, capacity_bytes: int, directory: str | None, name: str) -> RingFile:
    """A new ring file `<name>.ring`, locked, all its pages there. Raises DirectoryError or OSError where there is no
    place or no room, ValueError for a wrong capacity."""
    layout = ring.plan(constants, capacity_bytes)
    if not system.CAN_SHARE_FILES:
        raise DirectoryError("this platform can not lock files for other processes to read")
    choices = places(directory)
    for path in choices:
        try:
            _make_directory(path)
            if path != choices[-1] and not _has_room(path, layout.size):
                continue
            return _create_file(path, name, layout, constants)
        except OSError:
            if path == choices[-1]:
                raise
    raise DirectoryError("no directory for live files")


def create_in_memory(constants: bytes, capacity_bytes: int) -> RingFile:
    """A ring that only this process can read."""
    layout = ring.plan(constants, capacity_bytes)
    buffer = mmap.mmap(-1, layout.size)
    return RingFile(None, None, buffer, ring.RingWriter(buffer, layout, constants))


def _make_directory(path: str) -> None:
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DirectoryError(f"{path} can not be created: {error.strerror}") from error
    check_directory(path)


def _has_room(path: str, size: int) -> bool:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize >= _TMPFS_SHARE * size


def _create_file(directory: str, name: str, layout: ring.Layout, constants: bytes) -> RingFile:
    """Made complete under a temporary name, then linked to its own: nobody ever sees half a header."""
    unfinished = os.path.join(directory, f".{name}-{time.monotonic_ns()}{_UNFINISHED}")  # noqa: PTH118
    fd = system.create_file(unfinished)
    buffer = None
    try:
        if not system.lock(fd):
            raise DirectoryError(f"{unfinished} could not be locked")
        system.allocate(fd, layout.size)
        buffer = mmap.mmap(fd, layout.size)
        writer = ring.RingWriter(buffer, layout, constants)
        path = _publish(unfinished, directory, name)
    except BaseException:
        if buffer is not None:
            writer.release()
            buffer.close()
        os.close(fd)
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)  # noqa: PTH108
    return RingFile(path, fd, buffer, writer)


def _publish(unfinished: str, directory: str, name: str) -> str:
    """Give the file its name without ever replacing another: in containers that share a directory pids collide."""
    for attempt in range(100):
        path = os.path.join(directory, f"{name}{f'.{attempt}' if attempt else ''}{SUFFIX}")  # noqa: PTH118
        try:
            os.link(unfinished, path)
            return path
        except FileExistsError:
            continue
    raise DirectoryError(f"{directory} holds a hundred rings named {name}")


def open_ring(path: str | os.PathLike[str]) -> int:
    """The file, open for reading. Raises OSError, also where it is a symlink, no plain file, or another user's."""
    fd = system.open_file(os.fspath(path))
    found = os.fstat(fd)
    wrong = ""
    if not stat.S_ISREG(found.st_mode):
        wrong = "no plain file"
    elif system.user_id() not in (-1, 0, found.st_uid):
        wrong = f"belongs to user {found.st_uid}"
    if wrong:
        os.close(fd)
        raise PermissionError(f"{os.fspath(path)}: {wrong}")
    return fd


def find(directory: str | os.PathLike[str] | None = None) -> list[Path]:
    """This user's ring files, those started last first, from every place where they can lie."""
    found: list[Path] = []
    for place in places(directory):
        with contextlib.suppress(OSError):
            check_directory(place)
            found += [path for path in Path(place).iterdir() if path.name.endswith(SUFFIX)]
    return sorted(found, key=_started_ms, reverse=True)


def _started_ms(path: Path) -> tuple[int, str]:
    match = re.search(r"-(\d+)(?:\.\d+)?\.ring$", path.name)
    return (int(match[1]) if match else 0, path.name)


def clean(directory: str | os.PathLike[str] | None = None, *, dry_run: bool = False) -> list[Path]:
    """Remove the files of sessions that are over, and return them."""
    over = [path for path in find(directory) if _is_over(path)]
    return over if dry_run else [path for path in over if _remove(path)]


def sweep(directory: str | os.PathLike[str] | None = None) -> None:
    """Remove what is beyond the limits above, and what a killed `create` left. Never raises for a file in the way."""
    kept_files = kept_bytes = 0
    for path in find(directory):
        with contextlib.suppress(OSError):
            found = path.stat()
            if not _is_over(path):
                continue
            kept_files += 1
            kept_bytes += found.st_blocks * 512
            too_old = time.time() - found.st_mtime > KEEP_DEAD_SECONDS
            if kept_files > KEEP_DEAD_FILES or kept_bytes > KEEP_DEAD_BYTES or too_old:
                _remove(path)
    for place in places(directory):
        with contextlib.suppress(OSError):
            for path in Path(place).glob(f".*{_UNFINISHED}"):
                # A fresh one may belong to a `create` that is about to lock it.
                if time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS and _is_over(path):
                    _remove(path)


def _is_over(path: Path) -> bool:
    """Whether nobody holds the file's lock."""
    try:
        fd = open_ring(path)
    except OSError:
        return False
    try:
        return not system.is_locked(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
