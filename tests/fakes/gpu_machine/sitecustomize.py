"""One machine with two GPUs for whole processes: put this folder first on PYTHONPATH, and torch and NVML are fakes.

torch allocates, frees, runs out, works and forks as a training makes it; what each process holds is a file in
`$FAKE_GPU_MACHINE`, so that every process sees what the others use, as a driver does. `$FAKE_GPU_FAULT` names
something that is to be wrong, so that it can be seen whether a check finds it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import weakref
from pathlib import Path
from typing import Any

from fakes import fake_cuda
from fakes.fake_cuda import GIB, UUIDS, FakeCuda
from fakes.fake_nvml import FakeDriver, FakeGpu

MACHINE = Path(os.environ["FAKE_GPU_MACHINE"])
FAULT = os.environ.get("FAKE_GPU_FAULT", "")
CONTEXT = 300 * 2**20
RESERVE = 500 * 2**20
ROUNDING = 512
MATMUL_MS = 6.0


class OutOfMemoryError(RuntimeError):
    """`torch.OutOfMemoryError`."""


class Torch(FakeCuda):
    """A torch whose device is worked with. The device's clock is the wall's, and work queues up ahead of it."""

    def __init__(self) -> None:
        self.device_done_ms = 0.0
        super().__init__()
        self.initialised = False
        self.held = [0, 0]
        self.reserved = [0, 0]

    @property
    def device_ms(self) -> float:
        """How far the device has come."""
        return min(self.queued_ms, self.queued_ms - (self.device_done_ms - time.monotonic() * 1000))

    @device_ms.setter
    def device_ms(self, _value: float) -> None: ...

    def empty(self, *shape: int, dtype: Any = None, device: str = "") -> Tensor:
        """Memory of the device, in torch's rounding."""
        size = shape[0] if len(shape) == 1 else shape[0] * shape[1] * 4
        index = int(device.partition(":")[2])
        self._initialise()
        rounded = -(-size // ROUNDING) * ROUNDING
        if rounded > 70 * GIB:
            raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / GIB:.2f} GiB. GPU {index} is full.")
        self._change(index, rounded)
        return Tensor(self, index, rounded)

    def release(self, index: int, size: int) -> None:
        """A tensor is gone; what it held stays reserved."""
        self._change(index, -size)

    def _change(self, index: int, size: int) -> None:
        self.held[index] += size
        self.reserved[index] = max(self.reserved[index], -(-self.held[index] // (2 * 2**20)) * 2 * 2**20)
        told = self.held[index] + (2**20 if FAULT == "allocated" else 0)
        self.use(index, told, self.reserved[index], told, 0)
        (MACHINE / f"{os.getpid()}.{index}").write_text(str(self.reserved[index] + CONTEXT))

    def work(self, index: int) -> Tensor:
        """Something for the device to do."""
        now = time.monotonic() * 1000
        self.queued_ms += MATMUL_MS
        self.device_done_ms = max(self.device_done_ms, now) + MATMUL_MS * (3 if FAULT == "device time" else 1)
        return self.empty(ROUNDING, device=f"cuda:{index}")

    def synchronize(self, device: int) -> None:
        """Wait for it."""
        while self.device_ms < self.queued_ms:
            time.sleep(0.001)

    def memory_stats(self, device: int) -> dict[str, int]:
        """The flat one, with what is true."""
        nested = self.stats[device]
        flat = {f"{name}.all.current": nested[name]["all"]["current"] for name in fake_cuda._BYTES}
        return {**flat, "allocated_bytes.all.current": self.held[device], "active_bytes.all.current": self.held[device]}

    def imported(self) -> None:
        """As `import torch` leaves the process."""
        self.install(_Setter())  # type: ignore[arg-type]
        cuda, torch = vars(sys.modules["torch.cuda"]), vars(sys.modules["torch"])
        cuda.update(
            is_available=lambda: True,
            device_count=lambda: self.devices,
            set_device=lambda index: setattr(self.thread, "device", index),
            memory_allocated=lambda index: self.held[index],
            memory_reserved=lambda index: self.reserved[index],
            memory_stats=self.memory_stats,
            synchronize=self.synchronize,
            reset_peak_memory_stats=self.core._cuda_resetPeakMemoryStats,
        )
        torch.update(empty=self.empty, rand=self.empty, uint8="uint8", OutOfMemoryError=OutOfMemoryError)
        torch["__version__"] = "2.13.0+fake"


class Tensor:
    """It holds memory until it is collected."""

    def __init__(self, torch: Torch, index: int, size: int) -> None:
        self._torch = torch
        self._index = index
        weakref.finalize(self, torch.release, index, size)

    def __matmul__(self, _other: Tensor) -> Tensor:
        return self._torch.work(self._index)


class _Setter:
    """What `FakeCuda.install` asks of a monkeypatch: here for good."""

    def setitem(self, mapping: dict[Any, Any], name: Any, value: Any) -> None:
        mapping[name] = value

    def setattr(self, target: Any, name: str, value: Any) -> None:
        setattr(target, name, value)


class Driver(FakeDriver):
    """An NVML that sees every process's file."""

    def __init__(self) -> None:
        uuids, ids = [f"GPU-{uuid}" for uuid in UUIDS], ("00000000:DE:00.0", "00000000:DD:00.0")
        super().__init__(
            [FakeGpu(uuid, bus_id, reserved_bytes=RESERVE) for uuid, bus_id in zip(uuids, ids, strict=True)]
        )

    def _of(self, handle: Any) -> tuple[FakeGpu, str]:
        gpu, uuid = super()._of(handle)
        index = self.gpus.index(gpu)
        gpu.processes = processes(index)
        gpu.free_bytes = gpu.total_bytes - RESERVE - sum(used for used in gpu.processes.values() if used)
        if FAULT == "free":
            gpu.free_bytes -= GIB
        return gpu, uuid


def processes(index: int) -> dict[int, int | None]:
    """What each process that lives holds on a device."""
    held: dict[int, int | None] = {}
    for file in MACHINE.glob(f"*.{index}"):
        pid = int(file.stem)
        if Path(f"/proc/{pid}").exists():
            held[pid] = int(file.read_text() or 0)
    return held


def smi(arguments: list[str]) -> str:
    """What nvidia-smi prints."""
    query = next(argument for argument in arguments if argument.startswith("--query-"))
    lines = []
    for index, uuid in enumerate(UUIDS):
        held = processes(index)
        if query.startswith("--query-gpu=uuid"):
            free = 80 * GIB - RESERVE - sum(used for used in held.values() if used)
            lines.append(f"GPU-{uuid}, {80 * GIB // 2**20}, {free // 2**20}")
        elif query.startswith("--query-gpu"):
            lines.append("NVIDIA H100 80GB HBM3, 570.86.15")
        else:
            lines += [f"GPU-{uuid}, {pid}, {(used or 0) // 2**20}" for pid, used in held.items()]
    return "\n".join(lines)


class _Libcuda:
    """`libcuda.so.1`, as far as capture modes go."""

    def __init__(self, torch: Torch) -> None:
        self._torch = torch

    def __getitem__(self, _name: str) -> Any:
        return self._torch.exchange_capture_mode


def _boot() -> None:
    torch, load = Torch(), ctypes.CDLL
    torch.imported()
    Driver().install(_Setter())  # type: ignore[arg-type]
    vars(ctypes)["CDLL"] = lambda name=None, *rest, **named: (
        _Libcuda(torch) if name == "libcuda.so.1" else load(name, *rest, **named)
    )
    if FAULT == "cuda is touched":
        torch.initialised = True


if "FAKE_GPU_MACHINE" in os.environ:
    _boot()
