"""The sampler: one thread, a steady period by the monotonic clock, and nothing that ends it but stop()."""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _log, phase
from phasescope.testing import FakeBackend, sample
from support.assertions import events_of
from support.fakes.failing import FailingBackend
from support.fakes.processes import in_forked_child
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session
    from phasescope.testing import FakeClock

pytestmark = pytest.mark.neutral

MS = 1_000_000


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(allocated=5)


@pytest.fixture
def session(backend: FakeBackend, clock: FakeClock) -> Iterator[Session]:
    with phasescope.start(backends=[backend], clock=clock, interval_ms=100) as session:
        yield session


def samples(session: Session) -> list[dict[str, Any]]:
    return events_of(session, "sample")


def late_ms(session: Session) -> list[float]:
    return [event["metadata"]["sampling_late_ns"] / MS for event in samples(session)]


def samplers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "phasescope-sampler"]


def tell_when_sampled(session: Session, clock: FakeClock, ms: float) -> list[float]:
    """Let so much time pass and wait for the sample that it brings; how late all samples came."""
    before = len(samples(session))
    clock.advance(ms=ms)
    until(lambda: len(samples(session)) > before)
    return late_ms(session)


# --- period and lateness ---------------------------------------------------------------------------------------------


def test_the_first_sample_is_there_when_start_returns(session: Session) -> None:
    (sample,) = samples(session)
    assert sample["allocator_allocated_bytes"] == 5
    assert sample["sampling_interval_ms"] == 100
    assert late_ms(session) == [0]


def test_each_period_brings_one_sample(session: Session, clock: FakeClock, backend: FakeBackend) -> None:
    for number in range(1, 6):
        backend.set(number)
        assert tell_when_sampled(session, clock, 100) == [0] * (number + 1)
    assert [event["allocator_allocated_bytes"] for event in samples(session)] == [5, 1, 2, 3, 4, 5]
    begin = samples(session)[0]["timestamp_ns"]
    assert [(event["timestamp_ns"] - begin) / MS for event in samples(session)] == [0, 100, 200, 300, 400, 500]


def test_before_the_period_is_over_nothing_is_sampled(session: Session, clock: FakeClock) -> None:
    clock.advance(ms=99.999)
    assert not session._sampler._stop.wait(0.05), "time for the sampler to be wrong"
    assert len(samples(session)) == 1
    assert tell_when_sampled(session, clock, 0.001) == [0, 0]


def test_how_late_a_sample_came_is_in_it(session: Session, clock: FakeClock) -> None:
    assert tell_when_sampled(session, clock, 130) == [0, 30]


def test_a_late_sample_does_not_move_the_ones_after_it(session: Session, clock: FakeClock) -> None:
    tell_when_sampled(session, clock, 130)
    assert tell_when_sampled(session, clock, 70) == [0, 30, 0]


def test_periods_that_went_by_are_left_out_and_not_made_up_for(session: Session, clock: FakeClock) -> None:
    assert tell_when_sampled(session, clock, 1030) == [0, 930]
    assert tell_when_sampled(session, clock, 70) == [0, 930, 0]
    assert not session._sampler._stop.wait(0.05), "time for a burst"
    assert len(samples(session)) == 3


def test_a_thread_that_is_slow_to_come_up_is_late_too(backend: FakeBackend, clock: FakeClock) -> None:
    with phasescope.start(backends=[backend], clock=clock, interval_ms=10) as session:
        clock.advance(ms=25)
        until(lambda: len(samples(session)) == 2)
    assert late_ms(session) == [0, 15]


# --- a wall clock that jumps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_wall_clock_that_jumps_brings_no_sample_and_holds_none_up(
    session: Session, clock: FakeClock, seconds: float
) -> None:
    tell_when_sampled(session, clock, 100)
    clock.jump(seconds=seconds)
    assert not session._sampler._stop.wait(0.05), "time for the sampler to be wrong"
    assert len(samples(session)) == 2
    assert tell_when_sampled(session, clock, 100) == [0, 0, 0]


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_after_a_jump_events_carry_the_new_time_and_durations_the_true_one(
    session: Session, clock: FakeClock, seconds: float
) -> None:
    with phase("across"):
        clock.advance(ms=50)
        clock.jump(seconds=seconds)
        tell_when_sampled(session, clock, 50)
        until(lambda: session.reader().heartbeat_ns == clock.wall_ns())
        clock.advance(ms=7)
    (scope,) = events_of(session, "phase_exit")
    assert scope["timestamp_ns"] == clock.wall_ns()
    assert scope["metadata"]["phase_scope"]["duration_ns"] == 107 * MS


def test_a_clock_that_is_a_little_off_is_not_followed(session: Session, clock: FakeClock) -> None:
    wall_ns = clock.wall_ns()
    clock.jump(seconds=0.009)
    tell_when_sampled(session, clock, 100)
    with phase("step"):
        pass
    assert events_of(session, "phase_exit")[0]["timestamp_ns"] == wall_ns + 100 * MS


# --- the thread ------------------------------------------------------------------------------------------------------


