"""NVML over a fake driver behind the real pynvml, and over this machine, which may have none."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

from fakes.fake_cuda import FakeCuda
from fakes.fake_nvml import GIB, FakeDriver, FakeGpu, error
from fakes.processes import in_new_python
from phasescope.backends.nvml import Nvml
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.backends.torch_cuda import Cuda

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.backends.protocol import DeviceSource

pytestmark = pytest.mark.neutral
FIRST = "GPU-737e2423-874a-23a4-1126-dfbe3e77c294"
SECOND = "GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae"
SLICE = "MIG-0a1b2c3d-874a-23a4-1126-dfbe3e77c294"


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
        driver.gpus[0].slices = {SLICE: (10 * GIB, 9 * GIB)}

    def test_a_slice_has_its_own_figures(self) -> None:
        assert Nvml().device(DeviceIdentity(SLICE)) == DeviceCounters(1 * GIB, 9 * GIB, 10 * GIB)

    @pytest.mark.parametrize("uuid", [FIRST, "MIG-of-a-driver-that-names-it-otherwise", None])
    def test_the_whole_gpus_figures_are_not_taken_for_a_slices(self, uuid: str | None) -> None:
        assert Nvml().device(DeviceIdentity(uuid, "00000000:de:00.0")) == DeviceCounters(None, None, None)

    def test_a_gpu_that_is_not_sliced_has_figures(self, driver: FakeDriver) -> None:
        driver.gpus[0].mig = pynvml.NVML_DEVICE_MIG_DISABLE
        assert Nvml().device(DeviceIdentity(FIRST)) == DeviceCounters(10 * GIB, 70 * GIB, 80 * GIB)


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
