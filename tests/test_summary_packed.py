"""Summaries straight from a ring's packed events say just what the events themselves would."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from fakes.rings import CONSTANTS, MemoryRing
from phasescope.analysis.summary import Summary, summarize
from phasescope.codec import Raw, encode
from phasescope.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

BIG = 2**63


def by_events(reader: Reader) -> Summary:
    events = reader.events()
    return summarize(events, missed=reader.missed, damaged=reader.damaged)


def test_a_real_session_of_all_kinds_of_phases(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"], interval_ms=1, report_exceptions=[KeyError]) as session:
        leaked = phasescope.phase("leaked")
        leaked.__enter__()

        def work() -> None:
            for _ in phasescope.track(range(30), name="load"):
                with phasescope.phase("inner"), phasescope.phase("innermost", a=1):
                    pass

        thread = threading.Thread(target=work)
        thread.start()
        work()
        thread.join()
        with pytest.raises(KeyError), phasescope.phase("fails"):
            raise KeyError
        with session.reader() as reader:
            assert reader.summary().open >= 1
    with session.reader() as reader:
        summary = reader.summary()
        assert summary == by_events(reader)
        assert (summary.abandoned, summary.errors) == (1, 1)


def test_a_ring_that_has_come_round_and_begins_inside_of_phases(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"], capacity_bytes=64 * 1024) as session, phasescope.phase("outer"):
        for _ in range(1500):
            with phasescope.phase("step"), phasescope.phase("forward"):
                pass
    with session.reader() as reader:
        summary = reader.summary()
        assert summary == by_events(reader)
        assert summary.missed > 0


numbers = st.one_of(st.integers(0, 5), st.sampled_from([1000, BIG - 1, BIG, 2**64 - 1]))
devices = st.tuples(
    st.sampled_from(["cuda", "cpu"]),
    st.sampled_from([-1, 0, 1, -BIG]),
    numbers,
    st.none() | numbers,
    st.none() | numbers,
    st.sampled_from([0, 1, 0b11111]),
)
paths = st.lists(st.sampled_from(["a", "b", "é"]), min_size=0, max_size=4)
types = st.sampled_from(["phase_enter", "phase_exit", "phase_enter", "phase_exit", "sample", "error", "start", "odd"])


@st.composite
def packed_events(draw: st.DrawFn) -> tuple[Any, ...]:
    """An event as the ring holds it, not always as the profiler would write it; it may end after any field."""
    fields = (
        draw(types),
        draw(numbers),
        draw(devices),
        draw(numbers),
        draw(numbers),
        None,
        None,
        draw(st.integers(-5, 5)),
        None,
        draw(st.sampled_from([None, None, None, {"exhausted": True}, {"sampling_late_ns": 3}])),
        draw(st.integers(1, 9)),
        draw(st.none() | st.integers(1, 9)),
        draw(st.none() | st.integers(1, 9)),
        (1, "MainThread"),
        draw(paths),
        draw(st.none() | st.just({"index": 1})),
        draw(st.none() | numbers),
        draw(st.sampled_from(["ok", "ok", "error", "abandoned", "strange"])),
        draw(st.none() | st.just("ValueError")),
        draw(st.none() | st.integers(-9, 9) | st.sampled_from([BIG - 1, -BIG])),
        draw(st.none() | numbers),
    )
    return fields[: draw(st.sampled_from([8, 11, 15, 19, 21, 21, 21]))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(packed_events(), max_size=40), st.lists(st.binary(max_size=8), max_size=2))
def test_whatever_a_ring_holds(events: list[tuple[Any, ...]], broken: list[bytes]) -> None:
    ring = MemoryRing(constants=CONSTANTS)
    for fields in events:
        ring.writer.append(encode(fields))
    for payload in broken:
        ring.writer.append(bytes(Raw(payload)))
    reader = Reader(ring.read, lambda: ring.layout.size, None)
    assert reader.summary() == by_events(reader)
