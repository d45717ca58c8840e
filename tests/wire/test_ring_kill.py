"""Writers that are killed with SIGKILL at random moments, and readers at full speed beside writers at full speed.

Every writer is a process of its own that says, in memory that both share, which of its calls have returned.
"""

from __future__ import annotations

import functools
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase, validate_event
from phasescope.readers.ring_reader import RingReader
from phasescope.testing import FakeBackend
from phasescope.wire import ring, ring_files, ring_sweep
from support.fakes.rings import HEADER_BYTES, forked, let_go, new_file, oldest_kept, payload_of, read_all, ring_of
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from phasescope import Reader

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

RUNS = 10
CAPACITIES = (64 * 1024, 100_000, 256 * 1024)
NAMES = ("forward", "backward", "optimizer", "data", "checkpoint")


@pytest.fixture
def directory(rings: Path) -> Path:
    return rings


def some_time(random_: random.Random) -> None:
    """From nothing to 25 ms: a few laps of the small rings."""
    time.sleep(random_.random() ** 2 * 0.025)


def train(acknowledged: memoryview, phases: int = 10**9) -> None:
    """One phase after the other; each tells which boundary its enter is, and its text makes it of another length."""
    for enter in range(1, 2 * phases, 2):
        scope = phase(NAMES[enter % 5], n=enter, text="x" * (enter % 150))
        scope.__enter__()
        acknowledged[0] = enter
        scope.__exit__(None, None, None)
        acknowledged[0] = enter + 1


def check_boundaries(boundaries: list[dict[str, Any]]) -> None:
    """They are what `train` wrote, and none between the first and the last is missing."""
    first = boundaries[0]["sequence"]
    assert [scope["sequence"] for scope in boundaries] == list(range(first, first + len(boundaries)))
    for scope in boundaries:
        enter = scope["sequence"] - (scope["action"] == "exit")
        assert scope["action"] == ("enter" if scope["sequence"] % 2 else "exit")
        assert scope["attributes"] == {"n": enter, "text": "x" * (enter % 150)}
        assert scope["path"] == [NAMES[enter % 5]]
        assert scope["scope_id"].endswith(f":{enter}")


@functools.cache
def payloads() -> list[bytes]:
    """Return more records than a writer that is killed writes: made once, and each writer is born with them."""
    return [payload_of(sequence) for sequence in range(1, 30_002)]


# 200 runs in all: 8 x 10 of the ring alone, 8 x 10 of a session, 3 x 10 with threads, 10 that begin and end


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_ring_holds_every_record_whose_write_had_returned(directory: Path, seed: int) -> None:
    random_ = random.Random(seed)
    lengths_of_all = [len(payload) for payload in payloads()]
    for run in range(RUNS):
        capacity_bytes = random_.choice(CAPACITIES)

        def write(acknowledged: memoryview, run: int = run, capacity_bytes: int = capacity_bytes) -> None:
            file = new_file(directory, capacity_bytes, f"node-{run}-1")
            append = file.writer.append
            acknowledged[1] = 1
            for sequence, payload in enumerate(payloads()[:30_000], 1):
                append(payload)
                acknowledged[0] = sequence
            time.sleep(CEILING_S)

        writer = forked(write)
        writer.wait_for(1, slot=1)
        some_time(random_)
        writer.kill()
        returned = writer.acknowledged[0]

        with ring_of(directory / f"node-{run}-1.ring") as reader:
            records = read_all(reader)
        assert all(payload == payload_of(sequence) for sequence, payload in records)
        written = records[-1][0] if records else 0
        assert returned <= written <= returned + 1, "a returned write is missing, or one that was never made is there"
        sequences = [sequence for sequence, _ in records]
        assert sequences == list(range(written - len(records) + 1, written + 1))
        # One that was just about to be written may have taken the place of the oldest segment already.
        lengths = lengths_of_all[: written + 1]
        kept = {oldest_kept(lengths[:-1], reader.layout), oldest_kept(lengths, reader.layout)}
        assert written == 0 or sequences[0] in kept, "something is gone that was not overwritten"
        assert (reader.missed, reader.damaged) == (written - len(records), 0)


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_session_holds_every_phase_whose_call_had_returned(directory: Path, seed: int) -> None:
    random_ = random.Random(100 + seed)
    for _ in range(RUNS):
        capacity_bytes = random_.choice(CAPACITIES)

        def run(acknowledged: memoryview, capacity_bytes: int = capacity_bytes) -> None:
            phasescope.start(
                backends=[FakeBackend()], directory=directory, capacity_bytes=capacity_bytes, interval_ms=1
            )
            train(acknowledged)

        writer = forked(run)
        writer.wait_for(2)
        some_time(random_)
        writer.kill()
        with the_only_session(directory) as reader:
            events = whole_events(reader)
            boundaries = [scope for event in events if "action" in (scope := event["metadata"].get("phase_scope", {}))]
            assert writer.acknowledged[0] <= boundaries[-1]["sequence"] <= writer.acknowledged[0] + 1
            check_boundaries(boundaries)
        assert ring_sweep.clean(directory) == [reader.path]


