"""NVML over a fake driver behind the real pynvml, and over this machine, which may have none."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

from phasescope.backends import pci
from phasescope.backends.nvml import Nvml
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.backends.torch_cuda import Cuda
from support.fakes.fake_cuda import FakeCuda
from support.fakes.fake_nvml import GIB, FakeDriver, FakeGpu, error
from support.fakes.processes import in_new_python

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.backends.protocol import DeviceSource

pytestmark = pytest.mark.neutral
FIRST = "GPU-737e2423-874a-23a4-1126-dfbe3e77c294"
SECOND = "GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae"
SLICE = "MIG-0a1b2c3d-874a-23a4-1126-dfbe3e77c294"
OTHER_SLICE = "MIG-4e5f6a7b-874a-23a4-1126-dfbe3e77c294"
MIB = 1024**2


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    gpus = [FakeGpu(), FakeGpu(SECOND, "00000001:0F:00.0", 40 * GIB, 10 * GIB)]
    return FakeDriver(gpus).install(monkeypatch)


class TestDevice:
    def test_it_is_found_by_uuid(self, driver: FakeDriver) -> None:
        source: DeviceSource = Nvml()
        assert source.device(DeviceIdentity(FIRST)) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)
        assert source.device(DeviceIdentity(SECOND)) == DeviceCounters(30 * GIB, 10 * GIB, 40 * GIB)

    def test_it_is_found_by_bus_id_where_the_uuid_is_unknown_or_wrong(self, driver: FakeDriver) -> None:
        for uuid in (None, "GPU-00000000-0000-0000-0000-000000000000", "nonsense"):
            figures = Nvml().device(DeviceIdentity(uuid, "00000001:0f:00.0"))
            assert figures == DeviceCounters(30 * GIB, 10 * GIB, 40 * GIB)

    @pytest.mark.parametrize("identity", [DeviceIdentity(), DeviceIdentity("GPU-x", "00000007:00:00.0")])
    def test_one_that_nvml_does_not_know_is_none(self, driver: FakeDriver, identity: DeviceIdentity) -> None:
        assert Nvml().device(identity) is None

    def test_torchs_identity_finds_it(self, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever index `CUDA_VISIBLE_DEVICES` gave it."""
        torch = FakeCuda().install(monkeypatch)
        torch.properties.reverse()
        identity = Cuda().identity(0)
        assert identity is not None
        assert Nvml().device(identity) == DeviceCounters(30 * GIB, 10 * GIB, 40 * GIB)

    def test_what_the_driver_keeps_counts_as_used(self, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = pynvml.c_nvmlMemory_t(total=100, free=60, used=30)  # as counted without the driver's own
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle, version=None: memory)
        assert Nvml().device(DeviceIdentity(FIRST)) == DeviceCounters(40, 60, 100)

    def test_it_is_looked_up_once(self, driver: FakeDriver) -> None:
        source = Nvml()
        for identity in (DeviceIdentity(FIRST), DeviceIdentity("GPU-unknown")):
            for _ in range(3):
                source.device(identity)
        assert driver.calls.count("nvmlInit") == 1
        assert driver.calls.count("nvmlDeviceGetHandleByUUID") == 2

    def test_one_that_shares_the_hosts_memory_has_no_figures(self, driver: FakeDriver) -> None:
        driver.gpus[0].failing = "NVML_ERROR_NOT_SUPPORTED"
        assert Nvml().device(DeviceIdentity(FIRST)) == DeviceCounters(None, None, None)


