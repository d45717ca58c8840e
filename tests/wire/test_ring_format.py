"""docs/ring-format.md says what the code does.

Its tables are checked against the code, and a second reader, that was written from the document and takes its numbers
from there, reads what real sessions in other processes write.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import phasescope
from phasescope.capture import session_header
from phasescope.wire import (
    codec,
    encoding,
    ring,
    ring_files,
    ring_sweep,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "ring-format.md"
TEXT = DOCUMENT.read_text("utf-8")
needs_files = pytest.mark.skipif(sys.platform == "win32", reason="there the ring is in memory")


def tables(title: str) -> list[list[list[str]]]:
    """The tables of a section, each its rows without the heading, each row its cells without signs of code."""
    section = re.split(r"^#{2,3} ", TEXT, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(title + "\n")]
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|") and not inside:
            found.append([])
        inside = line.startswith("|")
        if inside:
            found[-1].append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return [rows[2:] for rows in found]


FIXED, BOUNDS = tables("The fixed part")
(LIVE,) = tables("The live fields")
(RECORD,) = tables("A record")
(CONSTANTS,) = tables("The constants")
PAYLOAD, DEVICE, BITS = tables("A payload")
BOUND = {name: int(value) for name, value in BOUNDS}
FORMATS = {"8": "Q", "4": "I"}


# The second reader


class Secondhand:
    """Reads a ring as the document says, all of it that is not about damage."""

    def __init__(self, path: str) -> None:
        self.data = Path(path).read_bytes()
        self.order = "<"
        if self.numbers(FIXED)["byte_order"] != 0x01020304:
            self.order = ">"
        self.fixed = self.numbers(FIXED)
        self.live = self.numbers(LIVE)
        assert self.data[:8] == b"phscope\0"
        assert self.fixed["byte_order"] == 0x01020304
        assert self.fixed["version"] == 1
        text = self.data[128 : 128 + self.fixed["constants_length"]]
        assert zlib.crc32(text) == self.fixed["constants_crc"]
        assert not any(self.data[128 + len(text) : self.fixed["data_offset"]])
        self.constants = json.loads(text)

    def numbers(self, rows: list[list[str]], at: int = 0) -> dict[str, int]:
        """The numbers of a table of offset, bytes and field."""
        found = {}
        for offset, size, field, *_ in rows:
            if size in FORMATS and field != "magic":
                (found[field],) = struct.unpack_from(self.order + FORMATS[size], self.data, at + int(offset))
        return found

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Sequence number and payload of each record, the oldest first."""
        capacity, segment = self.fixed["capacity"], self.fixed["segment"]
        position, before = self.live["oldest"], 0
        while position < self.live["head"]:
            at = self.fixed["data_offset"] + position % capacity
            left = segment - position % segment
            if left < 4 or self.data[at : at + 4] == b"\xff\xff\xff\xff":
                assert left < segment, "a segment is closed only once it holds something"
                position += left
                continue
            record = self.numbers(RECORD, at)
            payload = self.data[at + 16 : at + 16 + record["length"]]
            assert record["crc"] == zlib.crc32(payload, (position + record["sequence"]) % 2**32)
            assert before < record["sequence"] <= position / 16 + 1
            assert 16 + len(payload) <= left
            yield record["sequence"], payload
            position, before = position + 16 + len(payload), record["sequence"]
        assert position == self.live["head"]

    def events(self) -> list[dict[str, Any]]:
        """What the payloads say, by the document's names; the device's and thread's by names as well."""
        return [named(msgspec.msgpack.decode(payload)) for _, payload in self.records()]


def named(values: list[Any]) -> dict[str, Any]:
    fields = {}
    for place, (number, field, _, absent) in enumerate(PAYLOAD):
        assert int(number) == place
        fields[field] = values[place] if place < len(values) else ABSENT[absent]
    return {**fields, "device": dict(zip((row[1] for row in DEVICE), fields["device"], strict=True))}


ABSENT: dict[str, Any] = {"nil": None, '"ok"': "ok", "empty": [], '0, ""': [0, ""]}