def the_only_session(directory: Path) -> Reader:
    (path,) = ring_files.find(directory)
    return phasescope.attach(path)


def whole_events(reader: Reader) -> list[dict[str, Any]]:
    """All events of a killed session, after looking whether the ring holds as many as it has room for."""
    assert reader.state == "dead"
    events = reader.events()
    for event in events:
        validate_event(event)
    assert reader.damaged == 0
    assert len(events) + reader.missed == reader.written
    assert isinstance(reader, RingReader)
    raw = reader._new_ring()
    lengths = [HEADER_BYTES + len(payload) for _, payload in read_all(raw)]
    segments = raw.layout.capacity // raw.layout.segment
    room = raw.layout.capacity - 2 * raw.layout.segment - segments * max(lengths)
    assert sum(lengths) >= room or reader.missed == 0, "more is gone than had to be overwritten"
    return events


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_session_holds_what_each_of_its_threads_had_written(directory: Path, seed: int) -> None:
    random_ = random.Random(200 + seed)
    threads = 4
    for _ in range(RUNS):

        def run(acknowledged: memoryview) -> None:
            phasescope.start(backends=[FakeBackend()], directory=directory, capacity_bytes=2**20, interval_ms=1)

            def work(thread: int) -> None:
                n = 0
                while True:
                    with phase("step", thread=thread, n=n + 1):
                        pass
                    n += 1
                    acknowledged[thread] = n

            for thread in range(threads):
                threading.Thread(target=work, args=(thread,), daemon=True).start()
            time.sleep(CEILING_S)

        writer = forked(run)
        for thread in range(threads):
            writer.wait_for(1, slot=thread)
        some_time(random_)
        writer.kill()
        with the_only_session(directory) as reader:
            events = whole_events(reader)
            exits = [event["metadata"]["phase_scope"] for event in events if event["event_type"] == "phase_exit"]
            for thread in range(threads):
                done = [scope["attributes"]["n"] for scope in exits if scope["attributes"]["thread"] == thread]
                returned = writer.acknowledged[thread]
                # In a ring that wrapped, a thread that was not given its turn may have nothing left.
                assert done == list(range(done[0], done[-1] + 1)) if done else reader.missed
                assert not done or returned <= done[-1] <= returned + 1
        ring_sweep.clean(directory)


