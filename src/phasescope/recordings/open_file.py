"""A recording's file that is open for writing, for as long as it is still the file that was opened.

A process that becomes a daemon closes all descriptors it finds, and its next file, a checkpoint, may get the same
number. People move and remove files meanwhile, and change the directory. So each use asks first, by device and inode,
and nothing is ever renamed over what is there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from phasescope import _os_compat

if TYPE_CHECKING:
    from pathlib import Path

try:
    from resource import RLIM_INFINITY, RLIMIT_FSIZE, getrlimit
except ImportError:  # Windows
    getrlimit = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | os.O_APPEND
for _name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # a pipe does not block
    _FLAGS |= getattr(os, _name, 0)
_CANNOT_LOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)  # Lustre without -o flock, some FUSE


class NotARecordingError(FileExistsError):
    """There is a file of this name already, and it holds no events, or is another user's: it is not written to."""


class RecordingInUseError(OSError):
    """Another process is writing this recording."""


class OpenFile:
    """One file, open, and locked where the file system can. `found` is what it was when it was opened."""

    def __init__(self, path: Path, *, is_new: bool) -> None:
        """Open the file. Raises OSError, FileExistsError if a new one is asked for, NotARecordingError,
        RecordingInUseError."""
        self.path = path
        self._fd = _os_compat.out_of_the_way(os.open(path, _FLAGS | (os.O_CREAT | os.O_EXCL if is_new else 0), 0o600))
        try:
            self.found = os.fstat(self._fd)
            if not stat.S_ISREG(self.found.st_mode):
                raise NotARecordingError(f"{path} is not a regular file; name another one")
            if not is_new and _os_compat.user_id() not in (-1, self.found.st_uid):
                owner = self.found.st_uid
                raise NotARecordingError(f"{path} belongs to user {owner}, who could read it; name another file")
            if not _lock(self._fd):
                raise RecordingInUseError(f"{path} is being written by another process")
        except BaseException:
            self.close()
            raise

    @property
    def is_open_to_others(self) -> bool:
        """Whether its mode lets others read or write it."""
        return _os_compat.user_id() >= 0 and bool(self.found.st_mode & 0o077)

    def is_ours(self) -> bool:
        """Return whether the descriptor is still that of the file."""
        try:
            return self._fd >= 0 and os.path.samestat(os.fstat(self._fd), self.found)
        except OSError:
            return False

    def is_in_place(self) -> bool:
        """Return whether the path still leads to the file."""
        try:
            return os.path.samestat(os.lstat(self.path), self.found)
        except OSError:
            return False

    def is_removed(self) -> bool:
        """Return whether it has no name any more. Raises OSError."""
        return os.fstat(self._held()).st_nlink == 0

    def regain(self) -> bool:
        """Open it again by its path where all descriptors were closed; whether that is the file and nobody else's."""
        fd = -1
        try:
            fd = _os_compat.out_of_the_way(os.open(self.path, _FLAGS))
            if os.path.samestat(os.fstat(fd), self.found) and _lock(fd):
                self._fd, fd = fd, -1
                return True
        except OSError:
            pass
        finally:
            if fd >= 0:
                os.close(fd)
        return False

    def size(self) -> int:
        """Return its size in bytes. Raises OSError."""
        return os.fstat(self._held()).st_size

    def append(self, data: bytes) -> None:
        """Write the bytes. Raises OSError, and some of it may have been written then."""
        _keep_below_the_limit(self.size() + len(data))
        view = memoryview(data)
        while view:
            view = view[self._write(view) :]

    def cut(self, size: int) -> None:
        """Leave only its beginning. Raises OSError."""
        os.ftruncate(self._held(), size)

    def reading(self) -> BinaryIO:
        """Return the same file for reading, to be closed by the caller. Raises OSError."""
        return os.fdopen(_os_compat.out_of_the_way(os.dup(self._held())), "rb")

    def close(self) -> None:
        """Let go of the file, and of nothing else."""
        fd = self._fd if self.is_ours() else -1
        self._fd = -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._held(), data)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return os.write(self._held(), data)  # closed between the look at it and the writing

    def _held(self) -> int:
        """Return the file's descriptor, opened again if somebody has closed it. Raises OSError."""
        if not self.is_ours() and (self._fd < 0 or not self.regain()):
            raise OSError(errno.EBADF, "somebody has closed the descriptor", str(self.path))
        return self._fd


def _lock(fd: int) -> bool:
    if not _os_compat.CAN_SHARE_FILES:
        return True
    try:
        return _os_compat.lock(fd)
    except OSError as error:
        if error.errno in _CANNOT_LOCK:
            return True
        raise


def _keep_below_the_limit(size: int) -> None:
    """Raise EFBIG where the kernel would, before it sends SIGXFSZ: a training may have given that its default again."""
    if getrlimit is not None:
        limit = getrlimit(RLIMIT_FSIZE)[0]
        if limit != RLIM_INFINITY and size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
