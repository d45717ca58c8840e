"""The calls of the operating system that not every platform has, each with a plain fallback.

Linux has all of them, macOS has no `posix_fallocate`, Windows has neither `pread` nor `flock` nor `fork`. Nothing else
in the package asks on which platform it runs.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import mmap
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_flock: Callable[[int, int], object] | None = getattr(fcntl, "flock", None)

CAN_SHARE_FILES = _flock is not None and hasattr(os, "getuid")
"""Whether a live file can be locked for life and kept to its user. Without that a ring stays in memory."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_MOST_POPULATED = 1 << 28
_MFD_NOEXEC_SEAL = 8
_MAP_FIXED, _NORESERVE = 0x10, 0x4000  # Python 3.10 has no names for them
_PUNCH_HOLE = 0x01 | 0x02  # and keep the size
_PATIENCE_SECONDS = 2.0
_LOCAL = frozenset(("tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"))
_OUT_OF_THE_WAY = (900, 130)
_MEMORY_FILES_ABOVE = 100
_CGROUPS = "/sys/fs/cgroup/"
_COUNTERS_BYTES = 4096
_ZEROS = bytes(1 << 20)
_seek_lock = threading.Lock()
_memory_files = itertools.count(_MEMORY_FILES_ABOVE)
_without_pages: list[mmap.mmap] = []  # for good: another thread's memory may lie at their addresses by now


def user_id() -> int:
    """Return the user's numeric id; -1 where the platform has none."""
    return os.getuid() if hasattr(os, "getuid") else -1


def host_name() -> str:
    """Return this machine's name; never blank."""
    if hasattr(os, "uname"):
        return os.uname().nodename.strip() or "unknown"
    import socket

    return socket.gethostname().strip() or "unknown"


def temporary_directory() -> str:
    """Return the answer of `tempfile.gettempdir()`, whose module brings in half a megabyte of compressors and more."""
    for path in (os.environ.get("TMPDIR"), "/tmp"):
        if path and os.path.isabs(path) and os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK):  # noqa: PTH112, PTH117
            return path
    import tempfile

    return tempfile.gettempdir()


def oom_kills() -> tuple[str, int] | None:
    """Return the counter of processes that the kernel killed for memory in this control group, and its value."""
    for name in _oom_counters():
        count = oom_kills_of(name)
        if count is not None:
            return name, count
    return None


