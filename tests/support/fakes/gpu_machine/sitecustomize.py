"""One machine with two GPUs for whole processes: put this folder first on PYTHONPATH, and torch and NVML are fakes.

torch allocates, frees, runs out, works and forks as a training makes it; the memory that each process holds is a file
in `$FAKE_GPU_MACHINE`, so that every process sees the others' use, as a driver does. `$FAKE_GPU_FAULT` names something
that is to be wrong, so that it can be seen whether a check finds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.fakes import fake_cuda
from support.fakes.caching_allocator import CachingAllocator
from support.fakes.fake_cuda import GIB, UUIDS, FakeCuda
from support.fakes.fake_nvml import FakeDriver, FakeGpu

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE = Path(os.environ["FAKE_GPU_MACHINE"])
FAULT = os.environ.get("FAKE_GPU_FAULT", "")
CONTEXT = 300 * 2**20
RESERVE = 500 * 2**20
ROUNDING = 512
MATMUL_MS = 6.0
MALLOC_S = 0.0005
MUCH = 256 * 2**20
FEW_WRITES = 100


class Torch(FakeCuda):
    """A torch whose device is worked with. The device's clock is the wall's, and work queues up ahead of it."""

    def __init__(self) -> None:
        self.device_done_ms = 0.0
        conf = os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
        super().__init__(backend="cudaMallocAsync" if "backend:cudaMallocAsync" in conf else "native")
        self.initialised = False
        self.memory = [CachingAllocator(), CachingAllocator()]
        self.told_to_others: dict[int, int] = {}
        self.writes = 0

    @property
    def device_ms(self) -> float:
        """How far the device has come."""
        return min(self.queued_ms, self.queued_ms - (self.device_done_ms - time.monotonic() * 1000))

    @device_ms.setter
    def device_ms(self, _value: float) -> None: ...

    def empty(self, *shape: int, dtype: Any = None, device: str = "") -> Tensor:
        """Allocate memory of the device, as torch does: out of its cache, of the device, or after giving that back."""
        size = shape[0] if len(shape) == 1 else shape[0] * shape[1] * 4
        index = int(device.partition(":")[2])
        self._initialise()
        memory = self.memory[index]
        place = memory.take(size)
        if place is None and self._room(index) < memory.segment_for(size):
            self._count(index, "num_device_free", memory.empty_cache())
            self._tell(index)
            if self._room(index) >= memory.segment_for(size):  # else the failure counts it
                self._count(index, "num_alloc_retries", 1)
        if place is None:
            if self._room(index) < memory.segment_for(size):
                self._out_of_memory(index, size)
            if self.writes < FEW_WRITES:
                time.sleep(MALLOC_S)
            memory.reserve(size)
            self._count(index, "num_device_alloc", 1)
            place = memory.take(size)
        assert place is not None
        self._tell(index)
        return Tensor(self, index, place)

    def release(self, index: int, place: tuple[int, int]) -> None:
        """Note that a tensor is gone; its memory stays reserved."""
        self.memory[index].give(place)
        self._tell(index)

    def empty_cache(self) -> None:
        """Give back what is not in use."""
        for index, memory in enumerate(self.memory):
            if memory.reserved:
                time.sleep(MALLOC_S)
                self._count(index, "num_device_free", memory.empty_cache())
                self._tell(index)

    def _count(self, index: int, name: str, times: int) -> None:
        """Count what only the native allocator counts."""
        if self.backend == "native":
            self.stats[index][name] += times

    def mem_get_info(self, device: int) -> tuple[int, int]:
        """Return what is free on the device, and its total."""
        total = self.properties[device].total_memory
        held = processes(device)
        held.pop(os.getpid(), 0)
        own = self.memory[device].reserved + CONTEXT
        return total - RESERVE - own - sum(used for used in held.values() if used), total

    def limit(self, share: float, device: int) -> None:
        """Let this process have a share of the device."""
        self.limits[device] = int(share * self.properties[device].total_memory)

    def _room(self, index: int) -> int:
        """Return how much more the allocator may reserve."""
        free = self.mem_get_info(index)[0]
        return min(free, self.limits.get(index, free + self.memory[index].reserved) - self.memory[index].reserved)

    def _out_of_memory(self, index: int, asked: int) -> None:
        others = {pid: used for pid, used in processes(index).items() if pid != os.getpid()}
        own = self.memory[index].reserved + CONTEXT
        listed = "".join(
            f"Process {pid} has {fake_cuda._size(used or 0)} memory in use. " for pid, used in others.items()
        )
        listed += f"Including non-PyTorch memory, this process has {fake_cuda._size(own)} memory in use. "
        self.run_out(index, asked, free=self.mem_get_info(index)[0], listed=listed)

    def _tell(self, index: int) -> None:
        """Set the statistics, and tell other processes."""
        memory, stats = self.memory[index], self.stats[index]
        told = memory.allocated + (2**20 if FAULT == "allocated" else 0)
        counts = {name: stats[name] for name in ("num_device_alloc", "num_device_free")}
        self.use(index, told, memory.reserved, told, 0)
        stats.update(counts)
        told_others = self.told_to_others.get(index, -1)
        if told_others == memory.reserved:
            return
        if self.writes < FEW_WRITES or abs(told_others - memory.reserved) >= MUCH:  # a file takes longer than a block
            self.writes += 1
            self.told_to_others[index] = memory.reserved
            (MACHINE / f"{os.getpid()}.{index}").write_text(str(memory.reserved + CONTEXT))

    def work(self, index: int) -> Tensor:
        """Give the device something to do."""
        now = time.monotonic() * 1000
        self.queued_ms += MATMUL_MS
        self.device_done_ms = max(self.device_done_ms, now) + MATMUL_MS * (3 if FAULT == "device time" else 1)
        return self.empty(ROUNDING, device=f"cuda:{index}")

    def synchronize(self, device: int) -> None:
        """Wait for it."""
        while self.device_ms < self.queued_ms:
            time.sleep(0.001)

    def memory_stats(self, device: int) -> dict[str, int]:
        """Return the flat statistics, with the true figures."""
        nested = self.stats[device]
        flat = {f"{name}.all.current": nested[name]["all"]["current"] for name in fake_cuda._BYTES}
        live = self.memory[device].allocated
        return {**flat, "allocated_bytes.all.current": live, "active_bytes.all.current": live}

    def pool(self) -> object:
        """Make a private pool, of which the statistics tell."""
        for stats in self.stats:
            pools = stats["reserved_bytes_by_private_pools"]
            pools[0, len(pools) + 1] = {"all": {"current": 0}}
        return object()

    @contextlib.contextmanager
    def capture(self, _graph: Graph) -> Iterator[None]:
        """Capture what this thread does: meanwhile no other may ask for an event in the strict mode."""
        self.capturing = self.other_thread_captures = True
        try:
            yield
        finally:
            self.capturing = self.other_thread_captures = False

    def imported(self) -> None:
        """Leave the process as `import torch` does."""
        self.install(_Setter())  # type: ignore[arg-type]
        cuda, torch = vars(sys.modules["torch.cuda"]), vars(sys.modules["torch"])
        cuda.update(
            is_available=lambda: True,
            device_count=lambda: self.devices,
            set_device=lambda index: setattr(self.thread, "device", index),
            memory_allocated=lambda index: self.memory[index].allocated,
            memory_reserved=lambda index: self.memory[index].reserved,
            mem_get_info=self.mem_get_info,
            empty_cache=self.empty_cache,
            set_per_process_memory_fraction=self.limit,
            MemPool=self.pool,
            use_mem_pool=contextlib.nullcontext,
            CUDAGraph=Graph,
            graph=self.capture,
            memory_stats=self.memory_stats,
            synchronize=self.synchronize,
            reset_peak_memory_stats=self.core._cuda_resetPeakMemoryStats,
        )
        torch.update(empty=self.empty, rand=self.empty, uint8="uint8", OutOfMemoryError=fake_cuda.OutOfMemoryError)
        torch["__version__"] = "2.13.0+fake"


class Graph:
    """`torch.cuda.CUDAGraph`."""

    def replay(self) -> None:
        """Do nothing: what it would do is in nobody's interest here."""


class Tensor:
    """It holds memory until it is collected."""

    def __init__(self, torch: Torch, index: int, place: tuple[int, int]) -> None:
        self._torch = torch
        self._index = index
        weakref.finalize(self, torch.release, index, place)

    def __matmul__(self, _other: Tensor) -> Tensor:
        return self._torch.work(self._index)


class _Setter:
    """The part of a monkeypatch that `FakeCuda.install` uses: here for good."""

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
    """Return the bytes that each living process holds on a device."""
    held: dict[int, int | None] = {}
    for file in MACHINE.glob(f"*.{index}"):
        pid = int(file.stem)
        if Path(f"/proc/{pid}").exists():
            held[pid] = int(file.read_text() or 0)
    return held


def smi(arguments: list[str]) -> str:
    """Return the output of nvidia-smi."""
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
    """`libcuda.so.1`, as far as events, contexts and capture modes go."""

    def __init__(self, torch: Torch) -> None:
        self._torch = torch

    def __getitem__(self, name: str) -> Any:
        return self._torch.driver[name]


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