def told(event: dict[str, Any]) -> dict[str, Any]:
    """An event of the package's own reader, in the document's names."""
    metadata = dict(event["metadata"])
    scope = metadata.pop("phase_scope", {})
    hidden = metadata.pop("unavailable", [])
    exit_only = ("duration_ns", "status", "error_type", "allocated_delta_bytes", "peak_allocated_bytes")
    return {
        "event_type": event["event_type"],
        "timestamp": event["timestamp_ns"],
        "device": {
            "backend": metadata.pop("backend"),
            "device_id": event["device_id"],
            "used": event["device_used_bytes"],
            "free": event["device_free_bytes"],
            "total": event["device_total_bytes"],
            "unavailable": sum(1 << int(bit) for bit, counter in BITS if counter in hidden),
        },
        "allocated": event["allocator_allocated_bytes"],
        "reserved": event["allocator_reserved_bytes"],
        "active": event["allocator_active_bytes"],
        "inactive": event["allocator_inactive_bytes"],
        "change": event["allocator_change_bytes"],
        "context": event["context"],
        "extra": metadata or None,
        "sequence": scope.get("sequence"),
        "scope": None if scope.get("action") != "exit" else int(scope["scope_id"].split(":")[1]),
        "parent": int(parent.split(":")[1]) if (parent := scope.get("parent_scope_id")) else None,
        "thread": [scope.get("thread_id", 0), scope.get("thread_name", "")],
        "path": scope.get("path", []),
        "attributes": scope.get("attributes"),
        **dict(zip([row[1] for row in PAYLOAD[16:]], map(scope.get, exit_only), strict=True)),
        "status": scope.get("status", "ok"),
    }


TRAINING = """
    import sys
    import phasescope
    from phasescope import phase

    session = phasescope.start(capacity_bytes=70_000, interval_ms=60_000, job_id="a job", rank=1, world_size=2)
    print(session.path, flush=True)
    for line in sys.stdin:
        if line == "stop\\n":
            phasescope.stop()
        else:
            for n in range(int(line)):
                with phase("epoch", n=n, name="ä" * (n % 50), ok=True, share=0.5, nothing=None):
                    try:
                        with phase("step"):
                            if n % 3 == 0:
                                raise KeyError(n)
                    except KeyError:
                        pass
        print(session.written, flush=True)
"""


class Training:
    """A process with a session, that does as many phases as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.path = process.stdout.readline().strip()

    def do(self, what: object) -> int:
        """How many events it has written after it has done this."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@pytest.fixture
