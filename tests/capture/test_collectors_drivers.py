"""Drivers in a session: beside a framework and alone, for every vendor, what is visible, and over failures."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

import phasescope
from phasescope import BackendUnavailableError, phase
from phasescope.analysis.breakdown import breakdown
from phasescope.backends import DRIVERS_ALONE, amd_smi
from phasescope.backends.driver_only import DriverAlone
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.capture import backend_selection
from phasescope.capture.collectors import Collectors
from phasescope.cli import _driver_devices as doctors_devices
from phasescope.testing import sample
from support.assertions import events_of
from support.fakes.failing import Broken, FailingBackend, FakeDriver
from support.fakes.fake_amd import FakeSmi, FakeSysfs
from support.fakes.fake_cuda import UUIDS, FakeCuda
from support.fakes.fake_nvml import GIB, FakeGpu
from support.fakes.fake_nvml import FakeDriver as FakeNvml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phasescope.testing import FakeClock

ALONE = ("nvml", "amdsmi", "amd_sysfs")
ALLOCATOR = [f"allocator_{name}_bytes" for name in ("allocated", "reserved", "active", "inactive", "change")]
GPU, OTHER_GPU = f"GPU-{UUIDS[0]}", f"GPU-{UUIDS[1]}"
SLICES = tuple(f"MIG-0a1b2c3{number}-874a-23a4-1126-dfbe3e77c294" for number in (1, 2))
IDS = ("0000:03:00.0", "0000:c3:00.0")


@pytest.fixture(autouse=True)
def nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    amd_smi._imported.cache_clear()
    yield
    amd_smi._imported.cache_clear()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    gpus = [
        FakeGpu(GPU, "00000000:DE:00.0", 80 * GIB, 70 * GIB, reserved_bytes=GIB, processes={os.getpid(): 6 * GIB}),
        FakeGpu(OTHER_GPU, "00000000:DD:00.0", 40 * GIB, 10 * GIB),
    ]
    return FakeNvml(gpus).install(monkeypatch)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    kernel = FakeSysfs(tmp_path / "sys").install(monkeypatch)
    kernel.add(IDS[0], 10 * GIB)
    kernel.add(IDS[1], GIB)
    return kernel


@pytest.fixture
def smi(sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> FakeSmi:
    return FakeSmi({IDS[0]: (10 * GIB, 64 * GIB), IDS[1]: (GIB, 64 * GIB)}).install(monkeypatch)


def figures(event: dict[str, Any]) -> DeviceCounters:
    """The device's figures, None where the event says that they are none."""
    unknown = event["metadata"].get("unavailable", ())
    keys = [f"device_{name}_bytes" for name in ("used", "free", "total")]
    return DeviceCounters(*(None if key in unknown else event[key] for key in keys))


def samples(session: phasescope.Session, backend: str) -> list[dict[str, Any]]:
    return [event for event in events_of(session, "sample") if event["metadata"]["backend"] == backend]


def told(session: phasescope.Session) -> list[tuple[str, str]]:
    kinds = ("collector_degraded", "collector_recovered")
    return [(e["event_type"], e["context"]) for e in events_of(session) if e["event_type"] in kinds]