class TestMig:
    @pytest.fixture(autouse=True)
    def sliced(self, driver: FakeDriver) -> None:
        driver.gpus[0].mig = pynvml.NVML_DEVICE_MIG_ENABLE
        driver.gpus[0].slices = {SLICE: (10 * GIB, 9 * GIB), OTHER_SLICE: (20 * GIB, 5 * GIB)}

    def test_a_slice_has_its_own_figures(self) -> None:
        assert Nvml().device(DeviceIdentity(SLICE)) == DeviceCounters(1 * GIB, 9 * GIB, 10 * GIB)

    @pytest.mark.parametrize("uuid", [FIRST, "MIG-of-a-driver-that-names-it-otherwise", None])
    def test_the_whole_gpus_figures_are_not_taken_for_a_slices(self, uuid: str | None) -> None:
        assert Nvml().device(DeviceIdentity(uuid, "00000000:de:00.0")) == DeviceCounters(None, None, None)

    @pytest.mark.parametrize("uuid", [FIRST, None])
    def test_the_only_slice_of_a_gpu_is_the_one_that_is_used(self, driver: FakeDriver, uuid: str | None) -> None:
        del driver.gpus[0].slices[SLICE]
        figures = Nvml().device(DeviceIdentity(uuid, "00000000:de:00.0"))
        assert figures == DeviceCounters(15 * GIB, 5 * GIB, 20 * GIB)

    def test_of_a_gpu_whose_slice_is_not_known_nothing_else_is_known(self, driver: FakeDriver) -> None:
        assert Nvml().extra(DeviceIdentity(FIRST)) == {}

    def test_a_gpu_that_is_not_sliced_has_figures(self, driver: FakeDriver) -> None:
        driver.gpus[0].mig = pynvml.NVML_DEVICE_MIG_DISABLE
        assert Nvml().device(DeviceIdentity(FIRST)) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)


class TestExtra:
    @pytest.fixture(autouse=True)
    def held(self, driver: FakeDriver) -> None:
        driver.gpus[0].reserved_bytes = 600 * MIB
        driver.gpus[0].processes = {os.getpid(): 3 * GIB, 1: 4 * GIB}

    def test_it_is_what_the_driver_keeps_and_what_each_process_holds(self) -> None:
        assert Nvml().extra(DeviceIdentity(FIRST)) == {
            "device_reserved_bytes": 600 * MIB,
            "process_used_bytes": 3 * GIB,
            "other_processes_bytes": 4 * GIB,
        }

    def test_a_process_that_also_draws_counts_once(self, driver: FakeDriver) -> None:
        driver.gpus[0].drawing = {1: 4 * GIB, os.getpid() + 1: GIB}
        assert Nvml().extra(DeviceIdentity(FIRST))["other_processes_bytes"] == 5 * GIB

    def test_what_windows_does_not_say_is_not_said(self, driver: FakeDriver) -> None:
        driver.gpus[0].processes = {os.getpid(): None, 1: None}
        assert Nvml().extra(DeviceIdentity(FIRST)) == {"device_reserved_bytes": 600 * MIB}

    @pytest.mark.parametrize(
        "code", ["FUNCTION_NOT_FOUND", "NOT_SUPPORTED", "NO_PERMISSION", "ARGUMENT_VERSION_MISMATCH"]
    )
    @pytest.mark.parametrize(
        ("function", "lost"),
        [
            ("nvmlDeviceGetMemoryInfo_v2", {"device_reserved_bytes"}),
            ("nvmlDeviceGetComputeRunningProcesses_v3", {"process_used_bytes", "other_processes_bytes"}),
            ("nvmlDeviceGetGraphicsRunningProcesses_v3", set()),
        ],
    )
    def test_one_question_without_an_answer_leaves_the_others(
        self, driver: FakeDriver, function: str, lost: set[str], code: str
    ) -> None:
        source, whole = Nvml(), Nvml().extra(DeviceIdentity(FIRST))
        driver.refused[function] = f"NVML_ERROR_{code}"
        assert source.extra(DeviceIdentity(FIRST)) == {key: whole[key] for key in whole.keys() - lost}
        assert source.device(DeviceIdentity(FIRST)) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)

    def test_a_pynvml_that_knows_no_second_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(pynvml, "nvmlMemory_v2")
        assert "device_reserved_bytes" not in Nvml().extra(DeviceIdentity(FIRST))

    def test_an_error_that_means_trouble_is_raised(self, driver: FakeDriver) -> None:
        driver.refused["nvmlDeviceGetComputeRunningProcesses_v3"] = "NVML_ERROR_GPU_IS_LOST"
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            Nvml().extra(DeviceIdentity(FIRST))

    def test_a_device_that_nvml_does_not_know_has_none(self) -> None:
        assert Nvml().extra(DeviceIdentity("GPU-unknown")) == {}


