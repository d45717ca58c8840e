"""Ring files that are damaged or made to harm: an error or fewer events, never a crash, a hang or a heap of memory."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope import RingError, projected_record_to_dict
from phasescope.readers.ring_reader import RingReader
from phasescope.wire import codec, ring, ring_sweep
from phasescope.wire.record_reader import RecordReader
from support.fakes.rings import CONSTANTS, MemoryRing, payload_of, read_all, reader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 2**20
LIMIT_S = 10
HANG_S = 120
packed = msgspec.msgpack.encode  # also what no event may have
fuzz = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """No case may take more of a processor than this, nor wait forever; most take a millisecond."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def too_late(number: int, _frame: object) -> None:
        raise AssertionError(f"not done after {LIMIT_S if number == signal.SIGPROF else HANG_S} s")

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, LIMIT_S), (signal.ITIMER_REAL, signal.SIGALRM, HANG_S))
    before = [(number, signal.signal(number, too_late)) for _, number, _ in timers]
    for timer, _, limit_s in timers:
        signal.setitimer(timer, limit_s)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for number, handler in before:
            signal.signal(number, handler)


def reader_on(data: bytes) -> RingReader:
    return RingReader(lambda size, offset: data[offset : offset + size], lambda: len(data), None)


def look(reader: RingReader) -> list[dict[str, Any]]:
    """All that a reader can do; the events are such that others can take them."""
    assert reader.state in ("running", "stopped", "dead")
    assert reader.heartbeat_ns >= 0
    assert reader.dropped >= 0
    events = reader.events()
    assert reader.missed >= 0
    assert reader.damaged >= 0
    json.dumps(events, allow_nan=False, ensure_ascii=False).encode()
    assert reader.written >= len(events)
    assert [projected_record_to_dict(record)["event_type"] for record in reader.records()] == [
        event["event_type"] for event in events
    ]
    assert reader.events(last=3) == events[-3:]
    assert reader.latest() == (events[-1] if events else None)
    assert str(reader.summary())
    return events


def outcome(data: bytes) -> list[dict[str, Any]] | None:
    """The events that are read from these bytes, or None where they are refused."""
    with in_time():
        try:
            return look(reader_on(data))
        except RingError:
            return None


def boundary(sequence: int, /, **changes: object) -> tuple[Any, ...]:
    """The fields of an event as a session writes them, some of them changed."""
    enter = sequence % 2 == 1
    fields = {
        "event_type": "phase_enter" if enter else "phase_exit",
        "timestamp": 1_700_000_000_000_000_000 + sequence,
        "device": ("cuda", 0, 5 * MIB, None, 80 * 1024 * MIB, 0b1000000),
        "allocated": sequence * 1000,
        "reserved": sequence * 2000,
        "active": None,
        "inactive": None,
        "change": 1000,
        "context": None,
        "extra": {"sampling_late_ns": 7} if sequence % 5 == 0 else None,
        "sequence": sequence,
        "scope": None if enter else sequence - 1,
        "parent": None,
        "thread": (1, "MainThread"),
        "path": ["epoch", "forward"],
        "attributes": {"n": sequence},
        "duration": None if enter else 12345,
        "status": "ok",
        "error_type": None,
        "allocated_delta": None if enter else 1000,
        "peak_allocated": None,
    }
    return tuple((fields | changes).values())


def whole_ring(count: int, capacity_bytes: int = 64 * 1024) -> MemoryRing:
    made = MemoryRing(capacity_bytes)
    for sequence in range(1, count + 1):
        made.writer.append(packed(boundary(sequence)))
    made.writer.beat(1_700_000_000_000_000_000, 0)
    return made


SMALL, WRAPPED = whole_ring(40).data, whole_ring(2000).data


@pytest.mark.neutral
def test_an_undamaged_ring_is_read_whole() -> None:
    """What the tests below damage is worth damaging."""
    assert len(outcome(SMALL) or ()) == 40
    assert len(outcome(WRAPPED) or ()) > 300


# Damage by chance


