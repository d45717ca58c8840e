"""A torch with CUDA or ROCm devices, as far as the backend looks, for machines without one.

Signatures, shapes and errors are those of torch 2.13; a test holds the signatures against the installed one. Like the
real thing, a call that needs the device initialises it: `initialisations` counts that, since nothing of ours may cause
it.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

GIB = 1024**3
UUIDS = ("737e2423-874a-23a4-1126-dfbe3e77c294", "ffc79498-8ff3-c2dc-3b0d-fafd804516ae")
_POOLS = ("all", "small_pool", "large_pool")
_FAMILIES = ("allocation", "segment", "active", "inactive_split")
_BYTES = ("allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes", "requested_bytes")
_COUNTERS = (
    "num_alloc_retries",
    "num_ooms",
    "num_sync_all_streams",
    "num_device_alloc",
    "num_device_free",
    "num_oom_rejections",
    "max_split_size",
)


class Uuid:
    """`torch._C._CUuuid`: only its text is of use."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class OutOfMemoryError(RuntimeError):
    """`torch.OutOfMemoryError`."""


class AcceleratorError(RuntimeError):
    """`torch.AcceleratorError`."""


OutOfMemoryError.__module__ = AcceleratorError.__module__ = "torch"

DEVICE_ASSERT = 710
"""CUDA_ERROR_ASSERT."""


