"""The ring alone, in memory: what is written is read, whole and in order, whatever falls between two looks."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.wire import ring
from phasescope.wire.record_reader import RecordReader
from phasescope.wire.ring import (
    MAX_PAYLOAD_BYTES,
    MIN_CAPACITY_BYTES,
    RingError,
)
from support.fakes.rings import CONSTANTS, MemoryRing, oldest_kept, payload_of, read_all, reader_of

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD, OLDEST = 64, 72  # where the live fields lie
KIB = 1024


def numbers(records: list[tuple[int, bytes]]) -> list[int]:
    return [sequence for sequence, _ in records]


def check(records: list[tuple[int, bytes]]) -> None:
    """Every one is what was written under its number, and they are in order."""
    assert all(payload == payload_of(sequence) for sequence, payload in records)
    assert numbers(records) == sorted(set(numbers(records)))


# What is written is read


def test_what_is_written_is_read_at_once_and_in_order() -> None:
    made = MemoryRing()
    reader = made.reader()
    assert reader.next_batch() == []
    for number, payload in enumerate([b"first", b"", b"\xff\xff\xff\xff", b"\x00" * 100, b"last"], 1):
        made.writer.append(payload)
        assert reader.next_batch() == [(number, payload)]
    assert (reader.missed, reader.damaged) == (0, 0)


@pytest.mark.parametrize("length", [0, 1, MAX_PAYLOAD_BYTES - 1, MAX_PAYLOAD_BYTES])
def test_a_payload_of_every_length_that_is_allowed_is_kept(length: int) -> None:
    made = MemoryRing()
    for _ in range(20):
        made.writer.append(b"a" * length)
    records = read_all(made.reader())
    assert records
    assert {payload for _, payload in records} == {b"a" * length}
    assert records[-1][0] == 20


def test_a_payload_that_is_too_long_is_refused_and_changes_nothing() -> None:
    made = MemoryRing()
    made.write(5)
    before = made.data
    with pytest.raises(ValueError, match="15361 bytes"):
        made.writer.append(b"a" * (MAX_PAYLOAD_BYTES + 1))
    assert made.data == before
    made.write(1)
    assert numbers(read_all(made.reader())) == [1, 2, 3, 4, 5, 6]


@given(
    st.lists(st.integers(0, 3000) | st.integers(0, MAX_PAYLOAD_BYTES), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_exactly_what_the_format_says_is_kept(lengths: list[int], repeats: int) -> None:
    made = MemoryRing()
    lengths = lengths * repeats
    for length in lengths:
        made.writer.append(b"x" * length)
    reader = made.reader()
    kept = read_all(reader)
    oldest = oldest_kept(lengths, made.layout)
    assert numbers(kept) == list(range(oldest, len(lengths) + 1))
    assert [len(payload) for _, payload in kept] == lengths[oldest - 1 :]
    assert (reader.missed, reader.damaged) == (oldest - 1, 0)


def test_a_reader_that_falls_behind_counts_what_it_missed() -> None:
    made = MemoryRing()
    reader = made.reader()
    seen = []
    for count in (3, 50, 2000, 1, 700, 5000):
        made.write(count)
        records = read_all(reader)
        check(records)
        seen += numbers(records)
        assert len(seen) + reader.missed == made.writer.sequence
        assert seen[-1] == made.writer.sequence
    assert reader.missed > 0
    assert reader.damaged == 0


def test_sequence_numbers_go_on_beyond_32_bits() -> None:
    """The checksum starts from 32 bits of position and number, the record holds all 64."""
    made = MemoryRing()
    made.writer.sequence = 2**32 - 3
    words = memoryview(made.buffer).cast("Q")
    # A ring of such an age has a position to match: no record is shorter than its header.
    age = 2**32 * 16 // made.layout.capacity * made.layout.capacity + made.layout.capacity
    words[HEAD // 8] = words[OLDEST // 8] = age
    made.writer._base += age
    made.write(6)
    reader = made.reader()
    reader.seek_recent()
    records = read_all(reader)
    words.release()
    check(records)
    assert numbers(records) == list(range(2**32 - 2, 2**32 + 4))


@pytest.mark.parametrize("call", ["crc32", "pack"])
@pytest.mark.parametrize("before", [10, 73, 300])
def test_ctrl_c_in_the_middle_of_a_write_leaves_the_ring_as_it_was(call: str, before: int) -> None:
    def ctrl_c(*_: object) -> int:
        raise KeyboardInterrupt

    made = MemoryRing()
    made.write(before)
    expected = numbers(read_all(made.reader()))
    longest = b"x" * MAX_PAYLOAD_BYTES  # so that a new segment is begun as well
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            made.writer.append(longest, **{call: ctrl_c})  # type: ignore[arg-type]
    kept = numbers(read_all(made.reader()))
    assert kept == expected[-len(kept) :], "nothing new, and nothing but the oldest gone"
    made.write(500)
    records = read_all(made.reader())
    check(records)
    assert records[-1][0] == before + 500


# Where to begin


def test_from_the_end_only_what_comes_next_is_read_and_gaps_are_counted_from_there() -> None:
    made = MemoryRing()
    made.write(5000)
    reader = made.reader()
    reader.seek_end()
    missed = reader.missed
    assert reader.next_batch() == []
    made.write(3)
    assert numbers(read_all(reader)) == [5001, 5002, 5003]
    assert reader.missed == missed == 0
    reader.seek_end()
    made.write(3000)
    records = read_all(reader)
    assert reader.missed == records[0][0] - 5004 > 0


@pytest.mark.parametrize("count", [0, 1, 100, 1000, 5000])
def test_the_last_sequence_is_known_without_reading_all(count: int) -> None:
    made = MemoryRing(2**20)
    made.write(count)
    asked: list[int] = []

    def read(size: int, offset: int) -> bytes:
        asked.append(size)
        return made.read(size, offset)

    assert RecordReader(read, made.layout.size).last_sequence() == count
    assert sum(asked) < 2 * made.layout.segment + 4 * KIB


def test_recent_records_begin_at_most_two_segments_back() -> None:
    made = MemoryRing()
    made.write(5000)
    reader = made.reader()
    reader.seek_recent()
    records = read_all(reader)
    check(records)
    assert records[-1][0] == 5000
    size = sum(16 + len(payload) for _, payload in records)
    assert made.layout.segment - 16 - MAX_PAYLOAD_BYTES <= size <= 2 * made.layout.segment
    assert reader.missed == 0, "what was left out on purpose is not missed"


def test_where_the_newest_segments_are_damaged_the_last_sequence_comes_from_the_older_ones() -> None:
    made = MemoryRing()
    made.write(150)
    segment = made.layout.segment
    head = made.reader().live().head
    assert head > 3 * segment, "the test needs a ring that is filled to its fourth segment"
    start = made.layout.data_offset + (head // segment - 1) * segment
    made.buffer[start : made.layout.data_offset + head] = bytes(made.layout.data_offset + head - start)
    whole = numbers(read_all(made.reader()))
    assert made.reader().last_sequence() == whole[-1] < 150


# What a reader may meet between two looks


class Interleaved:
    """Reads a ring into which something is written before, in the middle of, and after each read.

    `schedule` says how many records, and where the read is cut by them: a read copies a file in ascending order,
    in pieces of at least 8 bytes.
    """

    def __init__(self, made: MemoryRing, schedule: list[tuple[int, int]]) -> None:
        self.made = made
        self.schedule = schedule
        self.armed = False

    def read(self, size: int, offset: int) -> bytes:
        if not self.armed or not self.schedule:
            return self.made.read(size, offset)
        count, cut = self.schedule.pop()
        cut = cut % (size + 1) // 8 * 8
        first = self.made.read(cut, offset)
        self.made.write(count)
        return first + self.made.read(size - cut, offset + cut)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3) | st.integers(0, 400), st.integers(0, 2**20)), max_size=60))
def test_no_interleaving_of_reads_and_writes_gives_a_false_record_or_a_wrong_count(
    schedule: list[tuple[int, int]],
) -> None:
    made = MemoryRing()
    made.write(700)
    between = Interleaved(made, schedule)
    reader = RecordReader(between.read, made.layout.size)
    between.armed = True
    records = []
    while schedule:
        records += reader.next_batch()
    records += read_all(reader)
    check(records)
    assert len(records) + reader.missed == made.writer.sequence
    assert reader.damaged == 0


def test_a_record_that_is_seen_later_than_the_head_is_waited_for() -> None:
    """Processors that reorder stores may show the head before the record below it."""
    made = MemoryRing()
    made.write(10)
    reader = made.reader()
    assert len(read_all(reader)) == 10
    before = made.data
    made.write(1)
    after = made.data
    hidden = made.layout.data_offset + made.reader().live().head - 16 - len(payload_of(11))
    made.buffer[hidden:] = before[hidden:]
    assert reader.next_batch() == []
    assert reader.next_batch() == []
    assert reader.damaged == 0
    made.buffer[hidden:] = after[hidden:]
    assert reader.next_batch() == [(11, payload_of(11))]
    assert (reader.missed, reader.damaged) == (0, 0)


def test_a_head_that_is_seen_before_a_new_lap_does_not_end_the_segment() -> None:
    """Below the head there is never a mark that says that the segment holds no more: it is of the lap before."""
    made = MemoryRing()
    made.write(10)
    reader = made.reader()
    assert len(read_all(reader)) == 10
    at = made.layout.data_offset + made.reader().live().head
    made.write(1)
    whole = made.data
    made.buffer[at : at + 4] = b"\xff\xff\xff\xff"
    assert reader.next_batch() == []
    made.buffer[at : at + 4] = whole[at : at + 4]
    assert numbers(read_all(reader)) == [11]
    assert reader.damaged == 0


@pytest.mark.parametrize("part", [0, 1, 15, 16, 40])
def test_a_record_below_which_the_head_was_not_moved_is_not_there(part: int) -> None:
    """A kill in the middle of a write leaves it out whole, and what was there before is read."""
    made = MemoryRing()
    made.write(100)
    at = made.layout.data_offset + made.reader().live().head
    position = at - made.layout.data_offset
    record = struct.pack("=IIQ", 24, zlib.crc32(b"y" * 24, position + 101), 101) + b"y" * 24
    made.buffer[at : at + part] = record[:part]
    assert numbers(read_all(made.reader())) == list(range(1, 101))


def test_a_record_of_the_lap_before_is_not_taken_for_the_newest() -> None:
    """Processors that reorder stores may show the head above a whole record of the lap before."""
    made = MemoryRing()
    length = made.layout.segment // 32 - 16  # so that the records of all laps lie at the same places
    lap = made.layout.capacity // (length + 16)
    for _ in range(2 * lap + 5):
        made.writer.append(b"x" * length)
    stale = made.data
    made.writer.append(b"y" * length)
    at = made.layout.data_offset + 5 * (length + 16)
    made.buffer[at : at + length + 16] = stale[at : at + length + 16]
    assert made.buffer[at + 8] != 0, "there is an old record in its place"
    reader = made.reader()
    reader.seek_recent()
    assert numbers(read_all(reader))[-1] == 2 * lap + 5
    assert reader.damaged == 1


@pytest.mark.parametrize("number", [0, 1, 2, 2**63])
def test_a_number_that_does_not_rise_or_is_out_of_reach_is_damage(number: int) -> None:
    """Even where its checksum is right."""
    made = MemoryRing()
    made.write(2)
    payload, at = b"false" * 5, made.writer.used_bytes
    made.writer.append(payload)
    checksum = zlib.crc32(payload, (at - made.layout.data_offset + number) & 0xFFFFFFFF)
    made.buffer[at : at + 16] = struct.pack("=IIQ", len(payload), checksum, number)
    made.writer.sequence = 2
    made.write(40)
    reader = made.reader()
    assert numbers(read_all(reader)) == list(range(1, 43))
    assert (reader.missed, reader.damaged) == (0, 1)


def test_what_never_becomes_whole_is_damage_and_ends() -> None:
    made = MemoryRing()
    made.write(10)
    words = memoryview(made.buffer).cast("Q")
    words[HEAD // 8] += 100
    words.release()
    reader = made.reader()
    assert numbers(read_all(reader)) == list(range(1, 11))
    assert reader.damaged == 1
    assert read_all(reader) == []


def test_all_that_is_there_is_read_once_though_more_is_written_all_the_while() -> None:
    """`batches` ends where the ring ended when it began, give or take one batch."""
    made = MemoryRing()
    made.write(100)
    reader = made.reader()
    for batches, _ in enumerate(reader.batches()):
        made.write(200)
        assert batches < 10


def test_a_segment_that_is_closed_before_it_holds_anything_is_damage() -> None:
    made = MemoryRing()
    made.write(300)
    reader = made.reader()
    start = made.layout.data_offset + (reader.live().oldest + made.layout.segment) % made.layout.capacity
    made.buffer[start : start + 4] = b"\xff\xff\xff\xff"
    whole = numbers(read_all(reader))
    assert reader.damaged == 1
    assert len(whole) + reader.missed == 300
    assert whole[-1] - whole[0] == len(whole), "one record is gone, what stands behind it is read"


# The header


def test_the_live_fields_say_what_the_writer_said() -> None:
    made = MemoryRing()
    reader = made.reader()
    assert reader.live() == (0, 0, 0, ring.RUNNING, 0)
    made.writer.beat(1_700_000_000_000_000_000, 7)
    made.writer.append(b"12345678")
    assert reader.live() == (24, 0, 1_700_000_000_000_000_000, ring.RUNNING, 7)
    made.writer.stop()
    assert reader.live().state == ring.STOPPED
    assert ring.peek(made.data[:200]) == reader.live()


def test_a_writer_that_let_go_writes_nothing_more() -> None:
    made = MemoryRing()
    made.write(3)
    before = made.data
    made.writer.release()
    with pytest.raises(ValueError, match="released"):
        made.writer.append(b"too late")
    reader = made.reader()
    assert numbers(read_all(reader)) == [1, 2, 3]
    assert made.data[: made.layout.data_offset] == before[: made.layout.data_offset]
    assert made.writer.sequence == 3


def test_how_much_is_in_use_is_what_a_stopped_ring_needs() -> None:
    made = MemoryRing()
    made.write(100)
    made.writer.stop()
    cut = made.data[: made.writer.used_bytes]
    assert len(cut) == made.layout.data_offset + made.reader().live().head
    assert numbers(read_all(reader_of(cut))) == list(range(1, 101))
    made.write(5000)
    assert made.writer.used_bytes == made.layout.size


def test_the_constants_are_given_back() -> None:
    assert MemoryRing().reader().constants == json.loads(CONSTANTS)
    large = json.dumps({"text": "ä" * 100_000}).encode()
    made = MemoryRing(constants=large)
    made.write(10)
    assert made.reader().constants == {"text": "ä" * 100_000}
    assert numbers(read_all(made.reader())) == list(range(1, 11))


@given(st.integers(MIN_CAPACITY_BYTES, ring.MAX_CAPACITY_BYTES), st.integers(0, 100_000))
def test_a_ring_never_keeps_more_than_it_was_told(capacity_bytes: int, constants: int) -> None:
    layout = ring.plan(b" " * constants, capacity_bytes)
    assert capacity_bytes - layout.segment < layout.capacity <= capacity_bytes
    assert layout.capacity % layout.segment == 0
    assert layout.capacity // layout.segment >= 4
    assert 16 * KIB <= layout.segment <= 256 * KIB
    assert layout.data_offset % 4096 == 0
    assert 128 + constants <= layout.data_offset < 128 + constants + 4096


@pytest.mark.parametrize("capacity_bytes", [0, -1, MIN_CAPACITY_BYTES - 1, ring.MAX_CAPACITY_BYTES + 1])
def test_a_capacity_out_of_bounds_is_refused_by_name(capacity_bytes: int) -> None:
    with pytest.raises(ValueError, match="capacity_bytes must be from 65536 to 68719476736"):
        ring.plan(b"{}", capacity_bytes)


def test_constants_beyond_all_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="constants take 1048577 bytes"):
        ring.plan(b" " * (2**20 + 1), MIN_CAPACITY_BYTES)


# The format, written a second time from its documentation


def made_by_hand(order: str, payloads: list[bytes], version: int = 1) -> bytes:
    constants = b'{"host": "elsewhere"}'
    fixed = struct.pack(
        order + "8sIIQQQII",
        *(b"phscope\x00", 0x01020304, version, 4096, 65536, 16384, len(constants), zlib.crc32(constants)),
    )
    records = b""
    for sequence, payload in enumerate(payloads, 1):
        checksum = zlib.crc32(payload, len(records) + sequence)
        records += struct.pack(order + "IIQ", len(payload), checksum, sequence) + payload
    live = struct.pack(order + "5Q", len(records), 0, 12345, 1, 2)
    return (fixed.ljust(64, b"\0") + live.ljust(64, b"\0") + constants).ljust(4096, b"\0") + records.ljust(65536, b"\0")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_file_made_by_the_documentation_is_read_in_either_byte_order(order: str) -> None:
    data = made_by_hand(order, [b"one", b"", b"three"])
    reader = reader_of(data)
    assert reader.constants == {"host": "elsewhere"}
    assert reader.live() == (56, 0, 12345, 1, 2)
    assert read_all(reader) == [(1, b"one"), (2, b""), (3, b"three")]
    assert ring.peek(data) == reader.live()


def test_the_writer_makes_the_file_of_the_documentation() -> None:
    made = MemoryRing(constants=b'{"host": "elsewhere"}')
    for payload in (b"one", b"", b"three"):
        made.writer.append(payload)
    made.writer.beat(12345, 2)
    assert made.data == made_by_hand("=", [b"one", b"", b"three"])


def test_another_version_is_refused_by_its_number() -> None:
    with pytest.raises(RingError, match="format version 2; this phasescope reads version 1"):
        reader_of(made_by_hand("=", [], version=2))


def changed(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: b"", "not a phasescope ring"),
        (lambda data: data[:40], "not a phasescope ring"),
        (lambda data: changed(data, 0, b"PHSCOPE"), "not a phasescope ring"),
        (lambda data: changed(data, 8, b"\0\0\0\0"), "byte-order mark"),
        (lambda data: changed(data, 16, struct.pack("=Q", 2**63)), "sizes contradict"),
        (lambda data: changed(data, 24, struct.pack("=Q", 2**63)), "sizes contradict"),
        (lambda data: changed(data, 32, struct.pack("=Q", 0)), "sizes contradict"),
        (lambda data: changed(data, 40, struct.pack("=I", 2**31)), "sizes contradict"),
        (lambda data: changed(data, 128, b"X"), "constants are damaged"),
        (lambda data: changed(data, HEAD, struct.pack("=QQ", 0, 16384)), "positions contradict"),
        (lambda data: changed(data, HEAD, struct.pack("=QQ", 2**40, 0)), "positions contradict"),
        (lambda data: changed(data, HEAD, struct.pack("=QQ", 100, 50)), "positions contradict"),
        (lambda data: data[:-1], "ends after 69631 of 69632 bytes"),
        (lambda data: data[:100], "ends after 100 bytes, within its header"),
        (lambda data: data[:4095], "ends after 4095 bytes, within its header"),
    ],
)
def test_a_damaged_header_is_an_error_that_says_what_is_wrong(damage: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(RingError, match=says):
        reader_of(damage(made_by_hand("=", [b"one"])))


@pytest.mark.parametrize("constants", [b"", b"[]", b"nothing", b'{"a": NaN}', b"\xff", b"[" * 100_000, b"7" * 10_000])
def test_constants_that_are_no_json_object_are_an_error(constants: bytes) -> None:
    with pytest.raises(RingError, match="constants"):
        MemoryRing(constants=constants).reader()