def texts(events: list[dict[str, Any]] | None) -> set[str]:
    return {json.dumps(event, sort_keys=True) for event in events or ()}


TRUE_EVENTS = {data: texts(outcome(data)) for data in (SMALL, WRAPPED)}


@fuzz
@given(
    st.sampled_from([SMALL, WRAPPED]),
    st.lists(st.integers(0, 8 * len(SMALL) - 1) | st.integers(0, 8 * 600), max_size=20),
)
def test_flipped_bits_cost_events_but_never_make_one(data: bytes, bits: list[int]) -> None:
    flipped = bytearray(data)
    for bit in bits:
        flipped[bit // 8] ^= 1 << bit % 8
    assert texts(outcome(bytes(flipped))) <= TRUE_EVENTS[data]


def test_every_bit_of_the_header_may_be_flipped() -> None:
    for bit in range(8 * 300):
        flipped = bytearray(SMALL)
        flipped[bit // 8] ^= 1 << bit % 8
        assert texts(outcome(bytes(flipped))) <= TRUE_EVENTS[SMALL]


@pytest.mark.neutral
def test_one_flipped_bit_among_the_records_costs_one_event() -> None:
    random_ = random.Random(1)
    first = ring.plan(CONSTANTS, 64 * 1024).data_offset
    used = struct.unpack_from("=Q", SMALL, 64)[0]
    for _ in range(200):
        flipped = bytearray(SMALL)
        flipped[first + random_.randrange(used)] ^= 1 << random_.randrange(8)
        reader = reader_on(bytes(flipped))
        assert len(reader.events()) == 39
        assert (reader.damaged, reader.missed) in ((1, 1), (1, 0)), "the last one leaves no gap behind"


@fuzz
@given(st.integers(0, len(SMALL)), st.booleans())
def test_a_file_that_was_cut_off_gives_an_error_or_fewer_events(size: int, stopped: bool) -> None:
    data = bytearray(SMALL)
    if stopped:
        struct.pack_into("=Q", data, 64 + 3 * 8, ring.STOPPED)
    assert texts(outcome(bytes(data[:size]))) <= TRUE_EVENTS[SMALL]


@settings(fuzz, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 16), st.sampled_from(["zeros", "copy", "noise"])), max_size=6)
)
def test_pages_that_were_lost_or_mixed_up_cost_events_but_never_make_one(
    changes: list[tuple[int, int, str]],
) -> None:
    data = bytearray(WRAPPED)
    for target, source, change in changes:
        page = {
            "zeros": bytes(4096),
            "copy": bytes(data[source * 4096 : source * 4096 + 4096]),
            "noise": random.Random(source).randbytes(4096),
        }[change]
        data[target * 4096 : target * 4096 + 4096] = page
    assert texts(outcome(bytes(data))) <= TRUE_EVENTS[WRAPPED]


@fuzz
@given(st.binary(max_size=500))
def test_noise_is_no_ring(noise: bytes) -> None:
    assert outcome(noise) is None
    assert outcome(ring.MAGIC + noise) is None


# Headers made to harm: the checksums are right, the values are not

numbers = (
    st.sampled_from([0, 1, 15, 16, 4096, 16384, 65536, 2**31, 2**32 - 1, 2**32, 2**36, 2**62, 2**63, 2**64 - 1])
    | st.integers(0, 2**17)
    | st.integers(0, 2**64 - 1)
)


def with_header(
    data: bytes, *, layout: tuple[int, ...] | None = None, live: tuple[int, ...] | None = None, constants: bytes = b""
) -> bytes:
    changed = bytearray(data)
    if constants:
        changed[128 : 128 + len(constants)] = constants
        struct.pack_into("=II", changed, 40, len(constants), zlib.crc32(constants))
    if layout is not None:
        struct.pack_into("=QQQ", changed, 16, *layout)
    if live is not None:
        struct.pack_into("=5Q", changed, 64, *live)
    return bytes(changed)