def _size(size: int) -> str:
    """Format a size as torch does."""
    for unit, name in ((GIB, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"


class FakeStream:
    """`torch.cuda.Stream`: only its name and its handle are of use."""

    def __init__(self, device: int, cuda_stream: int = 0) -> None:
        self.name = f"stream of {device}"
        self.cuda_stream = cuda_stream


class FakeEvent:
    """`torch.cuda.Event`: recorded in a stream, over once the device has come to it."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._stream = 0
        self.recorded_ms: float | None = None
        cuda.handles.append(self)
        self.cuda_event = len(cuda.handles)

    def record(self, stream: FakeStream) -> None:
        """Put it into the queue: the device comes to it when its time is `queued_ms`."""
        self._cuda.reach_device()
        if self._cuda.capturing:
            raise RuntimeError("recorded into a graph")
        self._cuda.streams.append(stream.name)
        self.recorded_ms = self._cuda.queued_ms
        self._stream = stream.cuda_stream
        self._cuda.thread.context = 1  # the runtime has made the device's current in this thread

    def query(self) -> bool:
        """Return whether the device has come to it, by the runtime, which makes a context if the thread has none."""
        self._cuda.contexts.add(getattr(self._cuda.thread, "device", 0))
        return self._is_over()

    def _is_over(self) -> bool:
        if self._stream in self._cuda.stuck_streams:
            return False
        return self.recorded_ms is None or self.recorded_ms <= self._cuda.device_ms


class FakeCuda:
    """The state behind the fake modules. Tests move it as a training would."""

    def __init__(self, *, devices: int = 2, hip: str | None = None, backend: str = "native") -> None:
        self.devices = devices
        self.hip = hip
        self.backend = backend
        self.initialisations = 0
        self.bad_fork: bool | None = None
        self.contexts: set[int] = set()
        self.stats = [_no_stats() for _ in range(devices)]
        self.properties = [_properties(device) for device in range(devices)]
        self.thread = threading.local()
        self.host_stats = {name: _stat() for name in ("allocated_bytes", "active_bytes")}
        self.queued_ms = 0.0
        self.device_ms = 0.0
        self.capturing = False
        self.other_thread_captures = False
        self.capture_mode = 0
        self.streams: list[str] = []
        self.stuck_streams: set[int] = set()
        self.handles: list[FakeEvent] = []
        self.driver = {
            "cuThreadExchangeStreamCaptureMode": self.exchange_capture_mode,
            "cuEventQuery": self._event_query,
            "cuEventElapsedTime": self._event_elapsed,
            "cuCtxGetCurrent": self._context_current,
            "cuCtxPushCurrent_v2": self._context_push,
            "cuCtxPopCurrent_v2": self._context_pop,
        }
        self.driver |= {name.replace("cu", "hip", 1): function for name, function in self.driver.items()}
        self.failed_with = 0
        self.events_made = 0
        self.observers: list[Callable[[int, int, int, int], object]] = []
        self.limits: dict[int, int] = {}
        self._pid = os.getpid()
        self.core = self._core()
        self.cuda = self._cuda()
        self.initialised = True

    @property
    def initialised(self) -> bool:
        """`torch.cuda._initialized`."""
        return bool(vars(self.cuda)["_initialized"])

    @initialised.setter
    def initialised(self, is_initialised: bool) -> None:
        vars(self.cuda)["_initialized"] = is_initialised

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        """Put it in the place of torch, imported in full."""
        version = ModuleType("torch.version")
        torch = ModuleType("torch")
        torch.__spec__ = importlib.machinery.ModuleSpec("torch", None)
        modules = {"torch": torch, "torch._C": self.core, "torch.cuda": self.cuda, "torch.version": version}
        vars(version).update(hip=self.hip, cuda=None if self.hip else "13.0")
        vars(torch).update(_C=self.core, cuda=self.cuda, version=version)
        if "torch.cuda.memory" in sys.modules:  # the real one
            monkeypatch.delitem(sys.modules, "torch.cuda.memory")
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return self

    def use(self, device: int, allocated: int = 0, reserved: int = 0, active: int = 0, split: int = 0) -> None:
        """Make a context on the device, and set its allocator's figures, in bytes.

        Where reserved moves, the device was gone to: that counts, with the native allocator.
        """
        self.contexts.add(device)
        before = self.stats[device]["reserved_bytes"]["all"]["current"]
        if reserved != before and self.backend == "native":
            self.stats[device]["num_device_alloc" if reserved > before else "num_device_free"] += 1
        held = {"allocated": allocated, "reserved": reserved, "active": active, "inactive_split": split}
        for name, size in held.items():
            for pool in ("all", "large_pool"):
                stat = self.stats[device][f"{name}_bytes"][pool]
                stat.update(current=size, peak=max(stat["peak"], size))

    def retry(self, device: int, reserved: int) -> None:
        """Let the device be full: what is cached is given back, down to `reserved`, and then there is room."""
        stats = self.stats[device]
        self.use(device, stats["allocated_bytes"]["all"]["current"], reserved)
        if self.backend == "native":
            stats["num_alloc_retries"] += 1
            stats["num_device_alloc"] += 1

    def run_out(
        self,
        device: int,
        asked: int,
        *,
        free: int,
        frees: int = 0,
        caught: bool = False,
        listed: str | None = "",
        pools: int = 0,
    ) -> None:
        """Fail an allocation: observers are called, in this thread, then temporaries are freed, then torch raises.

        An observer's exception comes in the place of torch's error, as it does there. `caught`: by the operator.
        `listed` is what torch says of the processes; None: NVML does not say, as of a MIG slice, and torch fails over
        it before it calls anybody. `pools` is free in the pools of graphs: the counters have it as reserved and unused,
        the message as allocated.
        """
        stats, total = self.stats[device], self.properties[device].total_memory
        limit = self.limits.get(device)
        if listed is None:
            live, reserved = (stats[f"{name}_bytes"]["all"]["current"] for name in ("allocated", "reserved"))
            self.use(device, live - frees, reserved, live - frees)
            raise RuntimeError(
                'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1131, please '
                "report a bug to PyTorch. "
            )
        if self.backend == "native":
            stats["num_alloc_retries"] += 1  # it has given back its cache, and tried again
            stats["num_ooms"] += 1
        for observer in self.observers:
            observer(device, asked, total if limit is None else limit, free)
        live, reserved = (stats[f"{name}_bytes"]["all"]["current"] for name in ("allocated", "reserved"))
        self.use(device, live - frees, reserved, live - frees)
        if caught:
            return
        private = f", with {_size(pools)} allocated in private pools (e.g., CUDA Graphs)" if pools else ""
        allowed = "" if limit is None else f"{_size(limit)} allowed; "
        raise OutOfMemoryError(
            f"{'HIP' if self.hip else 'CUDA'} out of memory. Tried to allocate {_size(asked)}. GPU {device} has a "
            f"total capacity of {_size(total)} of which {_size(free)} is free. {listed}{allowed}Of the allocated "
            f"memory {_size(live + pools)} is allocated by PyTorch{private}, and {_size(reserved - live - pools)} is "
            "reserved by PyTorch but "
            "unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=..."
        )

    def reject(self, device: int, asked: int) -> None:
        """Refuse a request for its limit before the driver is asked (torch 2.13, `throw_on_cudamalloc_oom`): that is
        counted apart, and no observer of failures is called."""
        self.stats[device]["num_oom_rejections"] += 1
        raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {_size(asked)}, which was rejected.")

    def fail_on_device(self) -> None:
        """Let a kernel fail: whatever reaches the runtime or the driver fails with that from now on, to the end of the
        process. What torch keeps itself, it still tells."""
        self.failed_with = DEVICE_ASSERT

    def reach_device(self) -> None:
        """Act as a call of the runtime."""
        if self.failed_with:
            raise AcceleratorError(
                "CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in "
                "https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.\n"
                "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
                "might be incorrect."
            )

    def _initialise(self) -> None:
        if not self._is_initialized():
            self.initialisations += 1
            self.initialised = True

    def _is_initialized(self) -> bool:
        forked = os.getpid() != self._pid if self.bad_fork is None else self.bad_fork
        return self.initialised and not forked

    def _check(self, device: object, what: str) -> int:
        if not isinstance(device, int):
            raise RuntimeError(f"invalid argument to {what}")
        if not self._is_initialized() or not 0 <= device < self.devices:
            raise RuntimeError(f"Allocator not initialized for device {device}: did you call init?")
        return device

    def _core(self) -> ModuleType:
        """Return the module `torch._C`."""

        def _cuda_memoryStats(device: int) -> dict[str, Any]:  # noqa: N802
            if self.backend == "pluggable":
                raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats.")
            return self.stats[self._check(device, "memory_allocated")]

        def _cuda_resetPeakMemoryStats(device: int) -> None:  # noqa: N802
            for families in self.stats[self._check(device, "reset_peak_memory_stats")].values():
                for stat in families.values() if isinstance(families, dict) else ():
                    if isinstance(stat, dict) and "peak" in stat:
                        stat["peak"] = stat["current"]

        def _cuda_attach_out_of_memory_observer(observer: Callable[[int, int, int, int], object]) -> None:
            self._initialise()
            if self.backend != "native":
                raise RuntimeError(f"{self.backend} does not yet support attachOutOfMemoryObserver.")
            self.observers.append(observer)

        def _cuda_hostMemoryStats() -> dict[str, Any]:  # noqa: N802
            self._check(0, "host_memory_stats")
            return self.host_stats

        def _cuda_isCurrentStreamCapturing() -> bool:  # noqa: N802
            self.reach_device()
            return self.capturing

        def _cuda_getDevice() -> int:  # noqa: N802
            self._initialise()
            self.reach_device()
            return getattr(self.thread, "device", 0)

        def _cuda_getDeviceCount() -> int:  # noqa: N802
            return self.devices

        def _cuda_hasPrimaryContext(device: int) -> bool:  # noqa: N802
            if not 0 <= device < self.devices:
                raise RuntimeError("hasPrimaryContext expects a valid device index")
            return device in self.contexts

        def _cuda_getAllocatorBackend() -> str:  # noqa: N802
            return self.backend

        return _module("torch._C", locals())

    def _cuda(self) -> ModuleType:
        """Return the module `torch.cuda`."""

        def is_initialized() -> bool:
            return self._is_initialized()

        def _is_in_bad_fork() -> bool:
            return self.initialised and not self._is_initialized()

        def current_device() -> int:
            return int(self.core._cuda_getDevice())

        def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
            if not self._is_initialized():
                return {}
            return dict(self.core._cuda_memoryStats(device))

        def current_stream(device: Any = None) -> FakeStream:
            self._initialise()
            return FakeStream(device, getattr(self.thread, "stream", 0))

        def get_device_properties(device: Any = None) -> SimpleNamespace:
            self._initialise()
            if device not in range(self.devices):
                raise AssertionError("Invalid device id")
            return self.properties[int(device)]

        module = _module("torch.cuda", locals())
        vars(module)["Event"] = self._event
        return module

    def _event(self, *, enable_timing: bool = False) -> FakeEvent:
        assert enable_timing
        self.events_made += 1
        return FakeEvent(self)

    def _event_query(self, handle: Any) -> int:
        """Stand for `cuEventQuery`, which makes no context, and needs one."""
        if self.failed_with:
            return self.failed_with
        if not getattr(self.thread, "context", 0) and self.hip is None:
            return 201  # CUDA_ERROR_INVALID_CONTEXT
        if self.other_thread_captures and self.capture_mode != 2:
            return 900  # CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, and the other's graph is broken
        return 0 if self.handles[handle.value - 1]._is_over() else 600

    def _event_elapsed(self, milliseconds: Any, begin: Any, end: Any) -> int:
        times = [self.handles[handle.value - 1].recorded_ms for handle in (begin, end)]
        if None in times or self._event_query(begin) or self._event_query(end):
            return 600
        milliseconds._obj.value = times[1] - times[0]
        return 0

    def _context_current(self, context: Any) -> int:
        context._obj.value = getattr(self.thread, "context", 0)
        return 0

    def _context_push(self, context: Any) -> int:
        self.thread.pushed = [*getattr(self.thread, "pushed", []), getattr(self.thread, "context", 0)]
        self.thread.context = context.value
        return 0

    def _context_pop(self, context: Any) -> int:
        context._obj.value = self.thread.context
        self.thread.context = self.thread.pushed.pop()
        return 0

    def exchange_capture_mode(self, mode: Any) -> int:
        """Stand for `cuThreadExchangeStreamCaptureMode`, of which `mode` is a `ctypes.byref`."""
        if self.failed_with:
            return self.failed_with
        self.capture_mode, mode._obj.value = mode._obj.value, self.capture_mode
        return 0


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove torch, as in a process that never imported it."""
    for name in [name for name in sys.modules if name == "torch" or name.startswith("torch.")]:
        monkeypatch.delitem(sys.modules, name)


def _module(name: str, namespace: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update({key: value for key, value in namespace.items() if key != "self"})
    return module


def _stat() -> dict[str, int]:
    return {"current": 0, "peak": 0, "allocated": 0, "freed": 0}


def _no_stats() -> dict[str, Any]:
    stats: dict[str, Any] = {name: {pool: _stat() for pool in _POOLS} for name in _FAMILIES + _BYTES}
    stats.update(dict.fromkeys(_COUNTERS, 0), oversize_allocations=_stat(), oversize_segments=_stat())
    stats["reserved_bytes_by_private_pools"] = {(0, 1): {pool: _stat() for pool in _POOLS}}
    return stats


def _properties(device: int) -> SimpleNamespace:
    return SimpleNamespace(
        name="NVIDIA H100 80GB HBM3",
        major=9,
        minor=0,
        total_memory=(80 - device) * GIB,
        uuid=Uuid(UUIDS[device % len(UUIDS)]),
        pci_domain_id=0,
        pci_bus_id=0xDE - device,
        pci_device_id=0,
    )
