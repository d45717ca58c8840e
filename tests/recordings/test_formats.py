"""Parquet, Perfetto and Chrome: what other programs find in them."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import CounterDescriptor, Trace, TrackEvent

import phasescope
from phasescope import attach
from phasescope.readers.reader import SessionNotFoundError
from phasescope.recordings.convert import convert
from phasescope.recordings.formats import UnknownFormatError, format_of
from phasescope.recordings.row_batches import of_events
from support.events import MS, START_NS, MadePhase, MadeSession
from support.recordings import steps, write

if TYPE_CHECKING:
    from pathlib import Path


def converted(source: Path, target: Path) -> Path:
    with attach(source) as reader:
        convert([reader], target)
    return target


def ring_of(tmp_path: Path) -> Path:
    """A session's ring with all that events can hold."""
    with phasescope.start(backends=["cpu"], report_exceptions=[KeyError]) as session:
        for index in range(50):
            with phasescope.phase("epoch"), phasescope.phase("stép", index=index, nothing=None, share=0.5):
                pass
        with pytest.raises(KeyError), phasescope.phase("fails"):
            raise KeyError
    assert session.path is not None
    return tmp_path / session.path


def test_a_session_goes_through_every_format_that_can_be_read_and_stays_the_same(tmp_path: Path) -> None:
    path = ring_of(tmp_path)
    with attach(path) as ring:
        events, constants, state = ring.events(), ring.constants, ring.state
    for number, ending in enumerate([".jsonl.gz", ".parquet", ".jsonl.zst", ".jsonl", ".parquet", ".parquet"]):
        path = converted(path, tmp_path / f"{number}{ending}")
        with attach(path) as reader:
            assert reader.events() == events
            assert (reader.constants, reader.state, reader.damaged) == (constants, state, 0)


def test_parquet_has_a_column_a_key_and_the_phase(tmp_path: Path) -> None:
    made = MadeSession(rank=2, local_rank=2, world_size=4)
    outer = made.enter("epoch")
    made.now_ns += 5 * MS
    made.allocated = 7000
    outer.exit(status="error", error_type="ValueError", peak_allocated_bytes=9000)
    made.sample()
    table = pyarrow.parquet.read_table(converted(write(tmp_path / "a.jsonl", made.events), tmp_path / "a.parquet"))
    columns = table.to_pydict()
    for key in made.events[0]:
        if key != "metadata":
            assert columns[key] == [event[key] for event in made.events]
    assert [json.loads(text) for text in columns["metadata"]] == [event["metadata"] for event in made.events]
    assert columns["backend"] == ["cuda"] * 3
    assert columns["phase_path"] == ["epoch", "epoch", None]
    assert columns["phase_action"] == ["enter", "exit", None]
    assert columns["phase_duration_ns"] == [None, 5 * MS, None]
    assert columns["phase_status"] == [None, "error", None]
    assert columns["phase_error_type"] == [None, "ValueError", None]
    assert columns["phase_peak_allocated_bytes"] == [None, 9000, None]
    assert columns["phase_allocated_delta_bytes"] == [None, 7000, None]


def test_a_ring_and_its_recording_make_the_same_table(tmp_path: Path) -> None:
    ring = ring_of(tmp_path)
    direct = pyarrow.parquet.read_table(converted(ring, tmp_path / "direct.parquet"))
    jsonl = converted(ring, tmp_path / "run.jsonl")
    assert pyarrow.parquet.read_table(converted(jsonl, tmp_path / "by_events.parquet")).equals(direct)


