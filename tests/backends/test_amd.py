"""AMD devices by the kernel's files and by AMD SMI, both of them fakes; the import of amdsmi that talks and fails."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.backends import amd_smi, pci
from phasescope.backends.amd_smi import AmdSmi
from phasescope.backends.amd_sysfs import AmdSysfs
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from support.fakes.fake_amd import (
    GIB,
    NVIDIA,
    WITHOUT_ROCM,
    AmdSmiLibraryException,
    FakeSmi,
    FakeSysfs,
    TemperatureType,
)
from support.fakes.processes import in_new_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from phasescope.backends.protocol import DeviceSource

FIRST = DeviceIdentity(None, "00000000:03:00.0")
SECOND = DeviceIdentity(None, "00010000:c3:00.0")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    found = FakeSysfs(tmp_path / "sys").install(monkeypatch)
    found.add("0000:00:02.0", vendor="0x8086")
    found.add("0000:03:00.0", 10 * GIB)
    found.add("10000:c3:00.0", 1 * GIB, 16 * GIB)
    found.add("0000:de:00.0", vendor=NVIDIA)
    return found


class TestSysfs:
    def test_a_device_is_found_by_its_bus_id(self, kernel: FakeSysfs) -> None:
        source: DeviceSource = AmdSysfs()
        assert source.device(FIRST) == DeviceCounters(10 * GIB, 54 * GIB, 64 * GIB)
        assert source.device(SECOND) == DeviceCounters(1 * GIB, 15 * GIB, 16 * GIB)

    @pytest.mark.parametrize("bus_id", [None, "00000000:de:00.0", "00000000:00:02.0", "00000000:77:00.0", "nonsense"])
    def test_what_is_no_amd_device_is_none(self, kernel: FakeSysfs, bus_id: str | None) -> None:
        assert AmdSysfs().device(DeviceIdentity("GPU-x", bus_id)) is None

    def test_it_shows_those_with_memory_once_each_in_pci_order(self, kernel: FakeSysfs) -> None:
        assert [shown.identity for shown in AmdSysfs().present()] == [FIRST, SECOND]

    def test_a_device_that_vanishes_raises(self, kernel: FakeSysfs) -> None:
        source = AmdSysfs()
        source.device(FIRST)
        for file in ("mem_info_vram_used", "mem_info_vram_total"):
            (kernel.root / "devices" / "pci0000:00" / "0000:03:00.0" / file).unlink()
        with pytest.raises(OSError, match="mem_info_vram"):
            source.device(FIRST)

    def test_an_apu_has_no_memory_of_its_own(self, kernel: FakeSysfs) -> None:
        kernel.add("0000:05:00.0", 0, total=0)
        assert AmdSysfs().device(DeviceIdentity(None, "00000000:05:00.0")) == DeviceCounters()

    @pytest.mark.parametrize(("mode", "divided"), [("SPX\n", False), ("CPX\n", True), ("", False), (None, False)])
    def test_a_part_of_a_divided_device_is_known_by_the_kernel(
        self, kernel: FakeSysfs, mode: str | None, divided: bool
    ) -> None:
        folder = kernel.add("0000:05:00.0", 0)
        if mode is not None:
            (folder / "current_compute_partition").write_text(mode)
        assert pci.is_divided("00000000:05:00.0") == divided

    def test_a_device_that_comes_later_is_found(self, kernel: FakeSysfs) -> None:
        source = AmdSysfs()
        assert source.device(DeviceIdentity(None, "00000000:77:00.0")) is None
        kernel.add("0000:77:00.0", 5, 7)
        assert source.device(DeviceIdentity(None, "00000000:77:00.0")) == DeviceCounters(5, 2, 7)

    def test_why_not(self, kernel: FakeSysfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert AmdSysfs().why_not() is None
        monkeypatch.setattr(pci, "SYS", tmp_path / "none")
        answer = AmdSysfs().why_not()
        assert answer is not None
        assert "no AMD device" in answer.reason


@pytest.fixture
def rocm(kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSmi]:
    """The same machine with amdsmi."""
    amd_smi._imported.cache_clear()
    yield FakeSmi({"0000:03:00.0": (10 * GIB, 64 * GIB), "10000:c3:00.0": (GIB, 16 * GIB)}).install(monkeypatch)
    amd_smi._imported.cache_clear()


class TestSmi:
    def test_a_device_is_found_by_its_bus_id(self, rocm: FakeSmi) -> None:
        source: DeviceSource = AmdSmi()
        assert source.device(FIRST) == DeviceCounters(10 * GIB, 54 * GIB, 64 * GIB)
        assert source.device(SECOND) == DeviceCounters(1 * GIB, 15 * GIB, 16 * GIB)
        assert rocm.calls.count("amdsmi_init") == 1

    @pytest.mark.parametrize("identity", [DeviceIdentity("GPU-x", "00000000:de:00.0"), DeviceIdentity("GPU-x")])
    def test_a_device_of_another_maker_starts_nothing(self, rocm: FakeSmi, identity: DeviceIdentity) -> None:
        assert AmdSmi().device(identity) is None
        assert AmdSmi().extra(identity) == {}
        assert rocm.calls == []

    def test_what_each_process_holds(self, rocm: FakeSmi) -> None:
        rocm.processes = {os.getpid(): 3 * GIB, 1: 4 * GIB}
        assert AmdSmi().extra(FIRST) == {"process_used_bytes": 3 * GIB, "other_processes_bytes": 4 * GIB}

    def test_a_process_of_unknown_size_is_not_taken_for_nothing(self, rocm: FakeSmi) -> None:
        rocm.processes = {os.getpid(): 3 * GIB, 1: "N/A"}  # type: ignore[dict-item]
        assert AmdSmi().extra(FIRST) == {"process_used_bytes": 3 * GIB}

    def test_where_processes_are_not_listed_nothing_is_said(self, rocm: FakeSmi) -> None:
        rocm.failing = {"amdsmi_get_gpu_process_list"}
        assert AmdSmi().extra(FIRST) == {}

    def test_after_a_failure_it_starts_anew(self, rocm: FakeSmi) -> None:
        source = AmdSmi()
        rocm.failing = {"amdsmi_get_gpu_memory_usage"}
        with pytest.raises(AmdSmiLibraryException):
            source.device(FIRST)
        rocm.failing = set()
        assert source.device(FIRST) == DeviceCounters(10 * GIB, 54 * GIB, 64 * GIB)
        assert rocm.calls.count("amdsmi_init") == 2

    def test_it_shows_every_device_by_name(self, rocm: FakeSmi) -> None:
        shown = AmdSmi().present()
        assert [device.identity for device in shown] == [FIRST, SECOND]
        assert shown[0].name == "AMD Instinct MI300X"

    def test_why_not(self, rocm: FakeSmi) -> None:
        assert AmdSmi().why_not() is None
        rocm.failing = {"amdsmi_init"}
        answer = AmdSmi().why_not()
        assert answer is not None
        assert "\n" not in answer.reason
        assert "Feature not supported" in answer.reason


class TestWithoutRocm:
    @pytest.fixture(autouse=True)
    def fresh(self, kernel: FakeSysfs) -> Iterator[None]:
        amd_smi._imported.cache_clear()
        yield
        amd_smi._imported.cache_clear()

    def test_amdsmi_that_is_not_installed_is_no_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "amdsmi", None)
        assert AmdSmi().device(FIRST) is None
        answer = AmdSmi().why_not()
        assert answer is not None
        assert "not installed" in answer.reason

    def test_an_import_that_talks_and_fails_is_silent_and_tried_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        count = "import builtins\nbuiltins.tries = getattr(builtins, 'tries', 0) + 1\n"
        (tmp_path / "amdsmi.py").write_text(count + WITHOUT_ROCM)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr("builtins.tries", 0, raising=False)
        source = AmdSmi()
        assert [source.device(FIRST) for _ in range(3)] == [None] * 3
        answer = source.why_not()
        assert answer is not None
        assert "libamd_smi.so" in answer.reason
        assert __builtins__["tries"] == 1  # type: ignore[index]
        assert capfd.readouterr() == ("", "")

    def test_what_other_threads_print_meanwhile_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        with amd_smi._Silence():
            print("not this")
            thread = threading.Thread(target=print, args=("but this",))
            thread.start()
            thread.join()
        print("and this")
        assert capsys.readouterr().out == "but this\nand this\n"

    def test_the_real_one_if_it_is_installed_prints_nothing(self) -> None:
        code = "from phasescope.backends.amd_smi import AmdSmi; AmdSmi().why_not()"
        assert in_new_python(code) == ""


class TestAtWork:
    def test_each_figure_has_its_unit(self, rocm: FakeSmi) -> None:
        expected = {"utilization_percent": 73, "temperature_celsius": 61, "power_milliwatts": 717_000}
        assert AmdSmi().activity(FIRST) == expected

    @pytest.mark.parametrize(
        ("power", "milliwatts"),
        [
            ({"current_socket_power": "N/A", "average_socket_power": 94}, 94_000),
            ({"average_socket_power": 94, "power_limit": 300}, 94_000),
            ({"socket_power": "N/A", "current_socket_power": "N/A", "average_socket_power": "N/A"}, None),
            ({"socket_power": 0xFFFF, "current_socket_power": 0xFFFFFFFF, "average_socket_power": 12}, 12_000),
        ],
        ids=["MI200", "before ROCm 6", "none", "a number for none"],
    )
    def test_power_by_the_name_that_the_device_has_it(
        self, rocm: FakeSmi, power: dict[str, Any], milliwatts: int | None
    ) -> None:
        rocm.power = power
        assert AmdSmi().activity(FIRST).get("power_milliwatts") == milliwatts

    def test_a_card_with_a_sensor_at_its_edge_alone(self, rocm: FakeSmi) -> None:
        rocm.temperatures = {TemperatureType.EDGE: 44}
        assert AmdSmi().activity(FIRST)["temperature_celsius"] == 44

    @pytest.mark.parametrize(
        ("name", "lacks"),
        [
            ("amdsmi_get_gpu_activity", "utilization_percent"),
            ("amdsmi_get_temp_metric", "temperature_celsius"),
            ("amdsmi_get_power_info", "power_milliwatts"),
        ],
    )
    def test_one_that_is_not_supported_leaves_the_others(self, rocm: FakeSmi, name: str, lacks: str) -> None:
        rocm.failing.add(name)
        figures = AmdSmi().activity(FIRST)
        assert lacks not in figures
        assert len(figures) == 2

    def test_what_is_not_available_is_left_out(self, rocm: FakeSmi) -> None:
        rocm.activity["gfx_activity"] = "N/A"
        assert "utilization_percent" not in AmdSmi().activity(FIRST)

    def test_a_device_of_another_maker_has_none(self, rocm: FakeSmi) -> None:
        assert AmdSmi().activity(DeviceIdentity(None, None)) == {}