def test_a_device_of_another_maker_is_not_looked_for(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with AMD devices and no NVIDIA driver, that is no failure of anything."""
    driver.fail("NVML_ERROR_LIBRARY_NOT_FOUND")
    monkeypatch.setattr("phasescope.backends.pci.vendor", lambda _bus_id: pci.AMD)
    assert Nvml().device(DeviceIdentity(None, "0000000c:03:00.0")) is None
    assert Nvml().extra(DeviceIdentity(None, "0000000c:03:00.0")) == {}
    assert driver.calls == []


class TestPresent:
    def test_it_is_every_gpu_and_of_one_that_is_cut_its_slices(self, driver: FakeDriver) -> None:
        driver.gpus[1].mig = pynvml.NVML_DEVICE_MIG_ENABLE
        driver.gpus[1].slices = {SLICE: (10, 9), OTHER_SLICE: (10, 9)}
        shown = Nvml().present()
        assert [device.identity for device in shown] == [
            DeviceIdentity(FIRST, "00000000:de:00.0"),
            DeviceIdentity(SLICE),
            DeviceIdentity(OTHER_SLICE),
        ]
        assert shown[0].name == "NVIDIA H100 80GB HBM3"

    def test_one_without_a_name_is_there(self, driver: FakeDriver) -> None:
        driver.refused["nvmlDeviceGetName"] = "NVML_ERROR_UNKNOWN"
        assert [device.name for device in Nvml().present()] == [None, None]

    def test_one_that_this_user_may_not_see_is_not(self, driver: FakeDriver) -> None:
        driver.refused["nvmlDeviceGetHandleByIndex"] = "NVML_ERROR_NO_PERMISSION"
        assert Nvml().present() == []


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [FIRST, SECOND]),
        ("0,1", [FIRST, SECOND]),
        ("1,0", [SECOND, FIRST]),
        ("1", [SECOND]),
        (" 1 , 0", [SECOND, FIRST]),
        (SECOND, [SECOND]),
        (f"{SECOND},{FIRST}", [SECOND, FIRST]),
        ("GPU-ffc7", [SECOND]),
        ("GPU-", []),
        ("1,-1,0", [SECOND]),
        ("1,7,0", [SECOND]),
        ("0,0", []),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
        (SLICE, [SLICE]),
        ("MIG-nothing", []),
        (f"{SLICE},1", [SLICE, SECOND]),
    ],
)
def test_what_cuda_visible_devices_leaves(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, value: str | None, seen: list[str]
) -> None:
    if SLICE in seen:
        driver.gpus[0].mig = pynvml.NVML_DEVICE_MIG_ENABLE
        driver.gpus[0].slices = {SLICE: (10, 9), OTHER_SLICE: (10, 9)}
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert [device.identity.uuid for device in Nvml().visible()] == seen


def test_of_a_visible_gpu_that_is_cut_the_first_slice_is_seen(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.gpus[0].mig = pynvml.NVML_DEVICE_MIG_ENABLE
    driver.gpus[0].slices = {SLICE: (10, 9), OTHER_SLICE: (10, 9)}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert [device.identity.uuid for device in Nvml().visible()] == [SLICE]


class TestFailure:
    @pytest.mark.parametrize(
        "code",
        ["NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_INVALID_ARGUMENT", "NVML_ERROR_UNKNOWN", "NVML_ERROR_NO_PERMISSION"],
    )
    def test_after_one_the_device_is_looked_up_anew(self, driver: FakeDriver, code: str) -> None:
        source = Nvml()
        source.device(DeviceIdentity(FIRST))
        driver.gpus[0].failing = code
        with pytest.raises(type(error(code))):
            source.device(DeviceIdentity(FIRST))
        driver.gpus[0].failing = None
        assert source.device(DeviceIdentity(FIRST)) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)
        assert driver.calls.count("nvmlDeviceGetHandleByUUID") == 2
        assert driver.calls.count("nvmlInit") == 1

    def test_a_device_that_was_replaced_is_found_again(self, driver: FakeDriver) -> None:
        source = Nvml()
        source.device(DeviceIdentity(FIRST))
        driver.gpus[0] = FakeGpu(free_bytes=GIB)
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            source.device(DeviceIdentity(FIRST))
        assert source.device(DeviceIdentity(FIRST)) == DeviceCounters(79 * GIB, GIB, 80 * GIB)

    @pytest.mark.parametrize("known", [True, False])
    def test_after_a_shutdown_by_another_library_it_starts_again(self, driver: FakeDriver, known: bool) -> None:
        source = Nvml()
        source.device(DeviceIdentity(FIRST))
        pynvml.nvmlShutdown()
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            source.device(DeviceIdentity(FIRST if known else SECOND))
        assert source.device(DeviceIdentity(FIRST)) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)

    def test_a_driver_that_comes_later_is_found(self, driver: FakeDriver) -> None:
        driver.fail("NVML_ERROR_DRIVER_NOT_LOADED")
        source = Nvml()
        for _ in range(2):
            with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
                source.device(DeviceIdentity(FIRST))
        driver.fail(None)
        assert source.device(DeviceIdentity(FIRST)) is not None

    def test_threads_that_ask_at_once_start_it_once(self, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        start = pynvml.nvmlInit

        def slowly() -> None:
            time.sleep(0.02)
            start()

        monkeypatch.setattr(pynvml, "nvmlInit", slowly)
        source = Nvml()
        barrier = threading.Barrier(8)
        figures: list[Any] = []

        def ask() -> None:
            barrier.wait()
            figures.append(source.device(DeviceIdentity(FIRST)))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert driver.started == 1
        assert figures == [DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)] * 8


class TestWhyNot:
    def test_there_is_no_reason_where_it_answers(self, driver: FakeDriver) -> None:
        assert Nvml().why_not() is None

    def test_the_driver_sees_no_device(self, driver: FakeDriver) -> None:
        driver.gpus.clear()
        answer = Nvml().why_not()
        assert answer is not None
        assert answer.reason == "the NVIDIA driver sees no device"

    @pytest.mark.parametrize("code", sorted(name for name in dir(pynvml) if name.startswith("NVML_ERROR_")))
    def test_every_error_has_a_reason_and_a_remedy_of_one_line(self, driver: FakeDriver, code: str) -> None:
        driver.fail(code)
        answer = Nvml().why_not()
        assert answer is not None
        for line in answer:
            assert line
            assert "\n" not in line

    def test_those_that_users_meet_have_their_own(self, driver: FakeDriver) -> None:
        codes = "LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED", "NO_PERMISSION", "LIB_RM_VERSION_MISMATCH", "UNKNOWN"
        answers = set()
        for code in codes:
            driver.fail(f"NVML_ERROR_{code}")
            answers.add(Nvml().why_not())
        assert len(answers) == len(codes)

    def test_the_library_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        answer = Nvml().why_not()
        assert answer is not None
        assert answer.remedy == "pip install nvidia-ml-py"
        with pytest.raises(ImportError):
            Nvml().device(DeviceIdentity(FIRST))


class TestRealLibrary:
    def test_without_a_driver_it_says_so(self) -> None:
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            pass
        else:
            pytest.skip("this machine has the driver's library")
        source = Nvml()
        answer = source.why_not()
        assert answer is not None
        assert "libnvidia-ml" in answer.reason
        with pytest.raises(pynvml.NVMLError_LibraryNotFound):
            source.device(DeviceIdentity(FIRST))

    def test_constructing_it_imports_nothing(self) -> None:
        code = "import sys; from phasescope.backends.nvml import Nvml; Nvml(); print('pynvml' in sys.modules)"
        assert in_new_python(code) == "False"

    def test_the_deprecated_package_of_that_name_warns_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "pynvml.py").write_text(
            "import warnings\n"
            "warnings.warn('The pynvml package is deprecated.', FutureWarning, stacklevel=2)\n"
            "def nvmlInit(): pass\n"
            "def nvmlDeviceGetCount(): return 1\n"
        )
        code = f"""
            import sys
            sys.path.insert(0, {str(tmp_path)!r})
            from phasescope.backends.nvml import Nvml
            print(Nvml().why_not())
        """
        assert in_new_python(code, "-W", "error") == "None"


class TestHowOftenTheDriverIsAsked:
    """Its lists of processes cost milliseconds under a lock that all ranks of a machine wait for."""

    LISTS = (
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetGraphicsRunningProcesses",
        "nvmlDeviceGetMPSComputeRunningProcesses",
    )

    @pytest.fixture
    def gpu(self) -> FakeGpu:
        return FakeGpu(reserved_bytes=GIB, processes={os.getpid(): 4 * GIB})

    def listed(self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, seconds: int, moves: int = 0) -> dict[str, int]:
        """Return how often each question was asked in `seconds`, once a second."""
        driver, now = FakeDriver([gpu]).install(monkeypatch), [0]
        nvml, identity = Nvml(monotonic_ns=lambda: now[0]), DeviceIdentity(uuid=gpu.uuid)
        for _ in range(seconds):
            nvml.device(identity)
            found = nvml.extra(identity)
            assert found["device_reserved_bytes"] == GIB
            now[0] += 1_000_000_000
            gpu.free_bytes -= moves
        asked = {name: driver.calls.count(name) for name in self.LISTS}
        return {**asked, "memory": driver.calls.count("nvmlDeviceGetMemoryInfo")}

    def test_an_idle_device_is_listed_every_few_seconds(self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.listed(gpu, monkeypatch, 20)
        assert [asked[name] for name in self.LISTS] == [4, 1, 1]
        assert asked["memory"] == 20 + 1  # what the driver keeps, once

    def test_one_whose_memory_moves_is_listed_again(self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.listed(gpu, monkeypatch, 20, moves=100 << 20)[self.LISTS[0]] == 20

    def test_a_list_that_was_not_empty_is_looked_at_again(self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        gpu.drawing = {1: GIB}
        asked = self.listed(gpu, monkeypatch, 20)
        assert [asked[name] for name in self.LISTS] == [4, 4, 1]


AT_WORK = {"utilization_percent": 98, "temperature_celsius": 64, "power_milliwatts": 612_345}


class TestAtWork:
    """How busy and warm a device is, and what it draws."""

    @pytest.fixture
    def gpu(self, driver: FakeDriver) -> FakeGpu:
        for name, figure in AT_WORK.items():
            setattr(driver.gpus[0], name, figure)
        return driver.gpus[0]

    def test_each_figure_has_its_unit(self, gpu: FakeGpu) -> None:
        assert Nvml().activity(DeviceIdentity(FIRST)) == AT_WORK

    @pytest.mark.parametrize("name", AT_WORK)
    def test_one_that_the_device_lacks_is_left_out_and_asked_once(
        self, name: str, gpu: FakeGpu, driver: FakeDriver
    ) -> None:
        setattr(gpu, name, None)
        nvml, known = Nvml(), {key: figure for key, figure in AT_WORK.items() if key != name}
        assert nvml.activity(DeviceIdentity(FIRST)) == known
        before = len(driver.calls)
        assert nvml.activity(DeviceIdentity(FIRST)) == known
        assert len(driver.calls) - before == len(known)

    @pytest.mark.parametrize("code", ["NVML_ERROR_UNKNOWN", "NVML_ERROR_TIMEOUT", "NVML_ERROR_IN_USE"])
    def test_one_that_fails_just_now_is_asked_again(self, code: str, gpu: FakeGpu, driver: FakeDriver) -> None:
        nvml = Nvml()
        driver.refused["nvmlDeviceGetPowerUsage"] = code
        assert "power_milliwatts" not in nvml.activity(DeviceIdentity(FIRST))
        driver.refused.clear()
        assert nvml.activity(DeviceIdentity(FIRST)) == AT_WORK

    @pytest.mark.parametrize("code", ["NVML_ERROR_FUNCTION_NOT_FOUND", "NVML_ERROR_NO_PERMISSION"])
    def test_a_driver_or_user_that_is_not_made_for_it(self, code: str, gpu: FakeGpu, driver: FakeDriver) -> None:
        driver.refused["nvmlDeviceGetTemperature"] = code
        assert Nvml().activity(DeviceIdentity(FIRST)).keys() == AT_WORK.keys() - {"temperature_celsius"}

    def test_the_number_for_not_available_is_no_figure(self, gpu: FakeGpu) -> None:
        gpu.power_milliwatts = gpu.utilization_percent = 0xFFFFFFFF
        assert Nvml().activity(DeviceIdentity(FIRST)) == {"temperature_celsius": 64}

    def test_a_device_that_is_lost_raises(self, gpu: FakeGpu) -> None:
        gpu.failing = "NVML_ERROR_GPU_IS_LOST"
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            Nvml().activity(DeviceIdentity(FIRST))

    def test_a_slice_has_none_of_its_own(self) -> None:
        gpu = FakeGpu(mig=1, slices={"MIG-a": (10 * GIB, 9 * GIB)}, power_milliwatts=1, temperature_celsius=2)
        with pytest.MonkeyPatch.context() as patched:
            FakeDriver([gpu]).install(patched)
            assert Nvml().activity(DeviceIdentity("MIG-a")) == {}