def test_it_is_one_daemon_thread(session: Session) -> None:
    (thread,) = samplers()
    assert thread.daemon
    assert phasescope.start(backends=session.options.backends, clock=session.options.clock) is session
    assert samplers() == [thread]


def test_stop_ends_it_without_waiting_for_the_period(backend: FakeBackend) -> None:
    with phasescope.start(backends=[backend], interval_ms=3_600_000):
        assert len(samplers()) == 1
        begin = time.monotonic()
    assert samplers() == []
    assert time.monotonic() - begin < CEILING_S


def test_each_session_has_its_own(backend: FakeBackend, clock: FakeClock) -> None:
    threads = []
    for _ in range(3):
        with phasescope.start(backends=[backend], clock=clock) as session:
            threads += samplers()
            tell_when_sampled(session, clock, 100)
            assert late_ms(session) == [0, 0]
    assert len(set(threads)) == 3
    assert not any(thread.is_alive() for thread in threads)


def test_a_backend_that_holds_the_thread_does_not_hold_up_stop(clock: FakeClock) -> None:
    entered, let_go = threading.Event(), threading.Event()

    class Stuck(FakeBackend):
        def devices(self) -> Any:
            if threading.current_thread().name == "phasescope-sampler":
                entered.set()
                let_go.wait(CEILING_S)
            return super().devices()

    session = phasescope.start(backends=[Stuck()], clock=clock)
    clock.advance(ms=100)
    assert entered.wait(CEILING_S)
    session.stop()
    assert session.reader().state == "stopped"
    written = session.written
    let_go.set()
    until(lambda: not samplers())
    assert session.written == written
    assert events_of(session)[-1]["event_type"] == "stop"


def test_without_a_thread_the_session_goes_on_without_samples(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_log, "_said", set())

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with caplog.at_level(logging.WARNING, "phasescope"), phasescope.start(backends=[backend]) as session:
        with phase("step"):
            pass
    assert [event["event_type"] for event in events_of(session)] == [
        *("start", "sample", "phase_enter", "phase_exit", "sample", "stop")
    ]
    said = [record.getMessage() for record in caplog.records]
    assert said.count("no samples between phases: can't start new thread") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_no_sampler_and_its_parents_goes_on(session: Session, clock: FakeClock) -> None:
    def child() -> list[int]:
        written = session.written
        clock.advance(ms=1000)
        time.sleep(0.05)
        sample(session)
        return [len(samplers()), session.written - written]

    assert in_forked_child(child) == [0, 0]
    assert tell_when_sampled(session, clock, 100) == [0, 0]
    assert len(samplers()) == 1


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.fixture
def failing() -> FailingBackend:
    return FailingBackend("cpu")


@pytest.mark.parametrize("what", ["devices", "allocator", "device", "ready"])
def test_a_backend_that_raises_does_not_end_it(failing: FailingBackend, clock: FakeClock, what: str) -> None:
    with phasescope.start(backends=[failing], clock=clock) as session:
        failing.failing.add(what)
        for _ in range(3):
            tick = session.reader().heartbeat_ns
            clock.advance(ms=100)
            until(lambda tick=tick: session.reader().heartbeat_ns > tick)  # type: ignore[misc]
        failing.failing.clear()
        clock.advance(ms=60_000)
        before = len(samples(session))
        tell_when_sampled(session, clock, 100)
        assert len(samples(session)) > before
        assert len(samplers()) == 1
    assert session.dropped == 0


def test_what_fails_in_a_round_is_counted_and_the_next_one_comes(
    session: Session, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise OSError("anything")

    with monkeypatch.context() as patch:
        patch.setattr(session._collectors, "sample", broken)
        clock.advance(ms=100)
        until(lambda: session.dropped == 1)
    tell_when_sampled(session, clock, 100)
    assert session.dropped == 1


def test_a_session_without_devices_still_shows_that_it_is_alive(clock: FakeClock) -> None:
    nothing = FakeBackend(devices=[])
    with phasescope.start(backends=[nothing], clock=clock) as session:
        clock.advance(ms=100)
        until(lambda: session.reader().heartbeat_ns == clock.wall_ns())
        assert samples(session) == []


# --- for real --------------------------------------------------------------------------------------------------------


def test_a_real_session_samples_the_real_process_every_100_ms() -> None:
    begin = time.perf_counter()
    with phasescope.start(backends=["cpu"], interval_ms=100) as session:
        with phase("work"):
            # New pages: what is allocated may be given memory that tests before have left resident in the heap.
            with mmap.mmap(-1, 64 * 2**20) as kept:
                kept.write(b"x" * len(kept))
                until(lambda: len(samples(session)) >= 6)
    elapsed_ms = (time.perf_counter() - begin) * 1000
    taken = [event["allocator_allocated_bytes"] for event in samples(session)]
    assert (len(taken) - 2) * 100 <= elapsed_ms, "none came early, but the first and the last"
    assert max(taken) - taken[0] > 48 * 2**20
    assert all(ms >= 0 for ms in late_ms(session))
    inside = [event for event in samples(session) if "phase_scope" in event["metadata"]]
    assert {tuple(event["metadata"]["phase_scope"]["path"]) for event in inside} == {("work",)}
    assert len(inside) >= 4