class TestAlone:
    @pytest.mark.parametrize("name", ALONE)
    def test_its_devices_are_sampled_and_phases_speak_of_the_host(
        self, name: str, clock: FakeClock, request: pytest.FixtureRequest
    ) -> None:
        request.getfixturevalue({"amdsmi": "smi", "amd_sysfs": "sysfs"}.get(name, name))
        with phasescope.start(backends=[name], clock=clock, interval_ms=3_600_000) as session, phase("step"):
            kept = bytearray(64 * 2**20)
        (leave,) = events_of(session, "phase_exit")
        assert leave["metadata"]["backend"] == "cpu"
        assert leave["metadata"]["phase_scope"]["allocated_delta_bytes"] >= len(kept)
        first, second = samples(session, name)
        assert [event["device_id"] for event in (first, second)] == [0, 1]
        assert first["collector"] == f"phasescope.{name}"
        assert first["metadata"]["unavailable"] == ALLOCATOR
        assert figures(first).used_bytes == 10 * GIB
        assert phasescope.project_telemetry_mapping(first).source_kind == "gpu"

    def test_what_the_driver_knows_besides_is_in_the_sample(self, nvml: FakeNvml, clock: FakeClock) -> None:
        nvml.gpus[0].processes[1] = 2 * GIB
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000) as session:
            pass
        first, _ = samples(session, "nvml")
        expected = {"device_reserved_bytes": GIB, "process_used_bytes": 6 * GIB, "other_processes_bytes": 2 * GIB}
        assert expected.items() <= first["metadata"].items()
        found = breakdown(first)
        assert found is not None
        assert {part.name: part.size_bytes // GIB for part in found.parts} == {
            "process": 6,
            "other_processes": 2,
            "driver": 1,
            "unattributed": 1,
            "free": 70,
        }

    def test_a_boundary_makes_no_call_to_the_driver(self, nvml: FakeNvml, clock: FakeClock) -> None:
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000):
            nvml.calls.clear()
            for _ in range(3):
                with phase("step"):
                    pass
            assert nvml.calls == []

    @pytest.mark.parametrize(
        ("visible", "seen"),
        [
            (None, [10, 30]),
            ("1,0", [30, 10]),
            (OTHER_GPU, [30]),
            (f"{OTHER_GPU[:8]},0", [30, 10]),
        ],
    )
    def test_the_devices_are_numbered_as_cuda_numbers_them(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: list[int]
    ) -> None:
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000) as session:
            pass
        found = samples(session, "nvml")
        assert [event["device_id"] for event in found] == list(range(len(seen)))
        assert [event["device_used_bytes"] // GIB for event in found] == seen

    @pytest.mark.parametrize(("visible", "free"), [("0", 9), (SLICES[1], 5), (f"{SLICES[0]}", 9)])
    def test_a_gpu_in_slices_is_seen_by_its_slice(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, visible: str, free: int
    ) -> None:
        nvml.gpus[0].mig = pynvml.NVML_DEVICE_MIG_ENABLE
        nvml.gpus[0].slices = {SLICES[0]: (10 * GIB, 9 * GIB), SLICES[1]: (10 * GIB, 5 * GIB)}
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000) as session:
            pass
        (sample,) = samples(session, "nvml")
        assert figures(sample) == DeviceCounters((10 - free) * GIB, free * GIB, 10 * GIB)

    def test_a_device_without_memory_of_its_own_is_unknown(self, nvml: FakeNvml, clock: FakeClock) -> None:
        nvml.gpus[:] = [FakeGpu(failing="NVML_ERROR_NOT_SUPPORTED")]
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000) as session:
            pass
        (sample,) = samples(session, "nvml")
        assert figures(sample) == DeviceCounters()
        assert told(session) == []

    def test_a_driver_that_is_upgraded_under_the_process_is_degraded_once(
        self, nvml: FakeNvml, clock: FakeClock
    ) -> None:
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000) as session:
            for gpu in nvml.gpus:
                gpu.failing = "NVML_ERROR_LIB_RM_VERSION_MISMATCH"
            for _ in range(5):
                clock.advance(ms=100)
                sample(session)
            assert figures(samples(session, "nvml")[-1]) == DeviceCounters()
            for gpu in nvml.gpus:
                gpu.failing = None
            clock.advance(ms=2000)
            sample(session)
            sample(session)
            assert figures(samples(session, "nvml")[-1]).total_bytes == 40 * GIB
        (degraded, why), (recovered, _) = told(session)
        assert (degraded, recovered) == ("collector_degraded", "collector_recovered")
        assert "mismatch" in why.lower()