@fuzz
@given(
    st.sampled_from([SMALL, WRAPPED]),
    st.none() | st.tuples(numbers, numbers, numbers),
    st.none() | st.tuples(numbers, numbers, numbers, st.integers(0, 3), numbers),
)
def test_no_layout_and_no_live_field_leads_a_reader_astray(
    data: bytes, layout: tuple[int, ...] | None, live: tuple[int, ...] | None
) -> None:
    found = outcome(with_header(data, layout=layout, live=live))
    if layout is None and live is not None and live[0] < 2**40:
        assert texts(found) <= TRUE_EVENTS[data]


@fuzz
@given(
    st.tuples(st.integers(1, 70_000), st.integers(0, 5).map(lambda n: n * 16384), st.integers(1, 2**20)),
)
def test_a_head_and_an_oldest_that_are_both_possible_give_true_events_only(live: tuple[int, int, int]) -> None:
    found = outcome(with_header(WRAPPED, live=(*live, 1, 0)))
    assert texts(found) <= TRUE_EVENTS[WRAPPED]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
CONSTANT_KEYS = [*json.loads(CONSTANTS), "command", "started_ns", "backends"]


@fuzz
@given(
    st.dictionaries(st.sampled_from(CONSTANT_KEYS), json_values, max_size=4), st.sets(st.sampled_from(CONSTANT_KEYS))
)
def test_no_constants_lead_a_reader_astray(changes: dict[str, Any], missing: set[str]) -> None:
    constants = json.loads(CONSTANTS) | changes
    text = json.dumps({key: value for key, value in constants.items() if key not in missing}).encode()
    if len(text) < 3900:
        outcome(with_header(SMALL, constants=text))


@pytest.mark.neutral
@pytest.mark.parametrize(
    "change",
    [
        {"session_id": ""},
        {"session_id": "  "},
        {"session_id": 5},
        {"pid": "1"},
        {"pid": True},
        {"pid": -2},
        {"host": None},
        {"sampling_interval_ms": -1},
        {"rank": 1},
        {"local_rank": 7, "world_size": 7},
        {"world_size": 0},
        {"job_id": " "},
    ],
)
def test_constants_that_no_event_could_have_are_refused_by_name(change: dict[str, Any]) -> None:
    text = json.dumps(json.loads(CONSTANTS) | change).encode()
    with pytest.raises(RingError, match="the session's constants"):
        reader_on(with_header(SMALL, constants=text))


class Moving:
    """A ring whose live fields are others at each look: what a process can do that writes what it likes."""

    def __init__(self, data: bytes, live: Callable[[int], tuple[int, int]]) -> None:
        self.data = data
        self.live = live
        self.looks = 0

    def read(self, size: int, offset: int) -> bytes:
        if offset == 64:
            self.looks += 1
            head, oldest = self.live(self.looks)
            return struct.pack("=5Q", head, oldest, 0, 1, 0)
        return self.data[offset : offset + size]


@pytest.mark.neutral
@pytest.mark.parametrize(
    "live",
    [
        lambda look: (2**63 if look < 4 else look * 16384 + 16, (2**63 if look < 4 else look * 16384)),
        lambda look: (look * 16384, max(0, look - 3) * 16384),
        lambda look: ((look % 3) * 16384, 0),
        lambda look: (16384 * look + 100, 16384 * look),
    ],
    ids=["from far away", "always a segment ahead", "back and forth", "always gone"],
)
def test_a_ring_that_moves_while_it_is_read_does_not_hold_a_reader(live: Callable[[int], tuple[int, int]]) -> None:
    moving = Moving(WRAPPED, live)
    with in_time(), contextlib.suppress(RingError):
        reader = RecordReader(moving.read, len(WRAPPED))
        read_all(reader)
        reader.seek_end()
        reader.last_sequence()
    assert moving.looks < 2000


# Records and payloads made to harm: the checksums are right


def ring_of_payloads(payloads: list[bytes], capacity_bytes: int = 64 * 1024) -> bytes:
    made = MemoryRing(capacity_bytes)
    for payload in payloads:
        made.writer.append(payload)
    return made.data


