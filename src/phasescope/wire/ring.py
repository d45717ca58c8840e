"""The ring: a bounded file (or memory) of records that one process writes and any number read. It knows no telemetry.

The format is in docs/ring-format.md. What makes it safe to read while it is written, and after its writer was killed:

- A record is written in one slice and counts only once `head` has been moved past it, so a kill leaves it out whole.
- A record names its own length, checksum and sequence number; a reader that falls behind sees that they disagree.
- The ring is cut into segments, and `oldest` always stands at the start of one. The writer moves `oldest` on before it
  touches a segment again, so a reader knows from one look afterwards whether what it read was still whole, and always
  has a place to start anew. It also means that the writer need not know where the records lie that it overwrites.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator

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
_LIVE_OFFSET, _LIVE_SIZE = 64, 40
PEEK_BYTES = _LIVE_OFFSET + _LIVE_SIZE
HEAD, OLDEST, HEARTBEAT, STATE, DROPPED = range(8, 13)  # in units of 8 bytes
CONSTANTS_OFFSET = 128
_MAX_CONSTANTS = 1 << 20

_RECORD = struct.Struct("=IIQ")
_WORD = struct.Struct("=Q")
_PAD = b"\xff\xff\xff\xff"  # in the place of a length: the segment holds no more
_PATIENCE = 1 << 18  # places looked at behind damage, in all: each may cost a checksum where a file is made to be slow
_LOOKS = 5  # at what never becomes whole; more than the chances that a record below the head gets


class RingError(ValueError):
    """The bytes are no ring of this format, or too damaged to read any of it."""


class Layout(NamedTuple):
    """Where things lie, in bytes. `capacity` is `segment` times a whole number; the whole takes `size`."""

    data_offset: int
    capacity: int
    segment: int

    @property
    def size(self) -> int:
        return self.data_offset + self.capacity


def plan(constants: bytes, capacity_bytes: int) -> Layout:
    """The layout of a ring that keeps about `capacity_bytes` of records, never more. Raises ValueError by name."""
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
    """What a new ring begins with, its records not begun yet."""
    fixed = _FIXED.pack(MAGIC, _BYTE_ORDER, VERSION, *layout, len(constants), zlib.crc32(constants))
    live = struct.pack("=5Q", 0, 0, 0, RUNNING, 0)
    return fixed.ljust(_LIVE_OFFSET, b"\0") + live.ljust(CONSTANTS_OFFSET - _LIVE_OFFSET, b"\0") + constants


class RingWriter:
    """Writes records into a zeroed buffer of `layout.size` bytes. One thread at a time: the caller holds a lock."""

    __slots__ = ("_at", "_base", "_begun", "_buffer", "_limit", "_words", "layout", "sequence")

    def __init__(self, buffer: mmap.mmap | bytearray, layout: Layout, constants: bytes) -> None:
        self.layout = layout
        self.sequence = 0
        self._buffer = buffer
        self._words = memoryview(buffer).cast("Q")
        self._at = layout.data_offset  # where the next record goes, in the buffer
        self._limit = layout.data_offset + layout.segment  # where its segment ends
        self._begun = 0  # nothing before this position is in the buffer
        self._base = -layout.data_offset  # what turns a place in the buffer into a position of this lap
        self._put(0, header(layout, constants))

    def append(
        self,
        payload: bytes,
        # Bound once: this runs at every phase boundary.
        crc32: Callable[[bytes, int], int] = zlib.crc32,
        pack: Callable[[int, int, int], bytes] = _RECORD.pack,
        header: int = _RECORD.size,
        longest: int = MAX_PAYLOAD_BYTES,
        head: int = HEAD,
    ) -> None:
        """Write one record. Raises ValueError beyond `MAX_PAYLOAD_BYTES`.

        When it returns, any reader finds the record. An exception (Ctrl-C lands between any two calls) leaves the
        ring as it was: all that changes it stands behind the last call.
        """
        length = len(payload)
        if length > longest:
            raise ValueError(f"a payload of {length} bytes; a record takes at most {longest}")
        at = self._at
        end = at + header + length
        if end > self._limit:
            at = self._next_segment()
            end = at + header + length
        base = self._base
        sequence = self.sequence + 1
        # crc32 starts from position and number, so that a record is true at its own place and in its own lap only.
        self._buffer[at:end] = pack(length, crc32(payload, at + base + sequence), sequence) + payload
        self._words[head] = end + base  # the store that makes the record count
        self.sequence = sequence
        self._at = end

    def _next_segment(self) -> int:
        """Close the segment, give up the oldest one if its place is needed, and return where the next begins."""
        layout = self.layout
        for place, data in self._closing():
            self._put(place, data)
        start = self._limit + self._base
        at = layout.data_offset + start % layout.capacity
        self._at, self._limit, self._base = at, at + layout.segment, start - at
        return at

    def _closing(self) -> list[tuple[int, bytes]]:
        """What must stand where before the next segment is begun."""
        stores = [(self._at, _PAD)] if self._limit - self._at >= len(_PAD) else []
        oldest = self._limit + self._base + self.layout.segment - self.layout.capacity
        if oldest > self._begun:
            stores.append((8 * OLDEST, _WORD.pack(oldest)))
        return stores

    def _put(self, at: int, data: bytes) -> None:
        self._buffer[at : at + len(data)] = data

    def _store(self, word: int, value: int) -> None:
        """One of the live fields, at once."""
        self._words[word] = value

    @property
    def used_bytes(self) -> int:
        """How much of the buffer holds anything yet."""
        return min(self._at + self._base, self.layout.capacity) + self.layout.data_offset

    def beat(self, now_ns: int, dropped: int) -> None:
        """Publish that the writer is alive (wall clock) and how many events it could not write."""
        self._store(DROPPED, dropped)
        self._store(HEARTBEAT, now_ns)

    def stop(self) -> None:
        """Publish that nothing more will come."""
        self._store(STATE, STOPPED)

    @property
    def memory(self) -> mmap.mmap | None:
        """Where the ring is to be read while it can not be in its file."""
        return None

    @property
    def trouble(self) -> str:
        """Why it ever had to leave its file."""
        return ""

    def release(self) -> None:
        """Let go of the buffer, so that it can be unmapped. Nothing can be written afterwards."""
        self._words.release()


class Live(NamedTuple):
    """The fields of the header that change while the session runs. Positions count bytes ever written."""

    head: int
    oldest: int
    heartbeat_ns: int
    state: int
    dropped: int


def peek(raw: bytes) -> Live | None:
    """The live fields from the first `PEEK_BYTES` of a file, unchecked; None where it is no ring."""
    if len(raw) < PEEK_BYTES or raw[: len(MAGIC)] != MAGIC:
        return None
    order = _byte_order(raw)
    return None if order is None else Live(*struct.unpack_from(order + "5Q", raw, _LIVE_OFFSET))


class RecordReader:
    """Reads the records of a ring in order, from the oldest that is left. It never writes and trusts nothing.

    `read(size, offset)` gives up to `size` bytes of the ring. Raises RingError where those are no ring.
    `missed` counts records that were overwritten before they were read, `damaged` places that hold no true record.
    """

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._read = read
        self.missed = 0
        self.damaged = 0
        self._position = 0
        self._sequence: int | None = 0  # of the last record before the position; None: not known
        self._stalls = 0
        self._patience = _PATIENCE
        self._order, self.layout, self.constants = _read_header(read, size_bytes)
        self._record = struct.Struct(self._order + "IIQ")
        live = self.live()
        truncated = live.state == STOPPED and live.head <= size_bytes - self.layout.data_offset
        if self.layout.size > size_bytes and not truncated:
            raise RingError(f"the file ends after {size_bytes} of {self.layout.size} bytes")

    def live(self) -> Live:
        """The live fields, from one moment. Raises RingError where they contradict each other."""
        _, capacity, segment = self.layout
        for _ in range(100):
            raw = self._read(_LIVE_SIZE, _LIVE_OFFSET)
            if len(raw) < _LIVE_SIZE:
                break
            live = Live(*struct.unpack(self._order + "5Q", raw))
            # A writer that laps the ring between two of these loads makes them disagree for a moment.
            if live.oldest <= live.head <= live.oldest + capacity and live.oldest % segment == 0:
                return live
        raise RingError("the header's positions contradict each other")

    def seek_end(self) -> None:
        """Leave out all that is there and go on with what comes next."""
        self.seek_recent()
        for _ in self.batches():  # read, not skipped: a gap is counted from the number of the record before it
            pass

    def seek_recent(self) -> None:
        """Go to the start of the last segment but one: the newest records without reading all of them."""
        live = self.live()
        recent = live.head // self.layout.segment * self.layout.segment - self.layout.segment
        self._position = max(recent, live.oldest)
        self._sequence = None if self._position > 0 else 0

    def last_sequence(self) -> int:
        """How many records were ever written, by the newest one that can be read."""
        self.seek_end()
        if self._sequence is None:  # the newest segments hold nothing that can be read
            self._position = 0
            for _ in self.batches():
                pass
        return self._sequence or 0

    def batches(self) -> Iterator[list[tuple[int, bytes]]]:
        """All that is there when this is called, as `next_batch` gives it, and no more than one batch beyond.

        Neither a writer at full speed nor a file that is changed to lead nowhere makes this endless.
        """
        head = self.live().head
        looks = 0
        for _ in range(self.layout.capacity // self.layout.segment + _LOOKS):
            before = self._position
            batch = self.next_batch()
            looks = looks + 1 if self._position == before else 0
            if batch:
                yield batch
            if self._position >= head or looks == _LOOKS:
                return

    def next_batch(self) -> list[tuple[int, bytes]]:
        """The next records, each (sequence number, payload).

        Empty when there is nothing more for now, and where all that was looked at is damaged or just overwritten.
        """
        live = self.live()
        self._position = start = max(self._position, live.oldest)
        if start >= live.head:
            return []
        segment_end = (start // self.layout.segment + 1) * self.layout.segment
        end = min(live.head, segment_end)
        data = self._read(end - start, self.layout.data_offset + start % self.layout.capacity)
        oldest = self.live().oldest
        if oldest > start:  # the writer came round: what was read may be of two laps
            self._position = oldest
            return []
        return self._parse(data, end - start, None if end == live.head else segment_end - start)

    def _parse(self, data: bytes, size: int, room: int | None) -> list[tuple[int, bytes]]:
        """The records of `data`; moves the position behind them.

        `size` is how much there should be, `room` how much the segment has left from here; None: the writer is in it.
        """
        records: list[tuple[int, bytes]] = []
        at = 0
        while at + len(_PAD) <= size:
            found = self._record_at(data, at)
            if found is not None:
                self._take(found[0])
                records.append(found)
                at = self._following(data, at + _RECORD.size + len(found[1]), records)
            elif room is not None:
                closed = data[at : at + len(_PAD)] == _PAD and self._holds_a_record_before(at)
                at = room if closed else self._skip_damage(data, at, size)
            elif self._stalls < _LOOKS - 2:
                # On processors that reorder stores, the head may be seen before the record below it: look again.
                self._stalls += 1
                break
            else:
                at = self._skip_damage(data, at, size)
        else:
            at = max(at, size)  # too little is left for even a length
        self._position += at
        return records

    def _following(self, data: bytes, at: int, records: list[tuple[int, bytes]]) -> int:
        """The records from here on that each have the next number, as nearly all have; the place behind them.

        What `_record_at` and `_take` do, in one loop: a reader's time is spent here. As the record before was at a
        place that allows its number, so are these.
        """
        unpack, header, position, end = self._record.unpack_from, _RECORD.size, self._position, len(data)
        sequence, crc32, append, longest = records[-1][0], zlib.crc32, records.append, MAX_PAYLOAD_BYTES
        while (start := at + header) <= end:
            length, checksum, number = unpack(data, at)
            following = start + length
            if number != sequence + 1 or following > end or length > longest:
                break
            payload = data[start:following]
            if crc32(payload, position + at + number) != checksum:
                break
            append((number, payload))
            sequence, at = number, following
        self._sequence = sequence
        return at

    def _holds_a_record_before(self, at: int) -> bool:
        """No writer closes an empty segment. A file of nothing but such ones would be walked through for long."""
        return (self._position + at) % self.layout.segment > 0

    def _record_at(self, data: bytes, at: int) -> tuple[int, bytes] | None:
        """The record at this place, or None where length, checksum and sequence number do not agree."""
        start = at + _RECORD.size
        if start > len(data):
            return None
        length, checksum, sequence = self._record.unpack_from(data, at)
        position = self._position + at
        highest = position // _RECORD.size + 1  # no record is shorter than its header
        if length > min(len(data) - start, MAX_PAYLOAD_BYTES) or not (self._sequence or 0) < sequence <= highest:
            return None
        payload = data[start : start + length]
        return (sequence, payload) if zlib.crc32(payload, position + sequence & 0xFFFFFFFF) == checksum else None

    def _take(self, sequence: int) -> None:
        if self._sequence is not None:
            self.missed += sequence - self._sequence - 1
        self._sequence = sequence
        self._stalls = 0

    def _skip_damage(self, data: bytes, at: int, size: int) -> int:
        """Where the next true record of this segment is, else its end; all that is there, once patience is gone."""
        self._stalls = 0
        self.damaged += 1
        last = min(size, len(data)) - _RECORD.size
        for candidate in range(at + 1, min(last, at + self._patience) + 1):
            self._patience -= 1
            if self._record_at(data, candidate) is not None:
                return candidate
        return size if self._patience > 0 else max(size, self.live().head - self._position)


def _read_header(read: Callable[[int, int], bytes], size_bytes: int) -> tuple[str, Layout, dict[str, Any]]:
    """Byte order, layout and constants. Raises RingError, naming what is wrong."""
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
        raise RingError("the session's constants are no JSON") from error
    if not isinstance(constants, dict):
        raise RingError("the session's constants are no object")
    return order, layout, constants


def _byte_order(raw: bytes) -> str | None:
    return next((order for order in "<>" if struct.unpack_from(order + "I", raw, len(MAGIC))[0] == _BYTE_ORDER), None)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
