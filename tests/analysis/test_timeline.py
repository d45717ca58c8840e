"""A session over time: no peak is lost, whatever its length; memory is bounded; what is not known stays unknown."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phasescope
from phasescope import phase
from phasescope.analysis.timeline import bands, time_series
from phasescope.analysis.timeline.time_series import (
    Buckets,
    DeviceSeries,
    Range,
    thinned,
)
from phasescope.analysis.timeline.timeline import MAX_MARKS, Timeline, timeline
from phasescope.testing import FakeBackend
from support.events import MIB, MS, START_NS, MadeSession
from support.strategies import odd_events

SECOND = 1000 * MS


def line_of(folded: Timeline, label: str = "cuda:0") -> Any:
    (line,) = (line for line in folded.devices if line.label == label)
    return line


def peak_of(points: list[time_series.Point]) -> int:
    return max(point.allocated_bytes.max or 0 for point in points)


def test_a_short_session_keeps_every_figure() -> None:
    session = MadeSession()
    for allocated in (1, 5, 3):
        session.allocated = allocated * MIB
        session.sample(device_total_bytes=100 * MIB)
        session.now_ns += 100 * MS
    folded = timeline(session.events)
    points = line_of(folded).series.points()
    assert [point.allocated_bytes.last for point in points] == [1 * MIB, 5 * MIB, 3 * MIB]
    assert [point.timestamp_ns for point in points] == [START_NS + at * 100 * MS for at in range(3)]
    assert points[0].total_bytes.last == 100 * MIB
    assert (folded.first_ns, folded.last_ns) == (START_NS, START_NS + 200 * MS)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=1, max_size=400))
def test_buckets_keep_every_peak_and_every_low(events: list[tuple[int, int]]) -> None:
    buckets = Buckets(16)
    for time_ns, value in events:
        buckets.add(time_ns, (value, None, None, None))
    points = buckets.points()
    assert len(points) <= 16
    assert max(point.allocated_bytes.max or 0 for point in points) == max(value for _, value in events)
    assert min(point.allocated_bytes.min or 0 for point in points) == min(value for _, value in events)
    assert max(point.timestamp_ns for point in points) == max(time_ns for time_ns, _ in events)
    assert all(point.used_bytes == Range(None, None, None) for point in points)
    assert [point.timestamp_ns for point in points] == sorted(point.timestamp_ns for point in points)


def test_a_spike_of_one_event_is_there_after_hours_and_after_thinning() -> None:
    whole = DeviceSeries()
    for at in range(200_000):
        spike = at == 77_777
        whole.add(START_NS + at * 100 * MS, (900 * MIB if spike else 10 * MIB, None, None, None))
    points = whole.points()
    assert len(points) <= time_series.WHOLE_BUCKETS + time_series.RECENT_BUCKETS
    assert peak_of(points) == peak_of(thinned(points, 100)) == 900 * MIB
    assert len(thinned(points, 100)) <= 100
    assert [point.timestamp_ns for point in points] == sorted({point.timestamp_ns for point in points})


def test_the_last_minutes_are_finer_than_the_hours_before() -> None:
    whole = DeviceSeries()
    for at in range(36_000):
        whole.add(START_NS + at * 100 * MS, (at, None, None, None))
    points = whole.points()
    steps = [after.timestamp_ns - before.timestamp_ns for before, after in itertools.pairwise(points)]
    assert steps[-1] <= 300 * MS
    assert steps[0] > SECOND
    assert len(whole.recent()) == time_series.RECENT_BUCKETS
    since = START_NS + 3599 * SECOND
    assert [point.timestamp_ns >= since for point in whole.points(since)] == [True] * len(whole.recent(since))


def test_a_clock_that_jumps_makes_no_empty_years() -> None:
    buckets = Buckets(8)
    for time_ns in (0, 2**62, 5, 2**62 + 7):
        buckets.add(time_ns, (1, None, None, None))
    assert len(buckets.points()) == 2


def test_what_was_not_measured_is_unknown_and_not_0() -> None:
    session = MadeSession()
    session.allocated = 7 * MIB
    session.sample()
    session.now_ns += SECOND
    session.sample(allocator_allocated_bytes=0)
    session.events[-1]["metadata"]["unavailable"] = ["allocator_allocated_bytes", "device_used_bytes"]
    last = line_of(timeline(session.events)).series.points()[-1]
    assert last.allocated_bytes == last.used_bytes == Range(None, None, None)
    assert last.reserved_bytes.last == 7 * MIB


def test_the_peak_names_its_phase() -> None:
    session = MadeSession()
    session.run("epoch", "forward", change=50 * MIB)
    session.run("epoch", "backward", change=-20 * MIB)
    peak = line_of(timeline(session.events)).peak
    assert peak is not None
    assert (peak.allocated_bytes, peak.path) == (50 * MIB, ("epoch", "forward"))


def test_bands_are_phases_with_their_thread() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    session.run("epoch", "forward", ms=3)
    folded = timeline(session.events)
    forward = next(band for band in folded.bands() if band.path == ("epoch", "forward"))
    assert (forward.start_ns, forward.end_ns, forward.status) == (START_NS, START_NS + 3 * MS, "ok")
    assert folded.threads == {forward.thread_id: "MainThread"}
    still = next(band for band in folded.bands() if band.path == epoch.path)
    assert (still.end_ns, still.status, still.thread_id) == (None, "open", forward.thread_id)


def test_of_many_bands_the_longest_the_latest_and_the_failed_are_kept() -> None:
    session = MadeSession()
    folded = Timeline()

    def take() -> None:
        while session.events:
            folded.add(session.events.pop(0))

    session.run("checkpoint", ms=5000)
    session.run("bad", ms=1, status="error", error_type="ValueError")
    for step in range(6000):
        session.run("step", ms=3 + step % 2)
        take()
    kept = folded.bands()
    names = [band.path[0] for band in kept]
    assert "checkpoint" in names
    assert "bad" in names
    assert len(kept) <= 2 * bands.LONGEST + bands.LATEST + bands.FAILED
    latest = sorted(band.start_ns for band in kept)[-bands.LATEST :]
    assert latest[-1] - latest[0] < bands.LATEST * 4 * MS
    assert folded.bands_dropped == 6002 - len(kept)
    recent = folded.bands(since_ns=session.now_ns - 20 * MS)
    assert 0 < len(recent) < 10


def test_strips_say_what_took_longest_where_bands_are_many() -> None:
    session, folded = MadeSession(), Timeline()
    for name, other, rounds in (("forward", "backward", 4000), ("evaluate", "save", 4000)):
        for _ in range(rounds):
            session.run(name, ms=70)
            session.run(other, ms=30)
            while session.events:
                folded.add(session.events.pop(0))
    strips = folded.strips()
    assert len(strips) <= bands.STRIP_BUCKETS
    assert [strip.path for strip in strips] == [("forward",), ("evaluate",)]
    assert strips[0].end_ns == strips[1].start_ns
    for strip in strips:
        assert strip.busy_ns / (strip.end_ns - strip.start_ns) == pytest.approx(0.7, abs=0.05)


def test_marks_are_bounded_and_say_what_happened() -> None:
    session = MadeSession()
    inside = session.enter("step")
    session.event(
        "error",
        context="OutOfMemoryError: no",
        metadata={"error_type": "OutOfMemoryError", "out_of_memory": True, "phase_scope": inside.scope()},
    )
    mark = timeline(session.events).marks[-1]
    assert (mark.event_type, mark.device, mark.path) == ("error", "cuda:0", ("step",))
    assert (mark.error_type, mark.out_of_memory) == ("OutOfMemoryError", True)
    for _ in range(2 * MAX_MARKS):
        session.event("warning", context="x" * 10_000)
    folded = timeline(session.events)
    assert len(folded.marks) == MAX_MARKS
    assert folded.to_dict()["marks_dropped"] == 2 * MAX_MARKS + 1 - MAX_MARKS
    assert all(len(mark.context or "") <= 500 for mark in folded.marks)


def test_a_timeline_is_plain_data() -> None:
    session = MadeSession()
    session.run("epoch", "forward", ms=3, change=5 * MIB)
    session.event("warning")
    told = json.loads(json.dumps(timeline(session.events).to_dict()))
    (device,) = told["devices"]
    assert device["label"] == "cuda:0"
    assert device["allocated_bytes"]["max"][-1] == 5 * MIB
    assert device["peak"]["path"] == ["epoch", "forward"]
    assert [band["path"] for band in told["bands"]] == [["epoch", "forward"]]
    assert [mark["event_type"] for mark in told["marks"]] == ["warning"]


def test_a_reader_gives_the_timeline_and_what_is_unread() -> None:
    with phasescope.start(backends=[FakeBackend("cuda", allocated=MIB)], interval_ms=3_600_000) as session:
        with session.reader() as reader:
            first = list(reader.unread())
            assert next(event["event_type"] for event in first) == "start"
            assert list(reader.unread()) == []
            with phase("forward"):
                pass
            assert [event["event_type"] for event in reader.unread()] == ["phase_enter", "phase_exit"]
            folded = reader.timeline()
    assert [band.path for band in folded.bands()] == [("forward",)]
    assert line_of(folded).peak.allocated_bytes == MIB


@given(st.lists(odd_events, max_size=8))
def test_odd_events_raise_nothing(events: list[dict[str, Any]]) -> None:
    json.dumps(timeline(events).to_dict())