class TestChoosing:
    @pytest.mark.parametrize("name", ALONE)
    def test_one_that_can_not_work_raises_with_the_reason_and_the_way_out(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pynvml, "nvmlInit", _no_driver)
        monkeypatch.setitem(sys.modules, "amdsmi", None)
        FakeSysfs(tmp_path / "sys").install(monkeypatch)
        with pytest.raises(BackendUnavailableError, match=rf'"{name}" cannot work here: .*\. .*\w') as raised:
            phasescope.start(backends=[name])
        assert "install" in str(raised.value)

    @pytest.mark.parametrize(
        ("visible", "reason"), [("", "hides every device"), ("-1", "hides every device"), ("7", "names no device")]
    )
    def test_devices_that_are_hidden_are_a_reason(
        self, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str, reason: str
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(BackendUnavailableError, match=f"CUDA_VISIBLE_DEVICES {reason}"):
            phasescope.start(backends=["nvml"])

    def test_auto_starts_no_driver_that_no_framework_needs(self, nvml: FakeNvml, smi: FakeSmi) -> None:
        chosen, _ = backend_selection.choose("auto")
        assert not {backend.name for backend in chosen} & set(DRIVERS_ALONE)
        with phasescope.start():
            pass
        assert nvml.calls == []
        assert smi.calls == []


class TestBesideTorch:
    """torch's devices, by its own numbers, joined with what the driver says of the same device."""

    def session(self, clock: FakeClock) -> phasescope.Session:
        return phasescope.start(backends="auto", clock=clock, interval_ms=3_600_000)

    def test_every_device_gets_its_own_figures_in_whatever_order(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch = FakeCuda().install(monkeypatch)
        torch.properties.reverse()
        torch.properties[0].total_memory = 40 * GIB
        torch.use(0, 3 * GIB, 5 * GIB, 3 * GIB, GIB)
        torch.use(1, 4 * GIB, 5 * GIB)
        with self.session(clock) as session:
            pass
        first, second = samples(session, "cuda")
        assert figures(first) == DeviceCounters(30 * GIB, 10 * GIB, 40 * GIB)
        assert figures(second) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)
        assert second["metadata"]["process_used_bytes"] == 6 * GIB
        found = breakdown(second)
        assert found is not None
        assert {part.name: part.size_bytes // GIB for part in found.parts} == {
            "live": 4,
            "slack": 1,
            "process_outside": 1,
            "other_processes": 0,
            "driver": 1,
            "unattributed": 3,
            "free": 70,
        }

    def test_the_driver_is_asked_for_its_processes_every_few_seconds(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FakeCuda().install(monkeypatch).use(0, GIB, GIB)
        with self.session(clock) as session:
            for _ in range(60):
                clock.advance(ms=100)
                sample(session)
        assert nvml.calls.count("nvmlDeviceGetComputeRunningProcesses") in (1, 2)  # its clock is not the session's
        with_details = [event for event in samples(session, "cuda") if "process_used_bytes" in event["metadata"]]
        assert len(with_details) in (1, 2)

    def test_a_boundary_makes_no_call_to_the_driver(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FakeCuda().install(monkeypatch).use(0, GIB, GIB)
        with self.session(clock) as session:
            nvml.calls.clear()
            with phase("step"):
                pass
            assert nvml.calls == []
        (leave,) = events_of(session, "phase_exit")
        assert figures(leave) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)

    @pytest.mark.parametrize("has_smi", [True, False])
    def test_rocm_gets_its_figures_from_amd_and_nvml_is_left_alone(
        self, sysfs: FakeSysfs, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, has_smi: bool
    ) -> None:
        torch = FakeCuda(devices=1, hip="6.4.43482").install(monkeypatch)
        vars(torch.properties[0]).update(pci_bus_id=0x03, total_memory=64 * GIB)
        torch.use(0, 3 * GIB, 5 * GIB)
        if has_smi:
            FakeSmi({IDS[0]: (10 * GIB, 64 * GIB)}).install(monkeypatch)
        else:
            monkeypatch.setitem(sys.modules, "amdsmi", None)
        monkeypatch.setattr(pynvml, "nvmlInit", _no_driver)
        with self.session(clock) as session:
            pass
        (sample,) = samples(session, "rocm")
        assert figures(sample) == DeviceCounters(10 * GIB, 54 * GIB, 64 * GIB)
        assert told(session) == []

    @pytest.mark.parametrize(("total_gib", "is_dropped"), [(8, True), (121, True), (79, False), (76, False)])
    def test_a_driver_with_another_total_speaks_of_other_memory(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, total_gib: int, is_dropped: bool
    ) -> None:
        nvml.gpus[0].total_bytes, nvml.gpus[0].free_bytes = total_gib * GIB, 0
        FakeCuda().install(monkeypatch).use(0, 40 * GIB, 41 * GIB)
        with self.session(clock) as session:
            for _ in range(3):
                clock.advance(ms=1000)
                sample(session)
            events = session.events()
        newest = samples(session, "cuda")[-1]
        said = [event["context"] for event in events if event["event_type"] == "collector_degraded"]
        if is_dropped:
            assert newest["device_total_bytes"] == 80 * GIB  # torch's
            assert {"device_used_bytes", "device_free_bytes"} <= set(newest["metadata"]["unavailable"])
            assert said == ["nvml has another total than cuda for a device, and is not asked about it"]
            assert not any(event["event_type"] in ("warning", "critical") for event in events)
        else:
            assert (newest["device_used_bytes"], said) == (total_gib * GIB, [])

    def test_a_device_that_vanishes_leaves_the_other(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch = FakeCuda().install(monkeypatch)
        torch.properties[1].total_memory = 40 * GIB
        for device in (0, 1):
            torch.use(device, GIB, GIB)
        with self.session(clock) as session:
            nvml.gpus[0].failing = "NVML_ERROR_GPU_IS_LOST"
            for _ in range(30):
                clock.advance(ms=100)
                sample(session)
            lost, there = samples(session, "cuda")[-2:]
        assert figures(lost) == DeviceCounters(None, None, 80 * GIB)
        assert figures(there) == DeviceCounters(30 * GIB, 10 * GIB, 40 * GIB)
        assert [kind for kind, _ in told(session)] == ["collector_degraded"]

    def test_processes_that_may_not_be_listed_leave_the_rest(
        self, nvml: FakeNvml, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FakeCuda().install(monkeypatch).use(0, GIB, GIB)
        nvml.lack("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMemoryInfo_v2")
        with self.session(clock) as session:
            pass
        (sample,) = samples(session, "cuda")
        assert figures(sample) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)
        assert not {"process_used_bytes", "device_reserved_bytes"} & sample["metadata"].keys()
        assert told(session) == []


def _no_driver() -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


class TestHealth:
    """Of one driver with several devices."""

    @pytest.fixture
    def backend(self) -> FailingBackend:
        backend = FailingBackend(devices=[0, 1], total=1000)
        backend.identities = {device: DeviceIdentity(f"GPU-{device}") for device in (0, 1)}
        return backend

    def test_what_is_wrong_with_all_for_one_reason_is_said_once(self, backend: FailingBackend) -> None:
        said: list[str] = []
        now = [0]
        driver = FakeDriver({DeviceIdentity(f"GPU-{device}"): DeviceCounters(1, 999, 1000) for device in (0, 1)})
        found = Collectors([backend], [driver], None, lambda: now[0], lambda kind, _collector, text: said.append(kind))
        driver.is_broken = True
        for _ in range(3):
            list(found.sample())
        assert said == ["collector_degraded"]
        assert driver.calls == 2
        driver.is_broken = False
        now[0] = 2 * 10**9
        assert [state.figures.used_bytes for state, _ in found.sample()] == [1, 1]
        assert said == ["collector_degraded", "collector_recovered"]

    def test_details_that_fail_leave_the_figures(self, backend: FailingBackend) -> None:
        class Detailed(FakeDriver):
            def extra(self, identity: DeviceIdentity) -> dict[str, int]:
                raise Broken("no details")

        said: list[str] = []
        driver = Detailed({DeviceIdentity(f"GPU-{device}"): DeviceCounters(1, 999, 1000) for device in (0, 1)})
        found = Collectors([backend], [driver], None, lambda: 0, lambda _kind, _collector, text: said.append(text))
        seen = [(state.figures.used_bytes, state.extra) for state, _ in found.sample()]
        assert seen == [(1, backend.extra(device)) for device in (0, 1)], "the allocator's own counts, and no driver's"
        assert said == ["what driver knows besides stopped answering: Broken: no details"]


class TestDoctor:
    def test_it_shows_what_each_driver_sees_and_each_device_once(
        self, nvml: FakeNvml, smi: FakeSmi, sysfs: FakeSysfs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # it is the machine that is being asked about
        found = doctors_devices.surveyed_devices()
        assert [(device["driver"], device["name"], device["pci_bus_id"]) for device in found] == [
            ("nvml", "NVIDIA H100 80GB HBM3", "00000000:de:00.0"),
            ("nvml", "NVIDIA H100 80GB HBM3", "00000000:dd:00.0"),
            ("amdsmi", "AMD Instinct MI300X", "00000000:03:00.0"),
            ("amdsmi", "AMD Instinct MI300X", "00000000:c3:00.0"),
        ]
        assert found[0]["used_bytes"] == 10 * GIB
        assert found[0]["device_reserved_bytes"] == GIB
        for device in json.loads(json.dumps(found)):
            assert sum(part["size_bytes"] for part in device["breakdown"]["parts"]) == device["total_bytes"]

    def test_a_device_that_is_lost_is_shown_without_figures(
        self, nvml: FakeNvml, run_doctor: Callable[[], str]
    ) -> None:
        nvml.gpus[1].failing = "NVML_ERROR_GPU_IS_LOST"
        lost = doctors_devices.surveyed_devices()[1]
        assert (lost["total_bytes"], lost["breakdown"]) == (None, None)
        text = run_doctor()
        assert "NVIDIA H100 80GB HBM3  nvml    00000000:dd:00.0         –         –         –" in text
        assert "NVIDIA H100 80GB HBM3 of 80.0 GiB: this process 6.00 GiB, driver 1.00 GiB" in text

    @pytest.fixture
    def run_doctor(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> Callable[[], str]:
        from phasescope.cli import main

        monkeypatch.setattr("phasescope.capture.backend_selection.diagnose", list)

        def run() -> str:
            main(["doctor", "--dir", str(tmp_path)])
            return capsys.readouterr().out

        return run

    def test_where_no_driver_answers_there_is_no_table(
        self, monkeypatch: pytest.MonkeyPatch, run_doctor: Callable[[], str]
    ) -> None:
        monkeypatch.setattr(doctors_devices, "surveyed_devices", list)
        assert "bus id" not in run_doctor()


def test_every_driver_alone_is_a_backend() -> None:
    for path in DRIVERS_ALONE.values():
        backend = backend_selection.load(path)
        assert isinstance(backend, DriverAlone)
        backend_selection._check(backend)


class TestAtWork:
    def test_the_sampler_says_how_a_device_is_at_work_and_no_boundary_asks(
        self, nvml: FakeNvml, clock: FakeClock
    ) -> None:
        gpu = nvml.gpus[0]
        gpu.utilization_percent, gpu.temperature_celsius, gpu.power_milliwatts = 98, 64, 612_345
        at_work = {"utilization_percent": 98, "temperature_celsius": 64, "power_milliwatts": 612_345}
        with phasescope.start(backends=["nvml"], clock=clock, interval_ms=3_600_000) as session:
            questions = [name for name in nvml.calls if name.endswith(("Rates", "Temperature", "Usage"))]
            assert len(questions) == 6, "once of each device: the second lacks them"
            with phase("step"):
                pass
            assert [name for name in nvml.calls if name.endswith(("Rates", "Temperature", "Usage"))] == questions
        first, second = samples(session, "nvml")
        assert at_work.items() <= first["metadata"].items()
        assert not at_work.keys() & second["metadata"].keys()
        rows = {row.label: row for row in session.summary().devices}
        row = rows["nvml:0"]
        assert (row.utilization_percent, row.temperature_celsius, row.power_milliwatts) == (98, 64, 612_345)
        assert rows["nvml:1"].power_milliwatts is None
