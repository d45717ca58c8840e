"""start(device_time=True): how long the device worked on each phase, looked up later and never waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.capture.measurements import MAX_PENDING, DeviceTimer
from phasescope.testing import FakeBackend, sample
from support.assertions import events_of, scopes
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend("cuda", allocated=2**20)


@pytest.fixture
def session(backend: FakeBackend) -> Iterator[Session]:
    with phasescope.start(backends=[backend], device_time=True, interval_ms=3_600_000) as session:
        yield session


def device_times(session: Session) -> list[dict[str, Any]]:
    return [entry for event in events_of(session, "device_time") for entry in event["metadata"]["device_times"]]


def test_each_phase_gets_its_time_tied_by_its_scope(session: Session, backend: FakeBackend) -> None:
    with phase("step"):
        with phase("forward"):
            backend.work(3)
        with phase("backward"):
            backend.work(6)
    sample(session)
    found = device_times(session)
    assert [("/".join(entry["path"]), entry["duration_ns"]) for entry in found] == [
        ("step/forward", 3_000_000),
        ("step/backward", 6_000_000),
        ("step", 9_000_000),
    ]
    assert [entry["scope_id"] for entry in found] == [scope["scope_id"] for scope in scopes(session)]


def test_a_queue_that_is_full_keeps_no_other_thread_from_writing() -> None:
    locks: list[Any] = []
    free: list[bool] = []

    class Full(FakeBackend):
        def time_mark(self, device: int) -> float:
            def take() -> None:
                free.append(locks[0].acquire(timeout=CEILING_S))
                locks[0].release()

            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
            return super().time_mark(device)

    with phasescope.start(backends=[Full("cuda")], device_time=True, interval_ms=3_600_000) as session:
        locks.append(session._writer.lock)
        with phase("forward"):
            pass
    assert free == [True, True]


def test_what_the_device_is_not_done_with_is_not_waited_for(session: Session, backend: FakeBackend) -> None:
    backend.is_busy = True
    with phase("forward"):
        backend.work(3)
    sample(session)
    assert device_times(session) == []
    backend.is_busy = False
    sample(session)
    assert [entry["duration_ns"] for entry in device_times(session)] == [3_000_000]


def test_what_is_done_when_the_session_stops_is_still_written(backend: FakeBackend) -> None:
    session = phasescope.start(backends=[backend], device_time=True, interval_ms=3_600_000)
    with phase("forward"):
        backend.work(2)
    session.stop()
    assert [entry["duration_ns"] for entry in device_times(session)] == [2_000_000]


def test_the_summary_adds_it_up(session: Session, backend: FakeBackend) -> None:
    for ms in (2, 4):
        with phase("forward"):
            backend.work(ms)
    sample(session)
    row = session.summary().rows[0]
    assert row.device_time_ns == 6_000_000
    assert row.count == 2
    title, line = str(session.summary()).splitlines()[3:5]
    assert title.endswith("on device")
    assert line.endswith("6.00 ms")


def test_without_the_option_no_mark_is_made(backend: FakeBackend) -> None:
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        with phase("forward"):
            backend.work(3)
        sample(session)
        assert device_times(session) == []


def test_many_phases_fit_as_many_events_as_they_need(session: Session) -> None:
    for _ in range(500):
        with phase("a phase with a name that is rather long, as some are"):
            pass
    sample(session)
    assert len(device_times(session)) == 500
    assert session.dropped == 0


def test_a_device_that_hangs_costs_bounded_memory() -> None:
    backend = FakeBackend("cuda")
    backend.is_busy = True
    timer = DeviceTimer(backend.time_mark, backend.time_between, 0)

    class Scope:
        enter_sequence = 1

        class phase_path:  # noqa: N801
            names = ("forward",)

    scope: Any = Scope
    for _ in range(MAX_PENDING + 7):
        timer.ended(scope, timer.mark(), timer.mark())
    assert timer.unresolved == 7
    backend.is_busy = False
    assert sum(map(len, timer.resolved("s"))) == MAX_PENDING


def test_a_failing_device_is_not_asked_again(session: Session, backend: FakeBackend) -> None:
    with phase("forward"):
        backend.fail_with = RuntimeError("the device is lost")
    backend.fail_with = None
    sample(session)
    assert device_times(session) == []
    assert session.dropped == 0


def test_that_times_ended_is_said_once_with_the_reason_and_the_sum_is_called_a_part(
    session: Session, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(device: int) -> float:
        raise NotImplementedError("HIP 6.4 may break a graph that is being captured")

    with phase("forward"):
        backend.work(3)
    monkeypatch.setattr(backend, "time_mark", ended)
    session._collectors.boundary.states[0].measures.timer._mark = ended  # type: ignore[union-attr]
    for _ in range(3):
        with phase("forward"):
            backend.work(3)
        sample(session)
    (event,) = events_of(session, "collector_degraded")
    assert event["context"] == (
        "cuda has no device times any more: NotImplementedError: HIP 6.4 may break a graph that is being captured"
    )
    row = session.summary().rows[0]
    assert (row.count, row.device_timed, row.device_time_ns) == (4, 1, 3_000_000)
    assert "≥3.00 ms" in str(session.summary())
    assert "≥ on device: not of all entries" in str(session.summary())


def test_a_backend_that_is_down_takes_its_times_with_it_without_another_word(
    session: Session, backend: FakeBackend
) -> None:
    backend.fail_with = RuntimeError("the device is lost")
    with phase("forward"):
        pass
    sample(session)
    (event,) = events_of(session, "collector_degraded")
    assert event["context"] == "cuda stopped answering: RuntimeError: the device is lost"
