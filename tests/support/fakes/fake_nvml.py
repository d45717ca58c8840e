"""An NVIDIA driver behind the real pynvml, for machines without one.

The functions of pynvml that ours may call are replaced by ones of the same signature; its error classes, constants and
structures are the real ones. A function that is not replaced still finds no driver.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any
from unittest import mock

import pynvml

if TYPE_CHECKING:
    import pytest

GIB = 1024**3


@dataclasses.dataclass
class FakeGpu:
    """One GPU. `mig` is its mode, None if it has none; `slices` are its MIG devices' (total, free) by UUID.

    `reserved_bytes` is the driver's part of the memory in use. `processes` are the bytes that each holds, by pid; None
    is the answer of a driver that does not know. Those of `drawing` are listed as graphics processes.
    """

    uuid: str = "GPU-737e2423-874a-23a4-1126-dfbe3e77c294"
    pci_bus_id: str = "00000000:DE:00.0"
    total_bytes: int = 80 * GIB
    free_bytes: int = 70 * GIB
    mig: int | None = None
    slices: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    reserved_bytes: int = 0
    processes: dict[int, int | None] = dataclasses.field(default_factory=dict)
    drawing: dict[int, int | None] = dataclasses.field(default_factory=dict)
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_milliwatts: int | None = None
    """How it is at work, of the whole GPU; None: not supported. A slice has none."""
    failing: str | None = None
    """The error, by the name of its code, with which memory is answered."""


class FakeDriver:
    """The driver's state. `started` counts nvmlInit less nvmlShutdown, as the real library does.

    `refused` are functions that answer with an error, by their names and its code's.
    """

    def __init__(self, gpus: list[FakeGpu]) -> None:
        self.gpus = gpus
        self.started = 0
        self.refused: dict[str, str] = {}
        self.calls: list[str] = []
        self._failing: str | None = None
        self._handles: list[tuple[Any, FakeGpu, str]] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
        """Put it behind pynvml."""
        for name in [name for name in dir(self) if name.startswith("nvml")]:
            real = getattr(pynvml, name)
            fake = mock.create_autospec(real, side_effect=self._recorded(name))
            monkeypatch.setattr(pynvml, name, fake)
        return self

    def fail(self, code: str | None) -> None:
        """Let nvmlInit fail from now on, by the name of the error's code."""
        self._failing = code

    def lack(self, *names: str) -> None:
        """Be an older driver, which does not have these functions. `…MemoryInfo_v2` is pynvml's second version."""
        for name in names:
            self.refused[name] = "NVML_ERROR_FUNCTION_NOT_FOUND"

    def nvmlInit(self) -> None:  # noqa: N802
        if self._failing:
            raise error(self._failing)
        self.started += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._check()
        self.started -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check()
        return len(self.gpus)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        self._check()
        if not uuid.startswith(("GPU-", "MIG-")):
            raise error("NVML_ERROR_INVALID_ARGUMENT")
        for gpu in self.gpus:
            if uuid == gpu.uuid or uuid in gpu.slices:
                return self._handle(gpu, uuid)
        raise error("NVML_ERROR_NOT_FOUND")

    def nvmlDeviceGetHandleByPciBusId(self, pciBusId: str) -> Any:  # noqa: N802, N803
        self._check()
        for gpu in self.gpus:
            if _location(gpu.pci_bus_id) == _location(pciBusId):
                return self._handle(gpu, gpu.uuid)
        raise error("NVML_ERROR_NOT_FOUND")

    def nvmlDeviceGetMigMode(self, device: Any) -> list[int]:  # noqa: N802
        gpu, _ = self._of(device)
        if gpu.mig is None:
            raise error("NVML_ERROR_NOT_SUPPORTED")
        return [gpu.mig, gpu.mig]

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        self._check()
        if not 0 <= index < len(self.gpus):
            raise error("NVML_ERROR_INVALID_ARGUMENT")
        return self._handle(self.gpus[index], self.gpus[index].uuid)

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        return self._of(handle)[1]

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        _, uuid = self._of(handle)
        return "NVIDIA H100 80GB HBM3" + (" MIG 1g.10gb" if uuid.startswith("MIG-") else "")

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:  # noqa: N802
        gpu, uuid = self._of(handle)
        if uuid in gpu.slices:
            raise error("NVML_ERROR_NOT_SUPPORTED")
        return pynvml.nvmlPciInfo_t(busId=gpu.pci_bus_id.encode())

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any) -> int:  # noqa: N802
        return 7 if self._of(device)[0].mig is not None else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, index: int) -> Any:  # noqa: N802
        gpu, _ = self._of(device)
        if index >= len(gpu.slices):
            raise error("NVML_ERROR_NOT_FOUND")
        return self._handle(gpu, list(gpu.slices)[index])

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None) -> Any:  # noqa: N802
        gpu, uuid = self._of(handle)
        if gpu.failing:
            raise error(gpu.failing)
        total, free = gpu.slices.get(uuid, (gpu.total_bytes, gpu.free_bytes))
        if not version:
            return pynvml.c_nvmlMemory_t(total=total, free=free, used=total - free)
        assert version == pynvml.nvmlMemory_v2
        self._refuse("nvmlDeviceGetMemoryInfo_v2")
        reserved = 0 if uuid in gpu.slices else gpu.reserved_bytes
        used = total - free - reserved
        return pynvml.c_nvmlMemory_v2_t(version=version, total=total, reserved=reserved, free=free, used=used)

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802
        busy = self._at_work(handle, "utilization_percent")
        return pynvml.c_nvmlUtilization_t(gpu=busy, memory=busy // 2)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._at_work(handle, "temperature_celsius")

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        return self._at_work(handle, "power_milliwatts")

    def _at_work(self, handle: Any, name: str) -> int:
        gpu, uuid = self._of(handle)
        if gpu.failing:
            raise error(gpu.failing)
        figure: int | None = getattr(gpu, name)
        if figure is None or uuid in gpu.slices or (gpu.mig and name == "utilization_percent"):
            raise error("NVML_ERROR_NOT_SUPPORTED")
        return figure

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        self._refuse_unversioned("nvmlDeviceGetComputeRunningProcesses_v3")
        return _processes(self._of(handle)[0].processes)

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        self._refuse_unversioned("nvmlDeviceGetGraphicsRunningProcesses_v3")
        return _processes(self._of(handle)[0].drawing)

    def nvmlDeviceGetMPSComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        self._refuse_unversioned("nvmlDeviceGetMPSComputeRunningProcesses_v3")
        return []

    def _refuse(self, name: str) -> None:
        if name in self.refused:
            raise error(self.refused[name])

    def _refuse_unversioned(self, name: str) -> None:
        """Raise as pynvml does if the driver lacks the newest version of a function, which it names."""
        if self.refused.get(name) == "NVML_ERROR_FUNCTION_NOT_FOUND":
            raise pynvml.NVMLLibraryMismatchError("the pyNVML version does not match the NVML lib version")
        self._refuse(name)

    def _recorded(self, name: str) -> Any:
        answer = getattr(self, name)

        def recorded(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            self._refuse(name)
            return answer(*arguments, **named)

        return recorded

    def _check(self) -> None:
        if not self.started:
            raise error("NVML_ERROR_UNINITIALIZED")

    def _handle(self, gpu: FakeGpu, uuid: str) -> Any:
        handle = pynvml.c_nvmlDevice_t()
        self._handles.append((handle, gpu, uuid))
        return handle

    def _of(self, handle: Any) -> tuple[FakeGpu, str]:
        self._check()
        for known, gpu, uuid in self._handles:
            if known is handle and gpu in self.gpus:
                return gpu, uuid
        raise error("NVML_ERROR_INVALID_ARGUMENT")


def error(code: str) -> Exception:
    """Return the exception that pynvml raises for a code, of the code's own class."""
    raised: Exception = pynvml.NVMLError(getattr(pynvml, code))
    return raised


def _location(pci_bus_id: str) -> tuple[int, ...]:
    """Return the numbers of a location, which the driver compares: letters of either case, a short or long domain."""
    domain, bus, rest = pci_bus_id.split(":")
    slot, _, function = rest.partition(".")
    return tuple(int(part, 16) for part in (domain, bus, slot, function))


def _processes(held: dict[int, int | None]) -> list[Any]:
    """Return processes as pynvml makes them of the driver's data: its number for "not known" becomes None."""
    listed = []
    for pid, used in held.items():
        struct = pynvml.c_nvmlProcessInfo_v3_t(pid=pid, usedGpuMemory=used or 0, gpuInstanceId=0xFFFFFFFF)
        process = pynvml.nvmlStructToFriendlyObject(struct)
        process.usedGpuMemory = used
        listed.append(process)
    return listed