def test_parquet_keeps_what_the_source_had_lost(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", steps(5))
    source.write_bytes(source.read_bytes() + b"{}\n" * 3)
    with attach(converted(source, tmp_path / "a.parquet")) as reader:
        assert reader.events() == steps(5)
        assert reader.damaged == 3


def test_a_damaged_parquet_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = converted(write(tmp_path / "a.jsonl", steps(500)), tmp_path / "a.parquet")
    whole = path.read_bytes()
    for cut in (4, 100, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(phasescope.SessionNotFoundError, match=r"no event in .*a\.parquet: "):
            attach(path)


def test_an_unfinished_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.jsonl", steps(5))
    for ending in (".jsonl", ".parquet", ".perfetto-trace", ".json"):
        with attach(source) as reader:
            monkeypatch.setattr(reader, "iter_events", fails)
            monkeypatch.setattr(reader, "iter_rows", lambda: of_events(fails()))
            with pytest.raises(RuntimeError, match="disk"):
                convert([reader], tmp_path / f"b{ending}")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.jsonl"]


def fails() -> Any:
    yield from steps(1)
    raise RuntimeError("disk")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet", ".perfetto-trace", ".json"])
def test_a_new_file_is_for_its_user_alone(tmp_path: Path, ending: str) -> None:
    target = converted(write(tmp_path / "a.jsonl", steps(2)), tmp_path / f"b{ending}")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_perfetto_trace_is_said_not_to_be_read_back(tmp_path: Path) -> None:
    trace = converted(write(tmp_path / "a.jsonl", steps(2)), tmp_path / "b.perfetto-trace")
    with pytest.raises(SessionNotFoundError, match=r"is a trace for ui\.perfetto\.dev, which cannot be read back"):
        attach(trace)


def test_nothing_is_written_over_and_no_format_is_guessed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", steps(1))
    (tmp_path / "b.parquet").write_text("mine")
    with attach(source) as reader:
        with pytest.raises(FileExistsError, match="exists"):
            convert([reader], tmp_path / "b.parquet")
        with pytest.raises(UnknownFormatError, match=r"\.perfetto-trace"):
            convert([reader], tmp_path / "b.csv")
        with pytest.raises(UnknownFormatError, match="by a session only"):
            convert([reader], tmp_path / "b.ring")
        with pytest.raises(ValueError, match="one session"):
            convert([reader, reader], tmp_path / "c.parquet")
    assert (tmp_path / "b.parquet").read_text() == "mine"
    assert format_of("RUN.JSONL.GZ") == "jsonl"


# What a trace holds is compared as plain tuples: (track, "B" or "E", name, ns since the first event).


def perfetto_trace(path: Path) -> Trace:
    trace = Trace()
    trace.ParseFromString(path.read_bytes())
    return trace


def perfetto_slices(trace: Trace) -> list[tuple[str, str, str, int]]:
    tracks: dict[int, str] = {}
    found = []
    first_ns = next(packet.timestamp for packet in trace.packet if packet.timestamp)
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            tracks[descriptor.uuid] = descriptor.thread.thread_name or descriptor.name
        elif packet.track_event.type in (TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END):
            event = packet.track_event
            kind = "B" if event.type == TrackEvent.TYPE_SLICE_BEGIN else "E"
            found.append((tracks[event.track_uuid], kind, event.name, packet.timestamp - first_ns))
    return found


def chrome_slices(path: Path) -> list[tuple[str, str, str, int]]:
    events = json.loads(path.read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event.get("name") == "thread_name"}
    slices = [event for event in events if event["ph"] in "BE"]
    return [(names[e["tid"]], e["ph"], e.get("name", ""), round(e["ts"] * 1000)) for e in slices]


def traced(tmp_path: Path, made: MadeSession) -> list[tuple[str, str, str, int]]:
    """The slices of both trace formats, which must be the same."""
    source = write(tmp_path / "made.jsonl", made.events)
    perfetto = perfetto_slices(perfetto_trace(converted(source, tmp_path / "made.perfetto-trace")))
    assert chrome_slices(converted(source, tmp_path / "made.json")) == perfetto
    return perfetto


def at(made: MadeSession, ms: int) -> None:
    made.now_ns = START_NS + ms * MS


def test_phases_are_nested_slices_of_their_thread(tmp_path: Path) -> None:
    made = MadeSession()
    epoch = made.enter("epoch")
    at(made, 1)
    step = made.enter("epoch", "step", parent=epoch)
    at(made, 3)
    step.exit()
    epoch.exit()
    assert traced(tmp_path, made) == [
        ("MainThread", "B", "epoch", 0),
        ("MainThread", "B", "step", 1 * MS),
        ("MainThread", "E", "", 3 * MS),
        ("MainThread", "E", "", 3 * MS),
    ]


def test_phases_that_do_not_nest_get_lanes_of_their_own(tmp_path: Path) -> None:
    made = MadeSession()
    first = made.enter("first task")
    at(made, 1)
    second = made.enter("second task")
    at(made, 2)
    inner = made.enter("second task", "inner", parent=second)
    first.exit()
    at(made, 3)
    inner.exit()
    second.exit()
    assert traced(tmp_path, made) == [
        ("MainThread", "B", "first task", 0),
        ("MainThread (2)", "B", "second task", 1 * MS),
        ("MainThread (2)", "B", "inner", 2 * MS),
        ("MainThread", "E", "", 2 * MS),
        ("MainThread (2)", "E", "", 3 * MS),
        ("MainThread (2)", "E", "", 3 * MS),
    ]


def test_phases_open_at_either_end_of_what_was_kept_are_there(tmp_path: Path) -> None:
    made = MadeSession()
    epoch = made.enter("epoch")
    step = made.enter("epoch", "step", parent=epoch)
    del made.events[:]  # overwritten
    at(made, 2)
    made.sample()
    at(made, 5)
    step.exit()
    made.enter("epoch", "step", parent=epoch)
    at(made, 6)
    made.sample()
    epoch.exit()
    made.enter("next")
    at(made, 9)
    made.sample()
    assert traced(tmp_path, made) == [
        ("MainThread", "B", "epoch", 0),
        ("MainThread", "B", "step", 0),
        ("MainThread", "E", "", 3 * MS),
        ("MainThread", "B", "step", 3 * MS),
        ("MainThread", "E", "", 4 * MS),
        ("MainThread", "E", "", 4 * MS),
        ("MainThread", "B", "next", 4 * MS),
        ("MainThread", "E", "", 7 * MS),
    ]


def test_memory_is_counters_in_bytes_and_other_events_are_instants(tmp_path: Path) -> None:
    made = MadeSession()
    for allocated in (100, 100, 300):
        made.allocated = allocated
        made.sample(device_used_bytes=1000)
        made.now_ns += MS
    made.event("warning", context="cuda:0 is nearly full")
    source = write(tmp_path / "made.jsonl", made.events)
    trace = perfetto_trace(converted(source, tmp_path / "made.perfetto-trace"))
    counters = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    values = [
        (counters[p.track_event.track_uuid].name, p.timestamp - START_NS, p.track_event.counter_value)
        for p in trace.packet
        if p.track_event.type == TrackEvent.TYPE_COUNTER
    ]
    assert [value for value in values if value[0] == "cuda:0 allocated"] == [
        ("cuda:0 allocated", 0, 100),
        ("cuda:0 allocated", 2 * MS, 300),
    ]
    units = {d.name: d.counter.unit for d in counters.values() if d.HasField("counter")}
    assert units == dict.fromkeys(
        ("cuda:0 allocated", "cuda:0 reserved", "cuda:0 used"), CounterDescriptor.UNIT_SIZE_BYTES
    )
    (instant,) = [p.track_event for p in trace.packet if p.track_event.type == TrackEvent.TYPE_INSTANT]
    assert instant.name == "warning"
    assert [(a.name, a.string_value) for a in instant.debug_annotations] == [("context", "cuda:0 is nearly full")]
    events = json.loads(converted(source, tmp_path / "made.json").read_text())["traceEvents"]
    assert [e["args"]["bytes"] for e in events if e["name"] == "cuda:0 allocated_bytes"] == [100, 300]
    assert [e["args"]["context"] for e in events if e["ph"] == "i"] == ["cuda:0 is nearly full"]


def test_the_ranks_of_a_job_are_processes_of_one_trace(tmp_path: Path) -> None:
    sources = []
    for rank in range(2):
        made = MadeSession(rank=rank, local_rank=rank, world_size=2, host=f"node-{rank}", session_id=f"s{rank}")
        made.run("step")
        path = tmp_path / f"run.rank{rank}.jsonl"
        path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in made.events))
        sources.append(path)
    readers = [attach(path) for path in sources]
    convert(readers, tmp_path / "run.perfetto-trace")
    trace = perfetto_trace(tmp_path / "run.perfetto-trace")
    processes = [p.track_descriptor.process for p in trace.packet if p.track_descriptor.HasField("process")]
    assert [process.process_name for process in processes] == [
        "rank 0 of 2, pid 4242 on node-0",
        "rank 1 of 2, pid 4242 on node-1",
    ]
    assert len({process.pid for process in processes}) == 2
    threads = [p.track_descriptor.thread for p in trace.packet if p.track_descriptor.HasField("thread")]
    assert len({thread.tid for thread in threads}) == 2
    for reader in readers:
        reader.close()


