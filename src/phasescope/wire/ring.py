"""The ring: a bounded file (or memory) of records that one process writes and any number read. It knows no telemetry.

The format is in docs/ring-format.md. It is safe to read while it is written, and after its writer was killed, because:

- A record is written in one slice and counts only once `head` has been moved past it, so a kill leaves it out whole.
- A record names its own length, checksum and sequence number; a reader that falls behind sees that they disagree.
- The ring is cut into segments, and `oldest` always stands at the start of one. The writer moves `oldest` on before it
  touches a segment again, so a reader knows from one look afterwards whether what it read was still whole, and always
  has a place to start again. It also means that the writer need not know where the records lie that it overwrites.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _native

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

MAGIC = b"phscope\x00"
VERSION = 1
RUNNING, STOPPED = 1, 2

MIN_CAPACITY_BYTES = 64 * 1024
MAX_CAPACITY_BYTES = 1 << 36
MAX_PAYLOAD_BYTES = 15 * 1024
"""A record always fits a segment of the smallest ring."""

_BYTE_ORDER = 0x01020304
_MIN_SEGMENT, _MAX_SEGMENT = 16 * 1024, 256 * 1024  # a reader reads one segment at a time, and two for the newest event
_SEGMENTS = 64
_PAGE = 4096

_FIXED = struct.Struct("=8sIIQQQII")
LIVE_OFFSET, LIVE_SIZE = 64, 40
PEEK_BYTES = LIVE_OFFSET + LIVE_SIZE
HEAD, OLDEST, HEARTBEAT, STATE, DROPPED = range(8, 13)  # in units of 8 bytes
CONSTANTS_OFFSET = 128
_MAX_CONSTANTS = 1 << 20

RECORD = struct.Struct("=IIQ")
_WORD = struct.Struct("=Q")
PAD = b"\xff\xff\xff\xff"  # in the place of a length: the segment holds no more


class RingError(ValueError):
    """The file is not a ring of this format, or is too damaged to read."""


class Layout(NamedTuple):
    """Where things lie, in bytes. `capacity` is `segment` times a whole number; the whole takes `size`."""

    data_offset: int
    capacity: int
    segment: int

    @property
    def size(self) -> int:
        return self.data_offset + self.capacity


def plan(constants: bytes, capacity_bytes: int) -> Layout:
    """Return the layout of a ring that keeps about `capacity_bytes` of records, never more.

    Raises ValueError for one that is out of bounds.
    """
    if not MIN_CAPACITY_BYTES <= capacity_bytes <= MAX_CAPACITY_BYTES:
        raise ValueError(
            f"capacity_bytes must be from {MIN_CAPACITY_BYTES} to {MAX_CAPACITY_BYTES}, not {capacity_bytes}"
        )
    if len(constants) > _MAX_CONSTANTS:
        raise ValueError(f"the session's constants take {len(constants)} bytes, over {_MAX_CONSTANTS}")
    segment = min(max(_MIN_SEGMENT, capacity_bytes // _SEGMENTS // _PAGE * _PAGE), _MAX_SEGMENT)
    data_offset = -(-(CONSTANTS_OFFSET + len(constants)) // _PAGE) * _PAGE
    return Layout(data_offset, capacity_bytes // segment * segment, segment)


def header(layout: Layout, constants: bytes) -> bytes:
    """Return the beginning of a new ring, without any record."""
    fixed = _FIXED.pack(MAGIC, _BYTE_ORDER, VERSION, *layout, len(constants), zlib.crc32(constants))
    live = struct.pack("=5Q", 0, 0, 0, RUNNING, 0)
    return fixed.ljust(LIVE_OFFSET, b"\0") + live.ljust(CONSTANTS_OFFSET - LIVE_OFFSET, b"\0") + constants


STORE_DIRECTLY, STORE_CHECKED, STORE_BY_KERNEL = 1, 2, 3
"""How the compiled core appends; see docs/ring-format.md."""


if TYPE_CHECKING or _native.core is None:

    class _AppendSlots:
        """The fields that an append needs. Without the compiled core, only `RingWriter.append` appends."""

        __slots__ = ("_at", "_base", "_limit", "sequence")

        _at: int
        _base: int
        _limit: int
        sequence: int

        def _store_in(self, _buffer: object, _mode: int, _source: object = None, _fd: int = -1) -> None:
            pass

        def _beat_in(self, *_file: object) -> None:
            pass

        def _store_nowhere(self) -> None:
            pass

else:
    _AppendSlots = _native.core.RingSlots


class RingWriter(_AppendSlots):
    """Writes records into a zeroed buffer of `layout.size` bytes. One thread at a time: the caller holds a lock.

    The compiled core appends to it too, between two calls of Python's, as long as a record fits the segment.
    """

    __slots__ = ("_begun", "_buffer", "_words", "layout")

    def __init__(self, buffer: mmap.mmap | bytearray, layout: Layout, constants: bytes) -> None:
        self.layout = layout
        self.sequence = 0
        self._buffer = buffer
        self._words = memoryview(buffer).cast("Q")
        self._at = layout.data_offset  # where the next record goes, in the buffer
        self._limit = layout.data_offset + layout.segment  # where its segment ends
        self._begun = 0  # nothing before this position is in the buffer
        self._base = -layout.data_offset  # turns a place in the buffer into a position of this lap
        self._put(0, header(layout, constants))
        self._let_core_append()

    def _let_core_append(self) -> None:
        self._store_in(self._buffer, STORE_DIRECTLY)
        self._beat_in()

    def append(
        self,
        payload: bytes,
        # Bound once: this runs at every phase boundary.
        crc32: Callable[[bytes, int], int] = zlib.crc32,
        pack: Callable[[int, int, int], bytes] = RECORD.pack,
        header: int = RECORD.size,
        longest: int = MAX_PAYLOAD_BYTES,
        head: int = HEAD,
    ) -> None:
        """Write one record. Raises ValueError beyond `MAX_PAYLOAD_BYTES`.

        When it returns, any reader finds the record. An exception (Ctrl-C lands between any two calls) leaves the
        ring as it was: everything that changes it comes after the last call.
        """
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
        # crc32 starts from position and number, so that a record is true at its own place and in its own lap only.
        self._buffer[offset:end] = pack(length, crc32(payload, offset + base + sequence), sequence) + payload
        self._words[head] = end + base  # the store that makes the record count
        self.sequence = sequence
        self._at = end

    def _next_segment(self) -> int:
        """Close the segment, give up the oldest one if its place is needed, and return where the next begins."""
        layout = self.layout
        for place, data in self._closing():
            self._put(place, data)
        start = self._limit + self._base
        offset = layout.data_offset + start % layout.capacity
        self._at, self._limit, self._base = offset, offset + layout.segment, start - offset
        return offset

    def _closing(self) -> list[tuple[int, bytes]]:
        """Return the stores, each with its place, that must be made before the next segment is begun."""
        stores = [(self._at, PAD)] if self._limit - self._at >= len(PAD) else []
        oldest = self._oldest_with(self._limit + self._base + self.layout.segment)
        if oldest > self._begun:
            stores.append((8 * OLDEST, _WORD.pack(oldest)))
        return stores

    def _oldest_with(self, end: int) -> int:
        """Return the oldest position that is kept while the segment that ends at `end` is written."""
        return max(end - self.layout.capacity, self._begun)

    def _put(self, offset: int, data: bytes) -> None:
        self._buffer[offset : offset + len(data)] = data

    def _store(self, word: int, value: int) -> None:
        """Store one of the live fields, at once."""
        self._words[word] = value

    @property
    def used_bytes(self) -> int:
        """How much of the buffer holds anything yet."""
        return min(self._at + self._base, self.layout.capacity) + self.layout.data_offset

    def beat(self, now_ns: int, dropped: int) -> None:
        """Publish that the writer is alive (wall clock) and how many events it could not write.

        Store the oldest position again, too: an earlier copy that was written over the file has left its own there.
        """
        self._store(OLDEST, self._oldest_with(self._limit + self._base))
        self._store(DROPPED, dropped)
        self._store(HEARTBEAT, now_ns)

    def stop(self) -> None:
        """Publish that nothing more will come."""
        self._store(STATE, STOPPED)

    def go_on(self) -> None:
        """Publish that more will come after all."""
        self._store(STATE, RUNNING)

    @property
    def memory(self) -> mmap.mmap | None:
        """Where the ring is to be read while it cannot be in its file."""
        return None

    @property
    def trouble(self) -> str:
        """Why it ever had to leave its file."""
        return ""

    def release(self) -> None:
        """Let go of the buffer, so that it can be unmapped. Nothing can be written afterwards."""
        self._store_nowhere()
        self._words.release()


class Live(NamedTuple):
    """The fields of the header that change while the session runs. Positions count bytes ever written."""

    head: int
    oldest: int
    heartbeat_ns: int
    state: int
    dropped: int


def peek(raw: bytes) -> Live | None:
    """Return the live fields from the first `PEEK_BYTES` of a file, unchecked; None if it is not a ring."""
    if len(raw) < PEEK_BYTES or raw[: len(MAGIC)] != MAGIC:
        return None
    order = _byte_order(raw)
    return None if order is None else Live(*struct.unpack_from(order + "5Q", raw, LIVE_OFFSET))


def read_header(read: Callable[[int, int], bytes], size_bytes: int) -> tuple[str, Layout, dict[str, Any]]:
    """Return byte order, layout and constants. Raises RingError, naming what is wrong."""
    raw = read(_FIXED.size, 0)
    if len(raw) < _FIXED.size or raw[:8] != MAGIC:
        raise RingError("not a phasescope ring")
    order = _byte_order(raw)
    if order is None:
        raise RingError("the byte-order mark is damaged")
    _, _, version, data_offset, capacity, segment, length, checksum = struct.unpack(order + _FIXED.format[1:], raw)
    if version != VERSION:
        raise RingError(f"format version {version}; this phasescope reads version {VERSION}")
    layout = Layout(data_offset, capacity, segment)
    if not (
        _MIN_SEGMENT <= segment <= _MAX_SEGMENT
        and segment <= capacity <= MAX_CAPACITY_BYTES
        and capacity % segment == 0
        and length <= _MAX_CONSTANTS
        and CONSTANTS_OFFSET + length <= data_offset <= CONSTANTS_OFFSET + _MAX_CONSTANTS + _PAGE
    ):
        raise RingError("the header's sizes contradict each other")
    if data_offset > size_bytes:
        raise RingError(f"the ring ends after {size_bytes} bytes, within its header")
    text = read(length, CONSTANTS_OFFSET)
    if zlib.crc32(text) != checksum:
        raise RingError("the session's constants are damaged")
    try:
        constants = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RingError("the session's constants are not JSON") from error
    if not isinstance(constants, dict):
        raise RingError("the session's constants are not a JSON object")
    return order, layout, constants


def _byte_order(raw: bytes) -> str | None:
    return next((order for order in "<>" if struct.unpack_from(order + "I", raw, len(MAGIC))[0] == _BYTE_ORDER), None)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
