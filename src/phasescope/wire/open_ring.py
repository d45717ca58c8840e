"""A ring file that is open for reading, in a process that may close, remove or shorten it at any moment."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from phasescope import _os_compat
from phasescope.wire import ring_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

_Answer = TypeVar("_Answer")

_TRIES = 3  # to open the file, where the program closes what it finds at the same time


class OpenRing:
    """A ring file that is open for reading.

    A process that becomes a daemon closes all descriptors it finds; then their numbers may be other files' by now. So
    each use asks first, which takes a fraction of the reading itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file. Raises OSError."""
        self.fd: int | None = None
        self.path = Path(path)
        self._path = self.path.absolute()  # daemons go to "/" as well
        self.fd = _os_compat.out_of_the_way(ring_files.open_ring(path))
        self._file = os.fstat(self.fd)

    def read(self, size: int, offset: int) -> bytes:
        return self._asked(lambda fd: _os_compat.pread(fd, size, offset))

    def size_bytes(self) -> int:
        return self._asked(lambda fd: os.fstat(fd).st_size)

    @property
    def size_bytes_at_opening(self) -> int:
        return self._file.st_size

    def locked(self) -> bool:
        return self._asked(_os_compat.is_locked)

    def is_of_this_machine(self) -> bool:
        return self._asked(_os_compat.is_of_this_machine)

    def _asked(self, question: Callable[[int], _Answer]) -> _Answer:
        """Return the answer of the open file. If its descriptor was closed just before the answer, ask again."""
        try:
            return question(self._opened())
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return question(self._opened())

    def again(self) -> OpenRing:
        """Return another one of the same file, also if its name is gone. Raises OSError."""
        other = object.__new__(OpenRing)
        other.fd = None
        other.path, other._path, other._file = self.path, self._path, self._file
        other.fd = _os_compat.out_of_the_way(os.dup(self._opened()))
        return other

    def _opened(self) -> int:
        if self.fd is None:
            closed()
        for _ in range(_TRIES):
            if self._is_the_files(self.fd):
                return self.fd
            self.fd = _os_compat.out_of_the_way(ring_files.open_ring(self._path))
            if not os.path.samestat(self._path.stat(), self._file):
                fd, self.fd = self.fd, -1
                os.close(fd)
                raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(self._path))
        raise OSError(errno.EBADF, "its descriptor is closed again and again", str(self._path))

    def _is_the_files(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._file)
        except OSError:
            return False

    def close(self) -> None:
        fd, self.fd = self.fd, None
        if fd is not None and self._is_the_files(fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.close()
        except:  # noqa: E722 - at the interpreter's end any global may be gone, the names of exceptions too
            pass


class OwnRing:
    """A ring of this process's own: its file, or what it goes on in while that cannot be written."""

    def __init__(self, file: OpenRing, memory: Callable[[], mmap | None], look: Callable[[], object]) -> None:
        self._file = file
        self._memory = memory
        self._look = look
        self._size_bytes = file.size_bytes_at_opening

    def read(self, size: int, offset: int) -> bytes:
        if self._memory() is None:
            data = self._file.read(size, offset)
            if len(data) == size:
                return data
            self._look()  # it was shortened, perhaps only just now
        memory = self._memory()
        return self._file.read(size, offset) if memory is None else bytes(memory[offset : offset + size])

    def size_bytes(self) -> int:
        if self._memory() is None:
            size_bytes = self._file.size_bytes()
            if size_bytes == self._size_bytes:
                return size_bytes
            self._look()
        memory = self._memory()
        return self._file.size_bytes() if memory is None else len(memory)


def closed(*_: int) -> NoReturn:
    """Raise ValueError: whoever let go of a reader reads no more."""
    raise ValueError("this reader is closed")