@fuzz
@given(
    st.lists(
        st.tuples(
            st.none() | numbers.map(lambda n: n % 2**32), st.none() | numbers, st.binary(max_size=200), st.booleans()
        ),
        max_size=30,
    )
)
def test_no_lengths_and_no_sequence_numbers_lead_a_reader_astray(
    records: list[tuple[int | None, int | None, bytes, bool]],
) -> None:
    data = b""
    for place, (length, number, payload, good) in enumerate(records, 1):
        sequence = place if number is None else number
        checksum = zlib.crc32(payload, len(data) + sequence & 0xFFFFFFFF) ^ (0 if good else 1)
        data += struct.pack("=IIQ", len(payload) if length is None else length, checksum, sequence) + payload
    made = bytearray(with_header(SMALL, live=(len(data), 0, 0, 1, 0)))
    first = ring.plan(CONSTANTS, 64 * 1024).data_offset
    made[first : first + len(data)] = data
    with in_time():
        reader = reader_of(bytes(made))
        found = read_all(reader)
    sequences = [sequence for sequence, _ in found]
    assert sequences == sorted(set(sequences))
    assert reader.missed <= len(data) // 16 + 1, "a count that the ring has no room for"
    outcome(bytes(made))


wire_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=10)
    | st.datetimes(timezones=st.just(__import__("datetime").timezone.utc)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(-5, 5), inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)
WIRE = codec.Wire.__struct_fields__


@fuzz
@given(st.lists(wire_values.map(msgspec.msgpack.encode), max_size=5))
def test_no_payload_crashes_a_reader(payloads: list[bytes]) -> None:
    found = outcome(ring_of_payloads([*payloads, packed(boundary(1))]))
    assert found is not None
    assert found[-1]["metadata"]["phase_scope"]["sequence"] == 1, "what comes after it is read"


@fuzz
@given(
    st.integers(1, 60), st.dictionaries(st.sampled_from(WIRE), wire_values, min_size=1, max_size=3), st.integers(0, 30)
)
def test_no_field_of_a_payload_crashes_a_reader(sequence: int, changes: dict[str, Any], length: int) -> None:
    fields = boundary(sequence, **changes)
    outcome(ring_of_payloads([msgspec.msgpack.encode(fields), msgspec.msgpack.encode(fields[:length])]))


@pytest.mark.neutral
@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": ""},
        {"event_type": " \t"},
        {"event_type": 5},
        {"timestamp": -1},
        {"timestamp": 1.5},
        {"allocated": -1},
        {"allocated": True},
        {"allocated": None},
        {"change": None},
        {"context": 5},
        {"device": None},
        {"device": ("", 0, 0, None, None, 0)},
        {"device": ("cpu", 0, -1, None, None, 0)},
        {"device": ("cpu", 0, 0, None, None, 256)},
        {"device": ("cpu", 0, 0)},
        {"extra": {"a": float("nan")}},
        {"extra": {"a": {"b": [float("inf")]}}},
        {"extra": {"a": b"bytes"}},
        {"extra": {"a": {1: 2}}},
        {"extra": {"backend": "cuda"}},
        {"extra": {"phase_scope": {}}},
        {"extra": {"unavailable": 5}},
        {"extra": [1]},
        {"attributes": {"a": float("nan")}},
        {"attributes": {"a": -float("inf")}},
        {"attributes": {"a": [1]}},
        {"attributes": {"a": b"bytes"}},
        {"attributes": {1: 2}},
        {"path": [""]},
        {"path": ["a", 5]},
        {"thread": (1,)},
        {"thread": ("1", "a")},
        {"duration": -1},
        {"status": None},
    ],
)
def test_a_payload_of_wrong_types_is_damage_and_nothing_else_is_lost(changes: dict[str, Any]) -> None:
    good = packed(boundary(1))
    reader = reader_on(ring_of_payloads([good, packed(boundary(2, **changes)), good]))
    assert [event["metadata"]["phase_scope"]["sequence"] for event in look(reader)] == [1, 1]
    reader.events()
    assert reader.damaged == 1


