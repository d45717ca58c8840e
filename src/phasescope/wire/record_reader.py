"""Reads the records of a ring in order, while it is written or after a kill. What lies there may be false."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope import _native
from phasescope.wire.payloads import SegmentPayloads
from phasescope.wire.ring import (
    LIVE_OFFSET,
    LIVE_SIZE,
    MAX_PAYLOAD_BYTES,
    PAD,
    RECORD,
    STOPPED,
    Live,
    RingError,
    read_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_Batch = TypeVar("_Batch", bound="list[tuple[int, bytes]] | Sequence[bytes]")

_PATIENCE = 1 << 18  # places looked at after damage, in all: each may cost a checksum where a file is made to be slow
_LOOKS = 5  # at a record that never becomes whole; more than a record below the head is given


class RecordReader:
    """Reads the records of a ring in order, from the oldest that is left. It never writes and trusts nothing.

    `read(size, offset)` gives up to `size` bytes of the ring. Raises RingError if they are not a ring's.
    `mend()` of a ring of this process's own has the writer put right what somebody else wrote into the header.
    `missed` counts records that were overwritten before they were read, `damaged` places that hold no true record.
    """

    def __init__(
        self, read: Callable[[int, int], bytes], size_bytes: int, mend: Callable[[], object] | None = None
    ) -> None:
        self._read = read
        self._mend = mend
        self.missed = 0
        self.damaged = 0
        self._position = 0
        self._sequence: int | None = 0  # of the last record before the position; None: not known
        self._stalls = 0
        self._patience = _PATIENCE
        self._order, self.layout, self.constants = read_header(read, size_bytes)
        self._record = struct.Struct(self._order + "IIQ")
        live = self.live()
        truncated = live.state == STOPPED and live.head <= size_bytes - self.layout.data_offset
        if self.layout.size > size_bytes and not truncated:
            raise RingError(f"the file ends after {size_bytes} of {self.layout.size} bytes")

    def live(self) -> Live:
        """Return the live fields, from one moment. Raises RingError if they contradict each other."""
        live = self._live()
        if live is None and self._mend is not None:
            self._mend()
            live = self._live()
        if live is None:
            raise RingError("the header's positions contradict each other")
        return live

    def _live(self) -> Live | None:
        _, capacity, segment = self.layout
        for _ in range(100):
            raw = self._read(LIVE_SIZE, LIVE_OFFSET)
            if len(raw) < LIVE_SIZE:
                break
            live = Live(*struct.unpack(self._order + "5Q", raw))
            # A writer that laps the ring between two of these loads makes them disagree for a moment.
            if live.oldest <= live.head <= live.oldest + capacity and live.oldest % segment == 0:
                return live
        return None

    def seek_end(self) -> None:
        """Skip all that is there and go on with the records that come next."""
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
        """Return how many records were ever written, by the newest one that can be read."""
        self.seek_end()
        if self._sequence is None:  # the newest segments hold nothing that can be read
            self._position = 0
            for _ in self.batches():
                pass
        return self._sequence or 0

    def batches(self) -> Iterator[list[tuple[int, bytes]]]:
        """Yield all that is there when this is called, as `next_batch` gives it, and no more than one batch beyond.

        Neither a writer at full speed nor a file that is changed to lead nowhere makes this endless.
        """
        return self._batches(self.next_batch)

    def payloads(self) -> Iterator[Sequence[bytes]]:
        """Yield the same without the numbers, in less time."""
        return self._batches(self._next_payloads)

    def _batches(self, next_batch: Callable[[], _Batch]) -> Iterator[_Batch]:
        head = self.live().head
        looks = 0
        for _ in range(self.layout.capacity // self.layout.segment + _LOOKS):
            before = self._position
            batch = next_batch()
            looks = looks + 1 if self._position == before else 0
            if batch:
                yield batch
            if self._position >= head or looks == _LOOKS:
                return

    def next_batch(self) -> list[tuple[int, bytes]]:
        """Return the next records, each (sequence number, payload).

        Returns none if there is nothing more for now, or if all that was looked at is damaged or has just been
        overwritten.
        """
        records: list[tuple[int, bytes]] = []
        data, size, room = self._next_data()
        self._position += self._parse(data, size, room, records, is_numbered=True)
        return records

    def _next_payloads(self) -> Sequence[bytes]:
        data, size, room = self._next_data()
        payloads: Any = [] if _native.core is None else SegmentPayloads(data)
        self._position += self._parse(data, size, room, payloads, is_numbered=False)
        return payloads  # type: ignore[no-any-return]

    def _next_data(self) -> tuple[bytes, int, int | None]:
        """Return what there is from the position on in its segment, how much there should be, and how much the segment
        has left from there; None: the writer is in it."""
        live = self.live()
        self._position = start = max(self._position, live.oldest)
        if start >= live.head:
            return b"", 0, None
        segment_end = (start // self.layout.segment + 1) * self.layout.segment
        end = min(live.head, segment_end)
        data = self._read(end - start, self.layout.data_offset + start % self.layout.capacity)
        oldest = self.live().oldest
        if oldest > start:  # the writer came round: what was read may be of two laps
            self._position = oldest
            return b"", 0, None
        return data, end - start, None if end == live.head else segment_end - start

    def _parse(self, data: bytes, size: int, room: int | None, records: Any, *, is_numbered: bool) -> int:
        """Append the records of `data`; return the place after them. The first three are what `_next_data` gives."""
        offset = 0
        while offset + len(PAD) <= size:
            record = self._record_at(data, offset)
            if record is not None:
                self._take(record[0])
                if isinstance(records, SegmentPayloads):
                    records.append(offset + RECORD.size, len(record[1]))
                else:
                    records.append(record if is_numbered else record[1])
                offset += RECORD.size + len(record[1])
                offset = self._following(data, offset, record[0], records, is_numbered=is_numbered)
            elif room is not None:
                closed = data[offset : offset + len(PAD)] == PAD and self._holds_a_record_before(offset)
                offset = room if closed else self._skip_damage(data, offset, size)
            elif self._stalls < _LOOKS - 2:
                # On processors that reorder stores, the head may be seen before the record below it: look again.
                self._stalls += 1
                break
            else:
                offset = self._skip_damage(data, offset, size)
        else:
            offset = max(offset, size)  # too little is left for even a length
        return offset

    def _following(self, data: bytes, offset: int, sequence: int, records: Any, *, is_numbered: bool) -> int:
        """Append the records from here on that each have the next number, as nearly all have; return the end.

        Does the work of `_record_at` and `_take` in one loop: a reader's time is spent here. As the record before was
        at a place that allows its number, so are these.
        """
        is_laid = isinstance(records, SegmentPayloads)
        if is_laid or (is_numbered and _native.core is not None):
            offset, self._sequence = _native.core.following(
                data, offset, self._position, sequence, self._order == ">", records.spans if is_laid else records
            )
            return offset
        unpack, header, position, end = self._record.unpack_from, RECORD.size, self._position, len(data)
        crc32, append, longest = zlib.crc32, records.append, MAX_PAYLOAD_BYTES
        while (start := offset + header) <= end:
            length, checksum, number = unpack(data, offset)
            following = start + length
            if number != sequence + 1 or following > end or length > longest:
                break
            payload = data[start:following]
            if crc32(payload, position + offset + number) != checksum:
                break
            append((number, payload) if is_numbered else payload)
            sequence, offset = number, following
        self._sequence = sequence
        return offset

    def _holds_a_record_before(self, offset: int) -> bool:
        """Return whether a record may lie before this place.

        No writer closes an empty segment, and a file of nothing but
        empty ones would take long to walk through.
        """
        return (self._position + offset) % self.layout.segment > 0

    def _record_at(self, data: bytes, offset: int) -> tuple[int, bytes] | None:
        """Return the record at this place, or None if length, checksum and sequence number do not agree."""
        start = offset + RECORD.size
        if start > len(data):
            return None
        length, checksum, sequence = self._record.unpack_from(data, offset)
        position = self._position + offset
        highest = position // RECORD.size + 1  # no record is shorter than its header
        if length > min(len(data) - start, MAX_PAYLOAD_BYTES) or not (self._sequence or 0) < sequence <= highest:
            return None
        payload = data[start : start + length]
        return (sequence, payload) if zlib.crc32(payload, position + sequence & 0xFFFFFFFF) == checksum else None

    def _take(self, sequence: int) -> None:
        if self._sequence is not None:
            self.missed += sequence - self._sequence - 1
        self._sequence = sequence
        self._stalls = 0

    def _skip_damage(self, data: bytes, offset: int, size: int) -> int:
        """Return the place of the segment's next true record, else its end.

        If patience has run out, that is the end of all data.
        """
        self._stalls = 0
        self.damaged += 1
        last = min(size, len(data)) - RECORD.size
        for candidate in range(offset + 1, min(last, offset + self._patience) + 1):
            self._patience -= 1
            if self._record_at(data, candidate) is not None:
                return candidate
        return size if self._patience > 0 else max(size, self.live().head - self._position)
