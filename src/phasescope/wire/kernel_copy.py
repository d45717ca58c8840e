"""Stores by the kernel: they fail if a page cannot be had; a store of this process's own would end it.

The data are laid into a small memory file of this process's own; one `preadv` copies it from there to any
places of a mapping. It is called through ctypes because that keeps the interpreter's lock: a phase boundary that lets
go of it, as `os.preadv` does, waits for milliseconds beside a thread that computes in Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat

if TYPE_CHECKING:
    import mmap

SOURCE_BYTES = 16 * 1024
_free: list[_MemoryFile] = []


class _MemoryFile:
    """A memory file, mapped. A forked child has none of its parent's."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.fd = _os_compat.memory_file(SOURCE_BYTES)
        self.memory = _os_compat.map_memory(self.fd, SOURCE_BYTES)
        self._file = os.fstat(self.fd)

    def is_whole(self) -> bool:
        """Return whether it is still open: daemons close every descriptor."""
        try:
            return self.pid == os.getpid() and os.path.samestat(os.fstat(self.fd), self._file)
        except OSError:
            return False


def _source() -> _MemoryFile:
    while _free:
        source = _free.pop()
        if source.is_whole():
            return source
    return _MemoryFile()


class KernelCopy:
    """Copies into one mapping.

    Raises NotImplementedError if this system cannot do it, OSError if too many files are open.

    For a caller in a hurry: lay `size` bytes into `source`, set the first of `vector`'s pairs to address and length,
    and call `copy(fd, pointer, 2, start)`; it returns how many bytes were copied, to the first pair's place and then to
    the second's. The second pair is the caller's, for good.
    """

    __slots__ = ("_pairs", "_source", "address", "copy", "fd", "pointer", "source", "start", "vector")

    def __init__(self, mapping: mmap.mmap, second_at: int, second_bytes: int) -> None:
        try:
            import ctypes

            self.copy: Any = ctypes.PyDLL(None).preadv
        except (ImportError, AttributeError, OSError, TypeError) as error:
            raise NotImplementedError("no kernel copies here") from error
        self.copy.restype = ctypes.c_ssize_t
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        pairs = (ctypes.c_size_t * 4)(0, 0, self.address + second_at, second_bytes)
        self._pairs = pairs  # the pointer is to them
        self.vector = memoryview(pairs).cast("B").cast("P")
        self.pointer = ctypes.c_void_p(ctypes.addressof(pairs))
        self.start = ctypes.c_long(0)
        self._take(_source())

    def _take(self, source: _MemoryFile) -> None:
        self._source, self.fd, self.source = source, source.fd, source.memory

    def put(self, offset: int, data: bytes) -> bool:
        """Store `data` at this place of the mapping; whether there was room for all of it."""
        for start in range(0, len(data), SOURCE_BYTES):
            part = data[start : start + SOURCE_BYTES]
            if not (self._put(offset + start, part) or (self.renew() and self._put(offset + start, part))):
                return False
        return True

    def _put(self, offset: int, part: bytes) -> bool:
        self.source[: len(part)] = part
        self.vector[0], self.vector[1] = self.address + offset, len(part)
        return int(self.copy(self.fd, self.pointer, 1, self.start)) == len(part)

    def renew(self) -> bool:
        """Take another memory file if this one was closed; whether it was. Raises OSError."""
        if self._source.is_whole():
            return False
        self._take(_source())
        return True

    def close(self) -> None:
        """Copy nothing any more, not even if a signal handler closed this amid a copy."""
        self.vector[1] = self.vector[3] = 0
        self.vector.release()
        _free.append(self._source)