HOSTILE_BYTES = {
    "deep arrays": b"\x91" * ring.MAX_PAYLOAD_BYTES,
    "deep maps": b"\x81\xa1a" * (ring.MAX_PAYLOAD_BYTES // 3),
    "deep metadata": packed(boundary(1, extra={"a": "@"})).replace(b"\xa1@", b"\x91" * 9000 + b"\xc0"),
    "an array of 4 billion": b"\xdd\xff\xff\xff\xff" + b"\xc0" * 100,
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff" + b"\xc0" * 100,
    "a text of 4 GB": packed(boundary(1, context="@")).replace(b"\xa1@", b"\xdb\xff\xff\xff\xff"),
    "a path of 4 billion": packed(boundary(1, path=["@"])).replace(b"\x91\xa1@", b"\xdd\xff\xff\xff\xff"),
    "wrong UTF-8": packed(boundary(1, context="@")).replace(b"@", b"\xff"),
    "half a surrogate": packed(boundary(1, context="@@@")).replace(b"@@@", b"\xed\xa0\x80"),
    "wrong UTF-8 in a key": packed(boundary(1, attributes={"@": 1})).replace(b"@", b"\xff"),
    "something behind it": packed(boundary(1)) + b"\xc0",
    "nothing": b"",
    "no code": b"\xc1",
}


@pytest.mark.neutral
@pytest.mark.parametrize("name", HOSTILE_BYTES)
def test_hostile_bytes_are_damage_and_nothing_else_is_lost(name: str) -> None:
    good = packed(boundary(2))
    reader = reader_on(ring_of_payloads([good, HOSTILE_BYTES[name], good]))
    with in_time():
        assert len(look(reader)) == 2
        reader.events()
    assert reader.damaged == 1


# Time and memory


def peak_bytes(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def stream(data: bytes) -> None:
    """Read it event by event, keeping none."""
    with contextlib.suppress(RingError):
        for _ in reader_on(data).iter_events():
            pass


def check_time_and_memory(data: bytes, most_bytes: int) -> None:
    """One after the other: counting memory takes a multiple of the time."""
    with in_time():
        stream(data)
    assert peak_bytes(lambda: stream(data)) < most_bytes


@pytest.mark.parametrize(
    "payload",
    [
        packed(boundary(1, extra={"a": [[]] * 14_000})),
        packed(boundary(1, extra={"a": [{}] * 14_000})),
        packed(boundary(1, path=["a"] * 7_000)),
        packed(boundary(1, context="\U0001f600" + "a" * 14_000)),
        packed(boundary(1)),
        b"",
    ],
    ids=["lists", "maps", "path", "text", "event", "nothing"],
)
def test_reading_event_by_event_takes_no_more_memory_than_the_file(payload: bytes) -> None:
    data = ring_of_payloads([payload] * (MIB // 2 // (len(payload) + 16)), 2 * MIB)
    check_time_and_memory(data, len(data))


@pytest.mark.parametrize(
    "text",
    [
        "[" + "[]," * 349_000 + "[]]",
        '{"a":' * 200_000,
        '{"a":[' + "0," * 500_000 + "0]}",
        '{"a":"' + "\\u00e9" * 170_000 + '"}',
    ],
    ids=["lists", "depth", "numbers", "escapes"],
)
def test_constants_take_bounded_memory(text: str) -> None:
    data = MemoryRing(constants=text.encode()).data
    check_time_and_memory(data, 24 * MIB)


HEADER_OF_ALL = with_header(SMALL, layout=(4096, 2**36, 2**14), live=(2**36, 0, 0, 1, 0))[:4096]


@pytest.mark.parametrize("filling", [b"\0", b"\xff", struct.pack("=I", 15_000), b"\x98\x3a\0\0\0\0\0"])
def test_a_huge_file_that_is_made_to_be_slow_is_given_up(filling: bytes) -> None:
    """64 GiB that cost nothing to make, every place in it worth a look."""
    block = (filling * (2**18 // len(filling) + 1))[: 2**18]

    def read(size: int, offset: int) -> bytes:
        return HEADER_OF_ALL[offset : offset + size] if offset < 4096 else block[:size]

    reader = RingReader(read, lambda: 4096 + 2**36, None)
    with in_time():
        assert reader.events() == []
        assert reader.written == 0
        assert reader.latest() is None
    assert peak_bytes(lambda: list(reader.iter_events())) < 2 * MIB


def test_places_that_are_each_worth_a_checksum_do_not_add_up() -> None:
    """Positions near 2^63 allow any sequence number, so that nothing but its checksum speaks against a record."""
    filling = (b"\x98\x3a\0\0\0\0\0\0" * 2**21)[: 16 * MIB]
    layout = (4096, 16 * MIB, 256 * 1024)
    head = 2**63 // (256 * 1024) * (256 * 1024)
    data = with_header(SMALL, layout=layout, live=(head, head - 16 * MIB, 0, 1, 0))[:4096] + filling
    with in_time():
        assert outcome(data) == []


@pytest.mark.neutral
def test_much_damage_here_and_there_does_not_end_the_reading() -> None:
    """Patience is for places looked at in vain: a thousand damaged records in a ring cost those records only."""
    made = whole_ring(10_000, 2 * MIB)
    records = read_all(made.reader())
    data = bytearray(made.data)
    at = made.layout.data_offset
    for index, (_, payload) in enumerate(records[:5000]):
        if index % 5 == 4:
            data[at + 20] ^= 0x55
        at += 16 + len(payload)
        if data[at : at + 4] == b"\xff\xff\xff\xff":
            at += -(at - made.layout.data_offset) % made.layout.segment
    reader = reader_of(bytes(data))
    assert len(read_all(reader)) == len(records) - 1000
    assert (reader.missed, reader.damaged) == (1000, 1000)


# What is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_plain_file_is_refused_at_once(rings: Path, tmp_path: Path) -> None:
    os.mkfifo(rings / "node-1-1.ring")
    (rings / "node-2-2.ring").mkdir()
    (rings / "node-3-3.ring").symlink_to("/dev/zero")
    (rings / "node-4-4.ring").symlink_to(tmp_path)
    (rings / "node-5-5.ring").write_bytes(b"")
    (rings / "node-6-6.ring").write_bytes(SMALL[:100])
    with in_time():
        for path in rings.iterdir():
            with pytest.raises((OSError, RingError), match=r"node|ring"):
                phasescope.attach(path)
        for device in ("/dev/zero", "/dev/null", "/dev/urandom"):
            with pytest.raises(OSError, match="not a regular file"):
                phasescope.attach(device)
        with pytest.raises(phasescope.SessionNotFoundError):
            phasescope.attach(directory=rings)
        ring_sweep.sweep(rings)
        assert ring_sweep.clean(rings) == []
    assert len(list(rings.iterdir())) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs files that others can read")
def test_a_real_file_that_is_damaged_while_it_is_read_gives_an_error_or_fewer_events(rings: Path) -> None:
    path = rings / "node-1-1.ring"
    random_ = random.Random(2)
    for _ in range(30):
        path.write_bytes(WRAPPED)
        with in_time(), phasescope.attach(path) as reader, contextlib.suppress(RingError):
            assert reader.state == "dead"
            found = []
            for event in reader.follow(from_start=True):
                found.append(event)
                if len(found) % 50 == 0:
                    with path.open("r+b") as file:
                        file.seek(random_.randrange(len(WRAPPED)))
                        file.write(random_.randbytes(200))
                if len(found) == 250 and random_.random() < 0.5:
                    os.truncate(path, random_.randrange(len(WRAPPED)))
            assert texts(found) <= TRUE_EVENTS[WRAPPED]


@pytest.mark.neutral
def test_the_records_of_these_tests_tell_their_number() -> None:
    assert len({payload_of(sequence) for sequence in range(1, 5000)} - {b""}) > 4900