def training() -> Iterator[Training]:
    with subprocess.Popen(
        [sys.executable, "-c", inspect.cleandoc(TRAINING)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Training(process)
        process.kill()


def check(path: str, written: int) -> list[dict[str, Any]]:
    """Both readers read the same, and nothing is missing behind the first. The sampler may write meanwhile."""
    second = Secondhand(path)
    events = second.events()
    with phasescope.attach(path) as reader:
        assert second.constants == reader.constants
        assert events == [told(event) for event in reader.events()]
        assert reader.damaged == 0
        numbers = [sequence for sequence, _ in second.records()]
        assert numbers == list(range(reader.missed + 1, reader.written + 1))
    assert numbers[-1] >= written
    return [event for event in events if event["event_type"] != "sample"]


@contextlib.contextmanager
def held_still(process: subprocess.Popen[str]) -> Iterator[None]:
    """For as long as two readers look, one after the other."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    yield
    process.send_signal(signal.SIGCONT)


@needs_files
def test_a_reader_made_from_the_document_reads_a_session_while_it_runs(training: Training) -> None:
    written = training.do(4)
    with held_still(training.process):
        events = check(training.path, written)
    types = [event["event_type"] for event in events]
    assert types == ["start", *["phase_enter", "phase_enter", "phase_exit", "phase_exit"] * 4]
    assert Secondhand(training.path).live["state"] == 1
    assert events[1]["attributes"] == {"n": 0, "name": "", "ok": True, "share": 0.5, "nothing": None}
    assert events[3]["error_type"] == "KeyError"
    assert events[3]["scope"] == events[2]["sequence"] == 2
    assert events[3]["parent"] == events[1]["sequence"] == 1
    written = training.do(7)
    with held_still(training.process):
        assert len(check(training.path, written)) == 1 + 4 * 11


@needs_files
def test_it_reads_one_that_came_round_and_was_killed(training: Training) -> None:
    written = training.do(1000)
    training.process.kill()
    training.process.wait()
    second = Secondhand(training.path)
    assert second.live["head"] > 3 * second.fixed["capacity"]
    assert second.live["oldest"] % second.fixed["segment"] == 0
    assert second.live["state"] == 1
    assert len(second.data) == second.fixed["data_offset"] + second.fixed["capacity"]
    check(training.path, written)


@needs_files
def test_it_reads_one_that_stopped_and_was_cut_behind_its_head(training: Training) -> None:
    training.do(10)
    written = training.do("stop")
    second = Secondhand(training.path)
    assert second.live["state"] == 2
    assert second.live["heartbeat_ns"] > second.constants["started_ns"]
    assert len(second.data) == second.fixed["data_offset"] + second.live["head"]
    assert check(training.path, written)[-1]["event_type"] == "stop"


@needs_files
def test_the_constants_of_a_session_are_those_of_the_document(training: Training) -> None:
    constants = Secondhand(training.path).constants
    sometimes = ("where the system tells", "of a child of `multiprocessing`")
    always = {key for key, _, meaning in CONSTANTS if not meaning.startswith(sometimes)}
    assert always <= set(constants) <= {key for key, *_ in CONSTANTS}
    assert constants["pid"] == training.process.pid
    assert (constants["job_id"], constants["rank"], constants["world_size"]) == ("a job", 1, 2)
    assert constants["capacity_bytes"] == 70_000


# The tables


def test_offsets_and_sizes_are_those_of_the_code() -> None:
    end = 0
    for (offset, size, *_), code in zip(FIXED, re.findall(r"\d*[a-zA-Z]", ring._FIXED.format), strict=True):
        assert (int(offset), int(size)) == (end, struct.calcsize("=" + code))
        end += int(size)
    assert end == ring._FIXED.size == 48
    assert [field for _, _, field, _ in LIVE] == list(ring.Live._fields)
    assert [(int(offset), int(size)) for offset, size, *_ in LIVE] == [(64 + 8 * place, 8) for place in range(5)]
    assert ring.PEEK_BYTES == 64 + 40
    assert [int(offset) for offset, *_ in RECORD] == [0, 4, 8, ring.RECORD.size]
    assert [field for _, _, field, _ in FIXED[3:6]] == list(ring.Layout._fields)


def test_bounds_are_those_of_the_code() -> None:
    assert list(BOUND.values()) == [
        ring.MIN_CAPACITY_BYTES,
        ring.MAX_CAPACITY_BYTES,
        ring._MIN_SEGMENT,
        ring._MAX_SEGMENT,
        ring.MAX_PAYLOAD_BYTES,
        ring._MAX_CONSTANTS,
    ]
    assert f"version is {ring.VERSION}." in TEXT
    assert f"{ring.RUNNING} running, {ring.STOPPED} stopped" in TEXT


def test_the_payloads_fields_are_those_of_the_code_in_this_order() -> None:
    assert [field for _, field, *_ in PAYLOAD] == list(codec.Wire.__struct_fields__)
    assert [field for _, field, _ in DEVICE] == list(codec.DeviceWire.__struct_fields__)
    assert [int(place) for place, *_ in DEVICE] == list(range(len(DEVICE)))
    assert [counter for _, counter in BITS] == list(encoding.MASKED_COUNTERS)
    assert [int(bit) for bit, _ in BITS] == list(range(len(BITS)))
    places = {"extra": encoding.EXTRA, "path": encoding.PATH, "attributes": encoding.ATTRIBUTES}
    assert {field: place for place, field in enumerate(codec.Wire.__struct_fields__) if field in places} == places


def whole_payload() -> list[Any]:
    device = ["cpu", -1, 1, 1, 1, 0]
    return ["phase_exit", 1, device, *[1] * 5, "", {}, 1, 1, 1, [1, "t"], ["a"], {}, 1, "ok", "E", 1, 1]


def accepted(payload: list[Any]) -> bool:
    try:
        codec._decode(encoding.encode(payload))
    except msgspec.ValidationError:
        return False
    return True


def test_what_may_be_absent_has_the_value_that_the_document_says() -> None:
    short = codec._decode(encoding.encode(whole_payload()[:8]))
    for _, field, _, absent in PAYLOAD[8:]:
        value = getattr(short, field)
        assert (list(value) if isinstance(value, tuple) else value) == ABSENT[absent]
    assert [absent for *_, absent in PAYLOAD[:8]] == [""] * 8
    assert not accepted(whole_payload()[:7])


@pytest.mark.parametrize("place", range(len(PAYLOAD)))
def test_a_payloads_types_are_those_of_the_document(place: int) -> None:
    kind = PAYLOAD[place][2]
    assert accepted(whole_payload())
    for value, allowed in ((None, "nil" in kind), (-1, kind.startswith("int") and ">= 0" not in kind), (0.5, False)):
        payload = whole_payload()
        payload[place] = value
        assert accepted(payload) is allowed, value


@pytest.mark.parametrize("place", range(len(DEVICE)))
def test_a_devices_types_are_those_of_the_document(place: int) -> None:
    kind = DEVICE[place][2]
    for value, allowed in ((None, "nil" in kind), (-1, "-1" in kind), (256, kind[:3] == "int" and "255" not in kind)):
        payload = whole_payload()
        payload[2][place] = value
        assert accepted(payload) is allowed, value


def test_what_a_later_writer_adds_is_passed_over() -> None:
    payload = whole_payload()
    payload[2].append("more of the device")
    assert accepted([*payload, "more", ["of", "the", "event"]])


def test_the_constants_that_are_needed_are_those_of_the_code() -> None:
    known = {field.name: field for field in msgspec.structs.fields(codec._Constants)}
    documented = [(key, meaning) for key, _, meaning in CONSTANTS if key in known]
    assert sorted(key for key, _ in documented) == sorted(known)
    for key, meaning in documented:
        absent = "null" if known[key].default is None else known[key].default
        assert meaning.startswith("needed" if known[key].required else f"{absent} where absent"), key
    whole = {"session_id": "s", "host": "h", "pid": 1, "sampling_interval_ms": 1}
    assert codec.Decoder({**whole, "later": [1]})
    for key in whole:
        with pytest.raises(codec.PayloadError, match=key):
            codec.Decoder({other: value for other, value in whole.items() if other != key})


def test_the_limits_of_sweeping_and_of_room_are_those_of_the_code() -> None:
    words = re.sub(r"\s+", " ", TEXT)
    assert f"The {ring_sweep.KEEP_DEAD_FILES} that lived last stay" in words
    assert f"up to {ring_sweep.KEEP_DEAD_BYTES // 2**20} MiB together" in words
    assert f"older than {ring_sweep.KEEP_DEAD_SECONDS // 86400} days" in words
    assert f"after {ring_sweep._UNFINISHED_SECONDS} seconds" in words
    assert ring_files._TMPFS_SHARE == 8
    assert "eight times its size free" in words
    assert f"up to {session_header.MAX_ARGUMENTS} arguments of up to {session_header.MAX_ARGUMENT} characters" in words


def test_the_document_is_where_the_code_says() -> None:
    for module in (ring, codec):
        assert "docs/ring-format.md" in (module.__doc__ or "")
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    assert all((DOCUMENT.parent / link).exists() for link in links)
    assert DOCUMENT.name in (DOCUMENT.parents[1] / "README.md").read_text("utf-8")
