"""Backends that fail, come late, contradict themselves or are not there: said once, never raised, never made up."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import BackendUnavailableError, _log, phase
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.capture import backend_selection
from phasescope.capture.collector import ALLOCATED_UNKNOWN, CollectorHealth
from phasescope.capture.collectors import Collectors
from phasescope.testing import FakeBackend, sample
from support.assertions import events_of, exit_of, only, scopes
from support.fakes.failing import FailingBackend, FakeDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session
    from phasescope.testing import FakeClock

pytestmark = pytest.mark.neutral

SECOND = 1_000_000_000
ALLOCATOR = [
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "allocator_active_bytes",
    "allocator_inactive_bytes",
    "allocator_change_bytes",
]
FIGURES = ["device_used_bytes", "device_free_bytes", "device_total_bytes"]


@pytest.fixture
def backend() -> FailingBackend:
    return FailingBackend(allocated=100, active=90, inactive=10, used=600, free=400, total=1000)


@pytest.fixture
def session(backend: FailingBackend, clock: FakeClock) -> Iterator[Session]:
    with phasescope.start(backends=[backend], clock=clock, interval_ms=3_600_000) as session:
        yield session


def health_events(session: Session) -> list[tuple[str, str]]:
    """What was said of sources: (degraded or recovered, the line for a person)."""
    kinds = {"collector_degraded": "degraded", "collector_recovered": "recovered"}
    return [(kinds[e["event_type"]], e["context"]) for e in events_of(session) if e["event_type"] in kinds]


def of_cuda(session: Session, event_type: str) -> list[dict[str, Any]]:
    return [event for event in events_of(session, event_type) if event["collector"] == "phasescope.cuda"]


def test_a_backend_that_answers_leaves_nothing_unknown(session: Session) -> None:
    with phase("step"):
        pass
    leave = only(session, "phase_exit")
    assert "unavailable" not in leave["metadata"]
    assert [leave[key] for key in (*ALLOCATOR, *FIGURES)] == [100, 100, 90, 10, 0, 600, 400, 1000]
    assert leave["metadata"]["phase_scope"]["allocated_delta_bytes"] == 0


def test_a_backend_that_always_fails_is_degraded_once_and_unknown(
    session: Session, backend: FailingBackend, clock: FakeClock
) -> None:
    backend.failing = {"allocator"}
    for _ in range(50):
        with phase("step"):
            clock.advance(ms=1)
    assert health_events(session) == [("degraded", "cuda stopped answering: Broken: no allocator")]
    assert session.degraded == 1
    for event in of_cuda(session, "phase_exit"):
        assert event["metadata"]["unavailable"] == ALLOCATOR
        assert [event[key] for key in ALLOCATOR] == [0, 0, None, None, 0]
        assert [event[key] for key in FIGURES] == [600, 400, 1000]
        assert "allocated_delta_bytes" not in event["metadata"]["phase_scope"]
        assert event["metadata"]["phase_scope"]["duration_ns"] == 1_000_000


def test_a_failing_backend_is_asked_again_with_growing_pauses(
    session: Session, backend: FailingBackend, clock: FakeClock
) -> None:
    backend.failing = {"allocator"}
    asked_at = []
    for second in range(300):
        before = backend.calls["allocator"]
        sample(session)
        with phase("step"):
            pass
        if backend.calls["allocator"] > before:
            asked_at.append(second)
        clock.advance(ms=1000)
    assert asked_at == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert len(health_events(session)) == 1


def test_a_backend_that_recovers_says_so_once(session: Session, backend: FailingBackend, clock: FakeClock) -> None:
    backend.failing = {"allocator"}
    with phase("dark"):
        pass
    backend.failing = set()
    with phase("still dark"):
        pass
    clock.advance(ms=1000)
    sample(session)
    with phase("bright"):
        backend.allocate(11)
    for _ in range(5):
        sample(session)
    assert health_events(session) == [
        ("degraded", "cuda stopped answering: Broken: no allocator"),
        ("recovered", "cuda answers again"),
    ]
    bright = exit_of(session, "bright")
    assert bright["allocator_allocated_bytes"] == 111
    assert bright["metadata"]["phase_scope"]["allocated_delta_bytes"] == 11
    assert "allocated_delta_bytes" not in exit_of(session, "still dark")["metadata"]["phase_scope"]


def test_an_allocator_that_fails_at_the_enter_only(session: Session, backend: FailingBackend, clock: FakeClock) -> None:
    backend.failing = {"allocator"}
    with phase("step"):
        backend.failing = set()
        clock.advance(ms=1000)
        sample(session)
    leave = exit_of(session, "step")
    assert leave["allocator_allocated_bytes"] == 100
    assert "unavailable" not in leave["metadata"]
    assert "allocated_delta_bytes" not in leave["metadata"]["phase_scope"]
    assert [kind for kind, _ in health_events(session)] == ["degraded", "recovered"]


def test_an_allocator_that_fails_at_the_exit_only(session: Session, backend: FailingBackend) -> None:
    with phase("step"):
        backend.failing = {"allocator"}
    enter, leave = only(session, "phase_enter"), only(session, "phase_exit")
    assert enter["allocator_allocated_bytes"] == 100
    assert "unavailable" not in enter["metadata"]
    assert leave["metadata"]["unavailable"] == ALLOCATOR
    assert "allocated_delta_bytes" not in leave["metadata"]["phase_scope"]


def test_a_failing_current_device_leaves_the_last_one_and_no_counters(
    session: Session, backend: FailingBackend, clock: FakeClock
) -> None:
    backend.failing = {"current_device"}
    with phase("step"):
        pass
    leave = exit_of(session, "step")
    assert leave["device_id"] == 0
    assert leave["metadata"]["unavailable"] == ALLOCATOR
    backend.failing = set()
    clock.advance(ms=1000)
    sample(session)
    with phase("later"):
        pass
    assert "unavailable" not in exit_of(session, "later")["metadata"]
    assert [kind for kind, _ in health_events(session)] == ["degraded", "recovered"]


def test_a_failing_list_of_devices(session: Session, backend: FailingBackend, clock: FakeClock) -> None:
    backend.failing = {"devices"}
    for _ in range(3):
        sample(session)
        clock.advance(ms=100)
    assert health_events(session) == [("degraded", "cuda stopped answering: Broken: no devices")]
    backend.failing = set()
    clock.advance(ms=1000)
    sample(session)
    assert [kind for kind, _ in health_events(session)] == ["degraded", "recovered"]
    assert "unavailable" not in of_cuda(session, "sample")[-1]["metadata"]


def test_failing_figures_leave_the_allocator_known(session: Session, backend: FailingBackend, clock: FakeClock) -> None:
    backend.failing = {"device"}
    for _ in range(3):
        sample(session)
        with phase("step"):
            backend.allocate(1)
    assert health_events(session) == [("degraded", "cuda's view of its devices stopped answering: Broken: no device")]
    for event in (*of_cuda(session, "sample")[-2:], *of_cuda(session, "phase_exit")):
        assert event["metadata"]["unavailable"] == FIGURES
        assert [event[key] for key in FIGURES] == [0, None, None]
        assert event["allocator_allocated_bytes"] >= 100
    assert [scope["allocated_delta_bytes"] for scope in scopes(session)] == [1, 1, 1]
    backend.failing = set()
    clock.advance(ms=1000)
    sample(session)
    assert "unavailable" not in of_cuda(session, "sample")[-1]["metadata"]
    assert [kind for kind, _ in health_events(session)] == ["degraded", "recovered"]


def test_what_fails_and_answers_by_turns_is_heard_of_ever_less(
    session: Session, backend: FailingBackend, clock: FakeClock
) -> None:
    """The sampler's thread can read it, the training's cannot: without memory this would be two events a second."""
    for _ in range(600):
        backend.failing = set()
        sample(session)
        backend.failing = {"allocator"}
        with phase("step"):
            pass
        clock.advance(ms=500)
    assert 5 <= len([kind for kind, _ in health_events(session) if kind == "degraded"]) <= 12


def test_pauses_grow_and_start_anew_after_a_minute_of_health() -> None:
    health, now = CollectorHealth(), 0
    pauses = []
    for _ in range(8):
        health.fail(now)
        pauses.append((health.retry_at_ns - now) // SECOND)
        assert not health.due(health.retry_at_ns - 1)
        now = health.retry_at_ns
        assert health.due(now)
        assert health.recover(now)
        assert not health.recover(now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    health.fail(now + 60 * SECOND)
    assert health.retry_at_ns == now + 61 * SECOND


def test_each_cause_is_one_log_line(
    session: Session,
    backend: FailingBackend,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_log, "_said", set())
    with caplog.at_level(logging.WARNING, "phasescope"):
        for _ in range(20):
            backend.failing = {"allocator"}
            with phase("step"):
                pass
            backend.failing = set()
            clock.advance(ms=61_000)
            sample(session)
    assert len([kind for kind, _ in health_events(session) if kind == "degraded"]) == 20
    assert [record.getMessage() for record in caplog.records] == ["cuda stopped answering: Broken: no allocator"]


def test_a_log_handler_that_raises_harms_nobody(session: Session, backend: FailingBackend) -> None:
    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise Broken

    class Broken(Exception):
        pass

    handler = Handler()
    _log.logger.addHandler(handler)
    try:
        backend.failing = {"allocator", "device"}
        with phase("step"):
            pass
        sample(session)
    finally:
        _log.logger.removeHandler(handler)
    assert exit_of(session, "step")["metadata"]["unavailable"] == ALLOCATOR
    assert session.dropped == 0


@pytest.mark.parametrize(
    ("figures", "said", "unknown"),
    [
        ((600, 400, 1000), (600, 400, 1000), []),
        ((1001, 400, 1000), (0, 400, 1000), ["device_used_bytes"]),
        ((600, 1001, 1000), (600, None, 1000), ["device_free_bytes"]),
        ((-1, -1, 1000), (0, None, 1000), ["device_used_bytes", "device_free_bytes"]),
        ((600, 400, -1), (600, 400, None), ["device_total_bytes"]),
        ((None, None, None), (0, None, None), FIGURES),
        ((0, 0, 0), (0, 0, 0), []),
        ((None, 400, 1000), (0, 400, 1000), ["device_used_bytes"]),
    ],
)
def test_figures_that_contradict_each_other_are_unknown(
    session: Session,
    backend: FailingBackend,
    figures: tuple[int | None, ...],
    said: tuple[int | None, ...],
    unknown: list[str],
) -> None:
    backend.figures = DeviceCounters(*figures)
    sample(session)
    event = of_cuda(session, "sample")[-1]
    assert tuple(event[key] for key in FIGURES) == said
    assert event["metadata"].get("unavailable", []) == unknown


def test_counters_that_a_backend_never_measures_are_unavailable() -> None:
    with phasescope.start(backends=[FakeBackend("mps", allocated=5)]) as session, phase("step"):
        pass
    leave = exit_of(session, "step")
    assert leave["metadata"]["unavailable"] == ["allocator_active_bytes", "allocator_inactive_bytes", *FIGURES]
    assert leave["metadata"]["phase_scope"]["allocated_delta_bytes"] == 0


def test_a_backend_that_becomes_ready_in_the_middle_of_the_run(backend: FailingBackend) -> None:
    backend.is_ready = False
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        with phase("before"):
            pass
        with phase("across"):
            backend.is_ready = True
            with phase("inside"):
                backend.allocate(1)
        sample(session)
    assert exit_of(session, "before")["collector"] == "phasescope.cpu"
    assert exit_of(session, "across")["collector"] == "phasescope.cpu"  # it speaks of one device from end to end
    inside = exit_of(session, "across/inside")
    assert inside["collector"] == "phasescope.cuda"
    assert inside["metadata"]["phase_scope"]["allocated_delta_bytes"] == 1
    assert len(of_cuda(session, "sample")) == 1
    assert session.reader().constants["backends"] == ["cuda", "cpu"]


def test_a_backend_that_fails_to_say_whether_it_is_ready_is_not(backend: FailingBackend) -> None:
    backend.failing = {"ready"}
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        with phase("step"):
            pass
        backend.failing = set()
        with phase("later"):
            pass
    assert exit_of(session, "step")["collector"] == "phasescope.cpu"
    assert exit_of(session, "later")["collector"] == "phasescope.cuda"
    assert session.degraded == 0


def test_the_host_is_sampled_beside_the_devices(session: Session) -> None:
    collectors = {event["collector"] for event in events_of(session, "sample")}
    assert collectors == {"phasescope.cuda", "phasescope.cpu"}


def test_phases_speak_of_the_current_device_and_samples_of_all() -> None:
    backend = FakeBackend("cuda", devices=[0, 1, 2])
    with phasescope.start(backends=[backend, FakeBackend()], interval_ms=3_600_000) as session:
        backend.selected_device = 2
        with phase("step"):
            backend.allocate(5)
            backend.selected_device = 0
            backend.allocate(100)
        sample(session)
    leave = exit_of(session, "step")
    assert (leave["device_id"], leave["metadata"]["phase_scope"]["allocated_delta_bytes"]) == (2, 5)
    samples = [
        (e["collector"][11:], e["device_id"], e["allocator_allocated_bytes"]) for e in events_of(session, "sample")
    ]
    assert samples[-4:] == [("cuda", 0, 100), ("cuda", 1, 0), ("cuda", 2, 5), ("cpu", -1, 0)]


@pytest.mark.parametrize(("devices", "sampled", "spoken_of"), [(1, [1], 1), ([2, 1], [1, 2], 2), ([0, 7], [0], 0)])
def test_devices_selects(devices: Any, sampled: list[int], spoken_of: int) -> None:
    backend = FakeBackend("cuda", devices=[0, 1, 2])
    with phasescope.start(backends=[backend], devices=devices, interval_ms=3_600_000) as session, phase("step"):
        pass
    assert sorted({event["device_id"] for event in of_cuda(session, "sample")}) == sampled
    assert exit_of(session, "step")["device_id"] == spoken_of
    assert "phasescope.cpu" in {event["collector"] for event in events_of(session, "sample")}


def test_the_change_is_since_the_event_before_of_the_same_device() -> None:
    backend = FakeBackend("cuda", devices=[0, 1])
    with phasescope.start(backends=[backend, FakeBackend()], interval_ms=3_600_000) as session:
        backend.allocate(10)
        with phase("a"):
            backend.selected_device = 1
            backend.allocate(5)
            with phase("b"):
                backend.allocate(-2)
    changes = [(e["device_id"], e["allocator_change_bytes"]) for e in events_of(session) if "phase_" in e["event_type"]]
    assert changes == [(0, 10), (1, 5), (1, -2), (0, 0)]


GPU = DeviceIdentity(uuid="GPU-1")


def joined(backend: FailingBackend, driver: FakeDriver, said: list[str]) -> Collectors:
    return Collectors([backend], [driver], None, lambda: 0, lambda kind, _, text: said.append(f"{kind}: {text}"))


def test_a_drivers_figures_come_before_the_frameworks_own(backend: FailingBackend) -> None:
    backend.identities = {0: GPU}
    driver, said = FakeDriver({GPU: DeviceCounters(700, None, 1000)}), list[str]()
    found = joined(backend, driver, said)
    ((state, _),) = found.sample()
    assert state.figures == (700, 400, 1000)
    assert said == []


def test_a_driver_that_does_not_know_the_device_leaves_the_frameworks_own(backend: FailingBackend) -> None:
    for backend.identities in ({}, {0: DeviceIdentity(uuid="GPU-2")}):
        ((state, _),) = joined(backend, FakeDriver({GPU: DeviceCounters(1, 1, 2)}), []).sample()
        assert state.figures == (600, 400, 1000)


def test_a_driver_that_fails_is_said_once_and_the_allocator_stays_known(backend: FailingBackend) -> None:
    backend.identities = {0: GPU}
    driver, said = FakeDriver({GPU: DeviceCounters(700, 300, 1000)}), list[str]()
    driver.is_broken = True
    found = joined(backend, driver, said)
    for _ in range(5):
        ((state, counters),) = found.sample()
        assert state.figures == (600, 400, 1000)
        assert counters[:4] == (100, 100, 90, 10)
    assert driver.calls == 1
    assert said == ["collector_degraded: driver stopped answering: Broken: no driver"]


def test_all_that_was_opened_is_closed_and_one_that_can_not_close_stops_nobody() -> None:
    closed = []

    class Closing(FakeBackend):
        def close(self) -> None:
            closed.append(self.name)
            raise OSError

    phasescope.start(backends=[Closing("cuda"), Closing("mps"), FakeBackend()]).stop()
    assert sorted(closed) == ["cuda", "mps"]


@pytest.mark.parametrize(
    ("backends", "error", "says"),
    [
        ("cuda", ValueError, r'backends must be "auto" or a list, e\.g\. \["cuda"\]'),
        ("", ValueError, "backends"),
        (7, TypeError, "backends"),
        (None, TypeError, "backends"),
        ([], ValueError, "backends"),
        (["no such"], ValueError, 'backends: there is no "no such"; known are cpu, cuda, jax'),
        (["auto"], ValueError, "backends"),
        ([7], TypeError, "backends: a int is neither"),
        ([object()], TypeError, "it has no ready, devices"),
        ([FakeBackend], TypeError, "backends"),
        (["cpu", "cpu"], ValueError, 'backends: "cpu" is there more than once'),
        ([FakeBackend(), "cpu"], ValueError, "more than once"),
        ([FakeBackend(" ")], TypeError, "the name of a FakeBackend"),
    ],
)
def test_a_wrong_backend_raises_at_once_naming_it(backends: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        phasescope.start(backends=backends)
    assert phasescope.current() is None


def test_a_backend_whose_counters_are_unknown_names_is_refused() -> None:
    backend = FakeBackend("cuda")
    backend.unavailable = ("no_such_bytes",)
    with pytest.raises(TypeError, match="unavailable"):
        phasescope.start(backends=[backend])


@pytest.mark.skipif("torch" in sys.modules and sys.modules["torch"].cuda.is_available(), reason="there is a device")
@pytest.mark.parametrize("name", ["cuda", "rocm"])
def test_a_backend_asked_for_that_can_not_work_says_why_and_what_helps(name: str) -> None:
    torch = pytest.importorskip("torch")
    if torch.backends.cuda.is_built() and name == "cuda":
        pytest.skip("this torch may have a device")
    with pytest.raises(BackendUnavailableError, match=f'backends: "{name}" cannot work here') as caught:
        phasescope.start(backends=[name])
    assert "built for the CPU only" in str(caught.value)
    assert "install a build" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_auto_is_silent_about_what_can_not_work(capfd: pytest.CaptureFixture[str]) -> None:
    with phasescope.start() as session, phase("step"):
        pass
    assert exit_of(session, "step")["collector"] == "phasescope.cpu"
    assert health_events(session) == []
    assert capfd.readouterr() == ("", "")


def test_the_host_for_real(clock: FakeClock) -> None:
    with phasescope.start(backends=["cpu"], clock=clock) as session:
        with phase("allocate"):
            held = bytearray(b"\x01") * (64 * 2**20)
        del held
    leave = exit_of(session, "allocate")
    assert leave["device_id"] == -1
    assert leave["metadata"]["unavailable"] == ["allocator_active_bytes", "allocator_inactive_bytes"]
    assert leave["metadata"]["phase_scope"]["allocated_delta_bytes"] > 50 * 2**20
    assert 0 < leave["device_used_bytes"] <= leave["device_total_bytes"]
    assert ALLOCATED_UNKNOWN == 1


def test_a_source_that_can_not_be_imported_is_left_out_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no descriptor left, or half an installation, a session must still begin."""
    real = backend_selection.load

    def load(path: str) -> Any:
        if "torch_cuda" in path or "nvml" in path:
            raise OSError(24, "Too many open files")
        return real(path)

    monkeypatch.setattr(backend_selection, "load", load)
    with phasescope.start() as session:
        assert "cuda" not in session.reader().constants["backends"]
        assert "cpu" in session.reader().constants["backends"]
