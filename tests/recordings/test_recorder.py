"""Recordings: what is written is read back, whatever ends the writing, and never more than was asked for."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import attach, validate_event
from phasescope.recordings.formats import find, parts
from phasescope.recordings.jsonl_writer import Writer
from phasescope.recordings.line_text import line_of
from phasescope.recordings.notes import COLLECTOR, Note
from phasescope.recordings.open_file import NotARecordingError, RecordingInUseError
from phasescope.recordings.reader import RecordingReader
from phasescope.recordings.recorder import Recorder
from support.events import MIB, SESSION_ID, MadeSession
from support.fakes.rings import forked
from support.recordings import ENDINGS, SESSION, Event, steps, write
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recording_tells_what_the_ring_tells(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run{ending}"
    with phasescope.start(backends=["cpu"], record=path) as session:
        for index in range(300):
            with phasescope.phase("step", index=index):
                pass
    with attach(path) as recording, session.reader() as ring:
        assert recording.events() == ring.events()
        assert recording.constants == ring.constants
        assert recording.state == ring.state == "stopped"
        assert (recording.written, recording.missed, recording.damaged) == (ring.written, 0, 0)
        assert recording.latest() == ring.latest()
        assert recording.events(last=7) == ring.events(last=7)
        assert recording.summary() == ring.summary()
        assert [record.record_id for record in recording.records()] == [record.record_id for record in ring.records()]
        assert list(recording.follow()) == []
        assert list(recording.follow(from_start=True)) == ring.events()
        assert [len(list(recording.unread())) for _ in range(2)] == [ring.written, 0]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_line_of_a_recording_is_a_valid_event_on_one_line_of_ascii(tmp_path: Path, ending: str) -> None:
    odd = "é\u2028😀\x85"
    path = write(tmp_path / f"run{ending}", [MadeSession().event("sample", context=odd)])
    lines = unpacked(path).split(b"\n")
    assert lines.pop() == b""
    for line in lines:
        assert line.isascii()
        validate_event(json.loads(line))
    assert [json.loads(line)["event_type"] for line in lines] == ["recording", "sample", "recording"]
    with attach(path) as reader:
        assert [event["context"] for event in reader.events()] == [odd]


def unpacked(path: Path) -> bytes:
    """The file's text, by the tools that everybody has."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        import gzip

        return gzip.decompress(data)
    if path.suffix == ".zst":
        import io

        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_written_survives_a_kill_and_is_continued(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run{ending}"
    events = steps(2000)

    def record(acknowledged: memoryview) -> None:
        writer = Writer(path, lambda: line_of(Note(SESSION).to_event()))
        while True:
            for number, event in enumerate(events, 1):
                writer.write(line_of(event))
                acknowledged[0] = number
            time.sleep(CEILING_S)

    child = forked(record)
    child.wait_for(500)
    child.kill()
    acknowledged = child.acknowledged[0]
    with attach(path) as reader:
        found = reader.events()
        assert reader.damaged == 0
        assert reader.state == "unknown"
    assert len(found) >= acknowledged
    assert found == events[: len(found)]
    write(path, events[len(found) :])
    with attach(path) as reader:
        assert reader.events() == events
        assert reader.damaged == 0


def test_a_torn_tail_is_left_out_by_readers_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    events = steps(10)
    path = write(tmp_path / "run.jsonl", events[:-1])
    with path.open("ab") as file:
        file.write(line_of(events[-1])[:-5])
    with attach(path) as reader:
        assert reader.events() == events[:-1]
        assert [str(problem) for problem in reader.problems] == ["run.jsonl: line 22: cut off in the middle"]
        assert reader.damaged == 1
    write(path, events[-1:])
    with attach(path) as reader:
        assert reader.events() == events
        assert reader.damaged == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recording_is_rotated_and_never_takes_more_than_its_bound(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run{ending}"
    events = steps(4000)
    bound = 400_000 if ending == ".jsonl" else 60_000
    write(path, events, max_bytes=bound, part_bytes=bound // 5)
    files = parts(path)
    assert len(files) > 2
    assert path == files[-1]
    assert sum(file.stat().st_size for file in files) <= bound
    with attach(path) as reader:
        kept = reader.events()
        assert kept == events[-len(kept) :]
        assert reader.missed == len(events) - len(kept) > 0
        assert reader.constants["command"] == ["train"]
        assert reader.damaged == 0
    with attach(files[0]) as part:
        assert part.events() == kept[: len(part.events())]
    assert find(tmp_path) == [path]


def test_the_smallest_bound_holds_for_a_recorder_as_well(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with phasescope.start(backends=["cpu"], record=path, record_bytes=1 << 20) as session:
        for _ in range(3000):
            with phasescope.phase("step"):
                pass
    assert sum(file.stat().st_size for file in parts(path)) <= 1 << 20
    with attach(path) as reader:
        kept = reader.events()
        assert kept == session.events(last=len(kept))
        assert reader.missed == session.written - len(kept) > 0


def test_a_full_disk_costs_no_line_that_was_written_and_none_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    events = steps(400)

    def record(acknowledged: memoryview) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        writer = Writer(path, lambda: line_of(Note(SESSION).to_event()))
        refused = 0
        for event in events:
            try:
                writer.write(line_of(event))
            except OSError:
                refused += 1
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                writer.write(line_of(event))
        acknowledged[0] = refused
        writer.close()

    child = forked(record)
    child.join()
    assert child.acknowledged[0] == 1
    with attach(path) as reader:
        assert reader.events() == events
        assert reader.damaged == 0


def test_nothing_but_a_recording_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"my": "data"}\n')
    with pytest.raises(NotARecordingError, match="holds no recording"):
        write(path, [])
    assert path.read_text() == '{"my": "data"}\n'
    plain = write(tmp_path / "run.jsonl", steps(1)).rename(tmp_path / "run.jsonl.gz")
    with pytest.raises(NotARecordingError, match="not compressed"):
        write(plain, [])
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(NotARecordingError, match="not a regular file"):
        write(tmp_path / "pipe.jsonl", [])


def test_two_writers_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    writer = Writer(path, lambda: line_of(Note(SESSION).to_event()))
    try:
        with pytest.raises(RecordingInUseError, match=r"run\.jsonl"):
            write(path, [])
    finally:
        writer.close()


def test_a_recording_that_is_being_written_is_running(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    writer = Writer(path, lambda: line_of(Note(SESSION).to_event()))
    writer.write(line_of(steps(1)[0]))
    with path.open("ab") as file:
        file.write(b'{"half": ')
    with RecordingReader.open(path) as reader:
        assert reader.state == "running"
        assert len(reader.events()) == 1
        assert reader.damaged == 0  # the rest of the line is on its way
        writer.abandon()
        assert reader.state == "unknown"
        assert (len(reader.events()), reader.damaged) == (1, 1)


def test_a_session_is_recorded_from_outside_to_its_end_and_continued_without_repeats(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    session = phasescope.start(backends=["cpu"])
    with phasescope.phase("first"):
        pass
    first = Recorder(session.reader(), path)
    first.stop()
    first.run()
    with attach(path) as reader:
        assert reader.state == "unknown"  # the recording ended, the session did not
    with phasescope.phase("second"):
        pass
    second = Recorder(session.reader(), path)
    session.stop()
    second.run()
    assert second.events == session.written
    with attach(path) as reader:
        assert reader.events() == session.events()
        assert reader.state == "stopped"


def test_what_the_recorder_misses_is_counted_in_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with phasescope.start(backends=["cpu"], capacity_bytes=64 * 1024) as session:
        for _ in range(2000):
            with phasescope.phase("step"):
                pass
        recorder = Recorder(session.reader(), path)
    recorder.run()
    with attach(path) as reader:
        kept = len(reader.events())
        assert reader.missed == session.written - kept > 0
        assert reader.summary().missed == reader.missed


def test_a_killed_training_leaves_its_own_recording_whole_and_is_called_dead(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    code = f"""
        import phasescope, time
        phasescope.start(backends=["cpu"], record={str(path)!r})
        while True:
            with phasescope.phase("step"):
                time.sleep(0.001)
    """
    child = subprocess.Popen([sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())])
    until(lambda: path.exists() and path.stat().st_size > 20_000)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with attach(path) as reader:
        assert reader.state == "dead"
        events = reader.events()
        is_torn = not path.read_bytes().endswith(b"\n")  # a kill in the middle of a write tears the last line
        assert reader.damaged == is_torn
        assert events[0]["event_type"] == "start"
        assert reader.constants["pid"] == child.pid


def test_each_rank_records_to_a_file_of_its_own(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"], record=tmp_path / "run.jsonl.gz", rank=3, world_size=8):
        pass
    with phasescope.start(backends=["cpu"], record=f"{tmp_path}/ranks/"):
        pass
    assert find(tmp_path) == [tmp_path / "run.rank3.jsonl.gz"]
    (own,) = find(tmp_path / "ranks")
    assert f"-rank0-{os.getpid()}-" in own.name


def test_a_recording_in_use_gets_a_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    other = Writer(path, lambda: line_of(Note(SESSION).to_event()))
    try:
        with (
            pytest.warns(phasescope.PhasescopeWarning, match="another process"),
            phasescope.start(backends=["cpu"], record=path),
        ):
            pass
    finally:
        other.close()
    with attach(tmp_path / f"run.pid{os.getpid()}.jsonl") as reader:
        assert reader.state == "stopped"


def test_a_forked_child_lets_go_of_its_parents_recording(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with phasescope.start(backends=["cpu"], record=path) as session:

        def work(acknowledged: memoryview) -> None:
            acknowledged[0] = 1
            while acknowledged[1] == 0:
                time.sleep(0.001)

        child = forked(work)
        child.wait_for(1)
    with attach(path) as reader:
        assert reader.events() == session.events()
        assert isinstance(reader, RecordingReader)
        assert not reader._open_source().is_being_written()
    child.acknowledged[1] = 1
    child.join()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"record": "run.parquet"}, ValueError, "record must"),
        ({"record": 3}, TypeError, "record must"),
        ({"record": "run.jsonl", "record_bytes": 10}, ValueError, "record_bytes must"),
        ({"record": "/no/such/place/run.jsonl"}, OSError, "place"),
    ],
)
def test_what_can_not_be_recorded_is_said_by_start(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        phasescope.start(backends=["cpu"], **arguments)
    assert phasescope.current() is None


def test_sessions_in_one_file_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    other = MadeSession(session_id="other", pid=7)
    a, b = steps(3), steps(5, other)
    mixed = [event for pair in zip(a, b, strict=False) for event in pair] + b[len(a) :]
    path.write_bytes(b"".join(map(line_of, mixed)))
    with RecordingReader.open(path) as reader:
        assert reader.events() == b  # whose events come last
        assert reader.others == {SESSION_ID: 6}
        assert [(s.session_id, s.pid, s.events) for s in reader.sessions] == [(SESSION_ID, 4242, 6), ("other", 7, 10)]
    with attach(f"{path}#{SESSION_ID[:8]}") as reader:
        assert (reader.events(), reader.others) == (a, {"other": 10})
        assert reader.events(last=2) == a[-2:]
    with pytest.raises(phasescope.SessionNotFoundError, match='no session "third"'):
        attach(f"{path}#third")


def test_notes_are_never_given_out_as_events(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", steps(5))
    assert path.read_text().count(COLLECTOR) == 2
    with RecordingReader.open(path) as reader:
        assert not [event for event in reader.events() if event["collector"] == COLLECTOR]
        assert [session.events for session in reader.sessions] == [10]


def v2(event: Event) -> Event:
    """As version 2 had it."""
    return {key: value for key, value in event.items() if key != "session_id"} | {"schema_version": 2}


def test_version_2_is_upgraded_and_its_processes_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(b"".join(line_of(v2(event)) for event in [*steps(2, MadeSession(pid=7)), *steps(3)]))
    with attach(path) as reader:
        events = reader.events()
        assert [event | {"session_id": SESSION_ID} for event in events] == steps(3)
        assert {event["session_id"] for event in events} == {"v2-node-07-4242"}
        assert reader.others == {"v2-node-07-7": 4}
        assert reader.damaged == 0
        assert reader.state == "unknown"
        for event in events:
            validate_event(event)


def test_version_4_is_read_and_a_null_is_not_taken_for_0(tmp_path: Path) -> None:
    event = MadeSession().event("sample")
    later = event | {"schema_version": 4, "allocator_allocated_bytes": None, "device_used_bytes": None}
    path = tmp_path / "new.jsonl"
    path.write_bytes(line_of(later))
    with attach(path) as reader:
        (found,) = reader.events()
    validate_event(found)
    assert found["metadata"]["unavailable"] == ["allocator_allocated_bytes", "device_used_bytes"]
    assert found["allocator_allocated_bytes"] == 0


def test_an_event_of_version_3_comes_out_as_it_is(tmp_path: Path) -> None:
    event = MadeSession().event("sample")
    for key in ("job_id", "rank", "local_rank", "world_size"):
        del event[key]
    path = tmp_path / "run.jsonl"
    path.write_bytes(line_of(event))
    with attach(path) as reader:
        assert reader.events() == [event]
        assert reader.constants["rank"] == 0


def test_a_json_array_of_events_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([*steps(2), {"no": "event"}], indent=1))
    with attach(path) as reader:
        assert reader.events() == steps(2)
        assert (reader.damaged, str(reader.problems[0])[:19]) == (1, "export.json: event ")


def test_a_file_without_events_says_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "config.jsonl"
    path.write_text('{"lr": 0.1}\n')
    with pytest.raises(
        phasescope.SessionNotFoundError, match=r"no event in .*config\.jsonl: line 1: unknown top-level"
    ):
        attach(path)
    with pytest.raises(FileNotFoundError):
        attach(tmp_path / "missing.jsonl")


def test_a_closed_recording_says_so(tmp_path: Path) -> None:
    reader = attach(write(tmp_path / "run.jsonl", steps(1)))
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.events()


def test_the_last_events_of_a_large_file_are_had_without_reading_it(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", steps(4000))
    assert path.stat().st_size > 4 * MIB
    with attach(path) as reader, path.open("r+b") as file:
        file.write(b"\0" * MIB)  # whoever reads the beginning finds nothing there
        assert reader.events(last=3) == steps(4000)[-3:]
        assert reader.state == "stopped"