def test_a_perfetto_trace_holds_nothing_that_its_format_does_not_know(tmp_path: Path) -> None:
    trace = perfetto_trace(converted(ring_of(tmp_path), tmp_path / "run.perfetto-trace"))
    assert trace.packet[0].HasField("clock_snapshot")
    known = {"clock_snapshot", "trusted_packet_sequence_id", "sequence_flags", "track_descriptor", "timestamp"}
    described: set[int] = set()
    for packet in trace.packet:
        assert {field.name for field, _ in packet.ListFields()} <= {*known, "track_event"}
        if packet.HasField("track_descriptor"):
            described.add(packet.track_descriptor.uuid)
        elif packet.HasField("track_event"):
            assert packet.track_event.track_uuid in described
    trace.DiscardUnknownFields()  # of which there must be none
    assert trace.ByteSize() == (tmp_path / "run.perfetto-trace").stat().st_size


def test_a_phase_keeps_its_attributes_and_its_end_in_the_trace(tmp_path: Path) -> None:
    made = MadeSession()
    phase: MadePhase = made.enter("step")
    phase.session.events[-1]["metadata"]["phase_scope"]["attributes"] = {"index": -3, "name": "é", "ok": True}
    phase.exit(status="error", error_type="ValueError")
    trace = perfetto_trace(converted(write(tmp_path / "a.jsonl", made.events), tmp_path / "a.perfetto-trace"))
    begin, end = [p.track_event for p in trace.packet if p.track_event.type in (1, 2)]
    values = {a.name: getattr(a, a.WhichOneof("value")) for a in begin.debug_annotations}
    assert values == {"path": "step", "index": -3, "name": "é", "ok": True}
    ends = {a.name: getattr(a, a.WhichOneof("value")) for a in end.debug_annotations}
    assert (ends["status"], ends["error_type"]) == ("error", "ValueError")