def oom_kills_of(path: str) -> int | None:
    """Return the count in a file that `oom_kills` named; None if it is gone, or no such file."""
    if not path.startswith(_CGROUPS) or ".." in path:  # it may come out of somebody's ring
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not imported by a session
            words = file.read(_COUNTERS_BYTES).split()
        return int(words[words.index(b"oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return None


def _oom_counters() -> list[str]:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return []
    counters = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        own, here = path.strip("/"), ("memory/", "memory.oom_control") if controllers else ("", "memory.events")
        if controllers in ("", "memory"):
            # In a container its own group is the root, whatever its path is outside.
            counters += [f"{_CGROUPS}{here[0]}{part}{here[1]}" for part in (f"{own}/" if own else "", "")]
    return counters


def create_file(path: str) -> int:
    """Return a new file, readable and writable by its user alone. Raises OSError, also where anything is there
    already."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)


def open_file(path: str, *, writable: bool = False) -> int:
    """Return an existing regular file for reading; a symlink in its place raises OSError, a pipe does not block."""
    mode = os.O_RDWR if writable else os.O_RDONLY
    return os.open(path, mode | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def pread(fd: int, size: int, offset: int) -> bytes:
    """Read up to `size` bytes at `offset`, short at the end of the file. Raises OSError."""
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


def map_memory(fd: int, size: int, *, populate: bool = True) -> mmap.mmap:
    """Map `size` bytes of a file, shared, or of memory (-1), writable.

    If the system can, every page is there from the start.

    Else each would come when it is first written to: as a fault at a phase boundary, and as memory of the process that
    seems to grow.
    """
    flag = getattr(mmap, "MAP_POPULATE", 0) if populate and size <= _MOST_POPULATED else 0
    if fd != -1:
        return _map_file(fd, size, flag)
    return mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | flag) if flag else mmap.mmap(-1, size)


def _map_file(fd: int, size: int, flag: int) -> mmap.mmap:
    """Map a file without a copy of its descriptor.

    Python closes that copy with the mapping, whosever file has its number by then: a daemon closes all it finds.
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, flags=mmap.MAP_SHARED | flag, trackfd=False)
    try:
        import ctypes

        place: Any = ctypes.CDLL(None, use_errno=True).mmap
    except (ImportError, AttributeError, OSError, TypeError):
        return mmap.mmap(fd, size, flags=mmap.MAP_SHARED | flag)
    unreserved = getattr(mmap, "MAP_NORESERVE", _NORESERVE if sys.platform == "linux" else 0)
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | unreserved)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    place.restype = ctypes.c_void_p
    place.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if place(address, size, protection, mmap.MAP_SHARED | _MAP_FIXED | flag, fd, 0) != address:
        _without_pages.append(mapping)
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return mapping


def memory_file(size: int) -> int:
    """Return a file without a name, in memory, out of the way.

    What is stored in it is taken out by number, without a look at whose that is. So no other file of ours, and no later
    one of these, gets a number that one had: somebody may have closed it.

    Raises NotImplementedError if there is no such thing, and OSError.
    """
    create: Callable[[str, int], int] | None = getattr(os, "memfd_create", None)
    if create is None or fcntl is None:
        raise NotImplementedError("no files without a name here")
    try:
        fd = create("phasescope", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError:  # before Linux 6.3
        try:
            fd = create("phasescope", os.MFD_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EPERM):
                raise NotImplementedError("no files without a name here") from error
            raise
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return out_of_the_way(fd, next(_memory_files))


def out_of_the_way(fd: int, above: int = 0) -> int:
    """Return an open file under a number that descriptors which are opened and closed do not reach, and close `fd`.

    A program that closes all descriptors has another file under a low number at once: one that a thread which has just
    looked whose it is would write to. Return `fd` itself if no higher number can be had.
    """
    for lowest in _OUT_OF_THE_WAY if fcntl is not None else ():
        try:
            higher = int(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest + above))
        except (OSError, ValueError):  # beyond the limit
            continue
        with contextlib.suppress(OSError):
            os.close(fd)
        return higher
    return fd


def file_system(fd: int) -> str:
    """Return the kind of file system that an open file lies on, as `mount` names it; "" if that is not known."""
    device = os.fstat(fd).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            for line in file:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ", 3)[2] == number:
                    return rest.partition(" ")[0]
    except (OSError, IndexError):
        pass
    return ""


def is_of_this_machine(fd: int) -> bool:
    """Return whether a lock on this file is seen by all who can open it: on a network's file systems it may not be."""
    return file_system(fd) in _LOCAL


def give_back(fd: int, start: int, end: int) -> None:
    """Let go of the whole pages between these two places of a file; they read as zeros. Raises OSError."""
    import ctypes

    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    punch: Any = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if punch is None:
        raise OSError(errno.ENOSYS, "no holes in files here")
    punch.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if first < last and punch(fd, _PUNCH_HOLE, first, last - first):
        raise OSError(ctypes.get_errno(), "no hole could be made")


@contextlib.contextmanager
def alone_in(directory: str) -> Iterator[None]:
    """Let in one process at a time, as long as none takes its time."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not lock(fd) and time.monotonic() < deadline:
            time.sleep(_PATIENCE_SECONDS / 1000)
        yield
    finally:
        os.close(fd)


def allocate(fd: int, size: int) -> None:
    """Make every page of the file exist. Raises OSError (ENOSPC, EFBIG) if there is no room.

    A sparse file would pass here and kill its writer with SIGBUS at the first touch of a page that has no room.
    """
    if size > _longest_file():  # to try it would be SIGXFSZ, which Python ignores, but a training need not
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):  # EPERM: seccomp
                raise
    os.lseek(fd, 0, os.SEEK_SET)
    left = size
    while left > 0:
        left -= os.write(fd, _ZEROS[:left])


def _longest_file() -> float:
    try:
        import resource
    except ImportError:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def lock(fd: int) -> bool:
    """Take the file's lock for as long as `fd` and its copies stay open; False where another process holds it."""
    return _flock is not None and _try_lock(_flock, fd, fcntl.LOCK_EX)


def is_locked(fd: int) -> bool:
    """Return whether another open file holds the lock. Leaves no lock behind."""
    if _flock is None:
        return False
    if not _try_lock(_flock, fd, fcntl.LOCK_SH):
        return True
    _flock(fd, fcntl.LOCK_UN)
    return False


def _try_lock(flock: Callable[[int, int], object], fd: int, kind: int) -> bool:
    try:
        flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def threads_of_kernel() -> set[str]:
    """Return the kernel's numbers of this process's threads, whoever started them; none if it does not say."""
    try:
        return set(os.listdir("/proc/self/task"))  # noqa: PTH208 - pathlib is not imported by a session
    except OSError:
        return set()


def process_start_ticks(pid: int | str = "self") -> int:
    """Return a number that an earlier process of the same pid does not have; 0 if the platform does not say.

    Field 22 of /proc/self/stat: clock ticks since boot at which the process started.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is not on the import path
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def command_line() -> list[str]:
    """Return the command that started this process, as far as Python knows it."""
    return list(getattr(sys, "orig_argv", sys.argv))
