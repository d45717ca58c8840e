"""The writer for a ring file that may be shortened, or whose disk may fill up, while it is mapped.

A page that was cut off, or for which a copy-on-write file system (btrfs, ZFS, XFS after a reflink) has no block left,
ends the process that stores into it: SIGBUS. So the kernel stores (`kernel_copy`); if it cannot, the ring goes
on in memory and comes back to its file when that can be written again.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from mmap import PAGESIZE
from typing import TYPE_CHECKING

from phasescope import _os_compat
from phasescope.wire import ring
from phasescope.wire.kernel_copy import KernelCopy

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

_RECORD = struct.Struct("=IIQ")
_WORD = struct.Struct("=Q")
_HEAD, _OLDEST, _CONSTANTS = ring.HEAD, ring.OLDEST, ring.CONSTANTS_OFFSET
_POPULATE_WRITE = 23  # of Linux; Python 3.11 has no name for it
_MOST_TAKEN_ALONG = 64 * 2**20
_CHUNK = 2**20
_SHORTEST_PAUSE_NS, _LONGEST_PAUSE_NS = 1_000_000_000, 600_000_000_000


class GuardedWriter(ring.RingWriter):
    """A writer whose stores the kernel makes.

    Raises NotImplementedError if this system cannot do it, OSError if there is no room for the header.
    """

    __slots__ = ("_copy", "_fd", "_file", "_header", "_mapping", "_memory", "_pause_ns", "_retry_ns", "_trouble")

    def __init__(self, mapping: mmap.mmap, layout: ring.Layout, constants: bytes, fd: int) -> None:
        self._header = ring.header(layout, constants)
        self._copy = KernelCopy(mapping, 8 * _HEAD, _WORD.size)
        if not self._copy.put(0, self._header):
            self._copy.close()
            raise OSError("its header could not be written")
        self._memory: mmap.mmap | None = None
        self._trouble = ""
        self._mapping = mapping
        self._fd, self._file = fd, os.fstat(fd)
        self._pause_ns, self._retry_ns = _SHORTEST_PAUSE_NS, 0
        super().__init__(mapping, layout, constants)

    def _let_core_append(self) -> None:
        if self._memory is not None:
            self._store_in(self._memory, ring.STORE_DIRECTLY)
        else:
            self._let_core_append_to_file()
            self._beat_in(self._fd, self._file.st_dev, self._file.st_ino, self.layout.size, self._header)

    def _let_core_append_to_file(self) -> None:
        self._store_in(self._mapping, ring.STORE_BY_KERNEL, self._copy.source, self._copy.fd)

    def append(
        self,
        payload: bytes,
        crc32: Callable[[bytes, int], int] = zlib.crc32,
        pack: Callable[[int, int, int], bytes] = _RECORD.pack,
        header: int = _RECORD.size,
        longest: int = ring.MAX_PAYLOAD_BYTES,
        head: int = _HEAD,
        word: Callable[[int], bytes] = _WORD.pack,
    ) -> None:
        """Append as `RingWriter` does, in one copy. Raises OSError too, if not even memory can be had."""
        if self._memory is not None:
            super().append(payload)
            return
        length = len(payload)
        if length > longest:
            raise ValueError(f"a payload of {length} bytes; a record takes at most {longest}")
        offset = self._at
        end = offset + header + length
        if end > self._limit:
            offset = self._next_segment()
            end = offset + header + length
        base = self._base
        sequence = self.sequence + 1
        copy = self._copy
        size = end - offset
        copy.source[: size + 8] = (
            pack(length, crc32(payload, offset + base + sequence), sequence) + payload + word(end + base)
        )
        vector = copy.vector
        vector[0] = copy.address + offset
        vector[1] = size
        # Not kept from the interpreter's lock, nor from Ctrl-C: what either leaves is written over by the next record.
        if copy.copy(copy.fd, copy.pointer, 2, copy.start) != size + 8:
            if not copy.renew():
                self._leave("could not be written")
            self.append(payload)
            return
        self.sequence = sequence
        self._at = end

    def _next_segment(self) -> int:
        if self._memory is None and not self._close_segment() and not self._leave("could not be written"):
            return self._at
        return super()._next_segment()

    def _close_segment(self) -> bool:
        """Make all stores that `super` will make, so that this ring leaves, if at all, before any of them has begun."""
        return all(self._copy.put(offset, data) for offset, data in self._closing())

    def _put(self, offset: int, data: bytes) -> None:
        if self._memory is None and not self._copy.put(offset, data):
            self._leave("could not be written")
        if self._memory is not None:
            super()._put(offset, data)

    def _store(self, word: int, value: int) -> None:
        self._put(8 * word, _WORD.pack(value))

    def beat(self, now_ns: int, dropped: int) -> None:
        """Publish a sign of life, and see to the file: whether it is still whole, or can be written again."""
        if self._memory is None:
            if not self._is_whole():
                self._leave("was shortened or written over")
        elif not self._retry_ns:  # not at once: who has just shortened the file may be about to write into it
            self._retry_ns = now_ns + self._pause_ns
        elif now_ns >= self._retry_ns:
            self._return()
            self._pause_ns = min(2 * self._pause_ns, _LONGEST_PAUSE_NS)
            self._retry_ns = now_ns + self._pause_ns
        super().beat(now_ns, dropped)
        self._let_core_append()  # again, if an exception came in between, or the memory file is another one

    def _is_whole(self) -> bool:
        """Return whether the file is whole.

        If a daemon closed the descriptor, it counts as whole: the pages are none the worse.
        """
        try:
            if not self._is_ours():
                return True
            begin = _os_compat.pread(self._fd, ring.PEEK_BYTES, 0)
            return os.fstat(self._fd).st_size >= self.layout.size and begin[: 8 * _HEAD] == self._header[: 8 * _HEAD]
        except OSError:
            return True

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), self._file)
        except OSError:
            return False

    def _leave(self, why: str) -> bool:
        """Go on in memory, with all that the file still gives. Return False if that is nothing. Raises OSError."""
        self._trouble, self._retry_ns = why, 0
        self._store_nowhere()
        size, moderate = self.layout.size, self.layout.size <= _MOST_TAKEN_ALONG
        memory = _os_compat.map_memory(-1, size, populate=moderate)
        kept = moderate and self._take_along(memory)
        if not kept:
            memory = _os_compat.map_memory(-1, size, populate=moderate)
            memory[: len(self._header)] = self._header
        self._go_on_in(memory)
        self._memory = memory
        if kept:
            self._words[_HEAD] = self._at + self._base
        else:
            self._begin_anew()
        self._let_core_append()
        return kept

    def _go_on_in(self, buffer: mmap.mmap) -> None:
        self._words.release()
        self._buffer, self._words = buffer, memoryview(buffer).cast("Q")

    def _take_along(self, memory: mmap.mmap) -> bool:
        """Return whether the file, as it is now, is this ring and whole."""
        try:
            for offset in range(0, len(memory), _CHUNK):
                part = _os_compat.pread(self._fd, min(_CHUNK, len(memory) - offset), offset)
                memory[offset : offset + len(part)] = part
                if len(part) < min(_CHUNK, len(memory) - offset):
                    return False
        except OSError:
            return False
        constants = slice(_CONSTANTS, len(self._header))
        head = _WORD.unpack_from(memory, 8 * _HEAD)[0] - self._at - self._base
        same = memory[: 8 * _HEAD] == self._header[: 8 * _HEAD] and memory[constants] == self._header[constants]
        return same and 0 <= head <= self.layout.segment  # Ctrl-C may have come between the copy and the book-keeping

    def _begin_anew(self) -> None:
        """Go on in memory, at the next segment, with nothing before it."""
        start = self._limit + self._base
        offset = self.layout.data_offset + start % self.layout.capacity
        self._at, self._limit, self._base = offset, offset + self.layout.segment, start - offset
        self._begun = self._words[_OLDEST] = self._words[_HEAD] = start

    def _return(self) -> None:
        """Write the memory into the file, all of it, and go on there; stay in memory if that fails."""
        memory, size = self._memory, self.layout.size
        if memory is None or not self._has_its_size():
            return
        self._store_nowhere()
        if size > _MOST_TAKEN_ALONG:
            self._begin_anew()
            size = self.layout.data_offset
        for offset in (*range(self.layout.data_offset, size, _CHUNK), 0):
            end = min(offset + _CHUNK, size) if offset else self.layout.data_offset  # the header comes last
            if not self._copy.put(offset, memory[offset:end]):
                return
        self._go_on_in(self._mapping)
        self._memory = None
        self._let_core_append()

    def _has_its_size(self) -> bool:
        try:
            if self._is_ours():
                _os_compat.allocate(self._fd, self.layout.size)
        except OSError as error:
            return error.errno == errno.EBADF  # a daemon closed it, and a reader of this ring has its number by now
        return True

    def stop(self) -> None:
        """Publish that nothing more will come, in the file too, even if no more can be brought there."""
        super().stop()
        self._return()
        if self._memory is not None and self._is_whole():
            self._copy.put(8 * ring.STATE, _WORD.pack(ring.STOPPED))

    def go_on(self) -> None:
        """Publish that more will come after all, in the file too."""
        super().go_on()
        if self._memory is not None and self._is_whole():
            self._copy.put(8 * ring.STATE, _WORD.pack(ring.RUNNING))

    def release(self) -> None:
        """Let go of the file. In memory the ring stays readable."""
        super().release()
        self._copy.close()

    @property
    def memory(self) -> mmap.mmap | None:
        return self._memory

    @property
    def trouble(self) -> str:
        return self._trouble


class CheckedWriter(GuardedWriter):
    """The writer for a tmpfs, on which pages are lost only if somebody shortens the file: it asks before each store.

    Asking takes less time than a copy by the kernel. A file that is shortened in the fraction of a microsecond between
    asking and storing still ends the process. Raises NotImplementedError if the system cannot be asked.
    """

    __slots__ = ("_check",)

    def __init__(self, mapping: mmap.mmap, layout: ring.Layout, constants: bytes, fd: int) -> None:
        try:
            mapping.madvise(_POPULATE_WRITE, 0, PAGESIZE)
        except (AttributeError, OSError) as error:  # before Linux 5.14
            raise NotImplementedError("this system cannot be asked for pages") from error
        self._check = mapping.madvise
        super().__init__(mapping, layout, constants, fd)

    def _let_core_append_to_file(self) -> None:
        self._store_in(self._mapping, ring.STORE_CHECKED)

    def append(
        self,
        payload: bytes,
        crc32: Callable[[bytes, int], int] = zlib.crc32,
        pack: Callable[[int, int, int], bytes] = _RECORD.pack,
        header: int = _RECORD.size,
        longest: int = ring.MAX_PAYLOAD_BYTES,
        head: int = _HEAD,
        word: Callable[[int], bytes] = _WORD.pack,
        page: int = -PAGESIZE,
    ) -> None:
        """Append as `RingWriter` does, if the record's pages are there."""
        length = len(payload)
        if length > longest:
            raise ValueError(f"a payload of {length} bytes; a record takes at most {longest}")
        offset = self._at
        end = offset + header + length
        if end > self._limit:
            offset = self._next_segment()
            end = offset + header + length
        base = self._base
        sequence = self.sequence + 1
        record = pack(length, crc32(payload, offset + base + sequence), sequence) + payload
        if self._memory is None:
            start = offset & page
            try:
                self._check(_POPULATE_WRITE, start, end - start)
            except OSError:
                self._leave("could not be written")
                self.append(payload)
                return
        self._buffer[offset:end] = record
        self._words[head] = end + base
        self.sequence = sequence
        self._at = end
