"""What holds for every vendor's backend alike, from its fake through a session to the events."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase, project_telemetry_mapping
from phasescope.backends.cpu import Cpu
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.backends.torch_cuda import Cuda
from phasescope.testing import sample
from support.assertions import Event, events_of, exit_of
from support.fakes import vendors
from support.fakes.failing import FakeDriver

if TYPE_CHECKING:
    from phasescope import Session
    from phasescope.testing import FakeClock
    from support.fakes.vendors import Vendor

MIB = 2**20
pytestmark = pytest.mark.neutral
WITH_PEAKS = ("cuda", "rocm", "xpu", "mps", "tensorflow")


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own drivers know none of these devices, and would say so."""
    monkeypatch.setattr("phasescope.capture.backend_selection.DEVICE_SOURCES", {})


@pytest.fixture(params=vendors.VENDORS)
def vendor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    return vendors.install(request.param, monkeypatch)


def of(session: Session, vendor: Vendor, event_type: str) -> list[Event]:
    events = events_of(session, event_type)
    return [event for event in events if event["metadata"]["backend"] == vendor.backend]


def test_a_tensor_kept_for_one_phase_appears_in_that_phases_delta(vendor: Vendor, clock: FakeClock) -> None:
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        vendor.hold(100 * MIB)
        with phase("step"):
            with phase("keep"):
                vendor.hold(300 * MIB)
            with phase("free"):
                vendor.hold(100 * MIB)
        deltas = {
            name: exit_of(session, name)["metadata"]["phase_scope"]["allocated_delta_bytes"]
            for name in ("step", "step/keep", "step/free")
        }
        keep = exit_of(session, "step/keep")
    assert deltas == {"step": 0, "step/keep": 200 * MIB, "step/free": -200 * MIB}
    assert (keep["metadata"]["backend"], keep["device_id"]) == (vendor.backend, vendor.device)
    assert keep["allocator_allocated_bytes"] == 300 * MIB


def test_what_is_unknown_is_listed_and_no_zero_stands_for_it(vendor: Vendor, clock: FakeClock) -> None:
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        sampled = of(session, vendor, "sample")[-1]
    assert sampled["metadata"].get("unavailable", []) == vendor.unknown
    for key in ("allocator_active_bytes", "allocator_inactive_bytes", "device_free_bytes", "device_total_bytes"):
        assert (sampled[key] is None) == (key in vendor.unknown)
    assert project_telemetry_mapping(sampled).source_kind == vendor.source_kind


def test_the_host_is_sampled_beside_it(vendor: Vendor, clock: FakeClock) -> None:
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        hosts = [event for event in events_of(session, "sample") if event["metadata"]["backend"] == "cpu"]
    assert hosts[-1]["allocator_allocated_bytes"] > 0


def test_nothing_is_degraded(vendor: Vendor, clock: FakeClock) -> None:
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        for _ in range(5):
            clock.advance(ms=1000)
            sample(session)
        assert events_of(session, "collector_degraded") == []


@pytest.mark.parametrize("name", WITH_PEAKS)
def test_a_peak_inside_a_phase_is_exact_and_nests(name: str, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    vendor = vendors.install(name, monkeypatch)
    vendor.hold(900 * MIB)
    vendor.hold(100 * MIB)
    with phasescope.start(clock=clock, interval_ms=3_600_000, peaks=True) as session:
        with phase("step"):
            with phase("spike"):
                vendor.hold(500 * MIB)
                vendor.hold(150 * MIB)
            with phase("calm"):
                vendor.hold(100 * MIB)
        peaks = {
            path: exit_of(session, path)["metadata"]["phase_scope"]["peak_allocated_bytes"] // MIB
            for path in ("step", "step/spike", "step/calm")
        }
    assert peaks == {"step": 500, "step/spike": 500, "step/calm": 150}


def test_jax_has_no_exact_peaks_and_claims_none(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    vendors.install("jax", monkeypatch)
    with phasescope.start(clock=clock, interval_ms=3_600_000, peaks=True) as session:
        with phase("step"):
            pass
        assert "peak_allocated_bytes" not in exit_of(session, "step")["metadata"]["phase_scope"]


def test_further_figures_come_once_a_second(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    vendor = vendors.install("cuda", monkeypatch)
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        for _ in range(25):
            clock.advance(ms=100)
            sample(session)
        having = ["num_ooms" in event["metadata"] for event in of(session, vendor, "sample")]
    assert 2 <= sum(having) <= 3
    assert len(having) == 26


def test_further_figures_that_can_not_be_had_are_told_once_and_harm_nothing(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    vendor = vendors.install("cuda", monkeypatch)

    def broken(_backend: object, _device: int) -> dict[str, int]:
        raise RuntimeError("no such figures")

    monkeypatch.setattr("phasescope.backends.torch_cuda.Cuda.extra", broken)
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        for _ in range(20):
            clock.advance(ms=1000)
            sample(session)
        [degraded] = events_of(session, "collector_degraded")
        assert len(of(session, vendor, "sample")) >= 20
    assert degraded["context"] == "what cuda knows besides stopped answering: RuntimeError: no such figures"


def test_the_backend_that_the_docs_show_works(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    text = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], namespace)
    acme = ModuleType("acme")
    stats = SimpleNamespace(used=5, pool=9)
    vars(acme).update(is_initialized=lambda: True, device_count=lambda: 1, current_device=lambda: 0)
    vars(acme).update(memory=lambda _device: stats, total_memory=lambda _device: 100)
    with phasescope.start(backends=[namespace["Acme"]()], clock=clock, interval_ms=3_600_000) as session:
        with phase("before"):
            monkeypatch.setitem(sys.modules, "acme", acme)
        with phase("after"):
            stats.used = 7
        assert exit_of(session, "before")["metadata"]["backend"] == "cpu"
        after = exit_of(session, "after")
    assert (after["metadata"]["backend"], after["allocator_allocated_bytes"]) == ("acme", 7)
    assert after["metadata"]["phase_scope"]["allocated_delta_bytes"] == 2


def test_what_a_driver_knows_besides_is_joined_to_it(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    class Driver(FakeDriver):
        def device(self, identity: DeviceIdentity) -> DeviceCounters:
            return DeviceCounters(60 << 30, 19 << 30, 79 << 30)

        def extra(self, identity: DeviceIdentity) -> dict[str, int]:
            return {"device_reserved_bytes": 7}

    vendor = vendors.install("cuda", monkeypatch)
    monkeypatch.setattr("phasescope.capture.backend_selection.choose", lambda _names: ([Cuda(), Cpu()], [Driver()]))
    with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
        metadata = of(session, vendor, "sample")[0]["metadata"]
    assert (metadata["device_reserved_bytes"], metadata["num_ooms"]) == (7, 0)