def test_sessions_that_are_killed_while_they_begin_and_end_leave_whole_files_only(directory: Path) -> None:
    random_ = random.Random(300)
    for _ in range(RUNS):

        def run(acknowledged: memoryview) -> None:
            while True:
                with phasescope.start(backends=[FakeBackend()], directory=directory, capacity_bytes=64 * 1024):
                    with phase("step"):
                        pass
                acknowledged[0] += 1

        writer = forked(run)
        writer.wait_for(1)
        some_time(random_)
        writer.kill()
        newest, *others = ring_files.find(directory)
        assert len(others) + 1 >= min(writer.acknowledged[0], ring_sweep.KEEP_DEAD_FILES)
        for path in (newest, *others):
            with phasescope.attach(path) as reader:
                assert reader.state in (("dead", "stopped") if path == newest else ("stopped",))
                types = [event["event_type"] for event in reader.iter_events() if event["event_type"] != "sample"]
                whole = ["start", "phase_enter", "phase_exit", "stop"]
                assert types == (whole[: len(types)] if path == newest else whole)
                assert (reader.missed, reader.damaged) == (0, 0)
        assert len(list(directory.glob(".*"))) <= 1, "at most the one that was being made"
        for path in directory.iterdir():
            path.unlink()


# Both at full speed


@pytest.fixture
def full_speed(directory: Path) -> Iterator[tuple[str, int]]:
    """A ring that another process is writing 400,000 records into, as fast as it can."""
    count = 400_000
    file = new_file(directory, 64 * 1024)
    assert file.path is not None

    def write(acknowledged: memoryview) -> None:
        append = file.writer.append
        payloads = [payload_of(sequence) for sequence in range(1, 2001)]
        acknowledged[0] = 1
        while acknowledged[1] == 0:
            pass
        for start in range(0, count, 2000):
            if start:
                payloads = [payload_of(sequence) for sequence in range(start + 1, start + 2001)]
            for payload in payloads:
                append(payload)
        file.writer.stop()

    writer = forked(write)
    writer.wait_for(1)
    writer.acknowledged[1] = 1
    yield file.path, count
    writer.join()
    let_go(file)


@pytest.mark.parametrize("pause_s", [0, 0.002])
def test_a_reader_beside_a_writer_reads_true_records_only_and_counts_every_gap(
    full_speed: tuple[str, int], pause_s: float
) -> None:
    path, count = full_speed
    read = last = 0
    over = False
    with ring_of(path) as reader:
        while not (over and last == count):
            over = reader.live().state == ring.STOPPED
            for sequence, payload in reader.next_batch():
                assert sequence > last
                assert payload == payload_of(sequence)
                last = sequence
                read += 1
            if pause_s:
                time.sleep(pause_s)
    assert read + reader.missed == last == count
    assert reader.damaged == 0
    if pause_s:
        assert reader.missed > 0, "a pause is longer than a lap of this ring"


def test_a_follower_beside_a_session_at_full_speed_counts_every_gap(directory: Path) -> None:
    phases = 30_000

    def run(acknowledged: memoryview) -> None:
        with phasescope.start(
            backends=[FakeBackend()], directory=directory, capacity_bytes=64 * 1024, interval_ms=1
        ) as session:
            acknowledged[1] = 1
            while acknowledged[1] == 1:
                pass
            train(acknowledged, phases)
        acknowledged[2] = session.written

    writer = forked(run)
    writer.wait_for(1, slot=1)
    with the_only_session(directory) as reader:
        events = reader.follow(from_start=True)
        writer.acknowledged[1] = 2
        read = sequence = 0
        for event in events:
            read += 1
            scope = event["metadata"].get("phase_scope", {})
            if "action" in scope:
                assert scope["sequence"] > sequence
                sequence = scope["sequence"]
                check_boundaries([scope])
            if read % 5000 == 0:
                time.sleep(0.05)  # a slow consumer
        writer.join()
        assert event["event_type"] == "stop"
        assert read + reader.missed == writer.acknowledged[2] >= 2 * phases
        assert reader.missed > 0
        assert reader.damaged == 0


def test_two_readers_do_not_disturb_each_other_or_the_writer(full_speed: tuple[str, int]) -> None:
    path, count = full_speed
    results = []

    def look() -> None:
        with ring_of(path) as reader:
            read, over = 0, False
            while not over:
                over = reader.live().state == ring.STOPPED
                read += len(read_all(reader))
            results.append((read + reader.missed, reader.damaged))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(count, 0)] * 2
