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
    import pytest

GIB = 1024**3
UUIDS = ("737e2423-874a-23a4-1126-dfbe3e77c294", "ffc79498-8ff3-c2dc-3b0d-fafd804516ae")
_POOLS = ("all", "small_pool", "large_pool")
_FAMILIES = ("allocation", "segment", "active", "inactive_split")
_BYTES = ("allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes", "requested_bytes")
_COUNTERS = ("num_alloc_retries", "num_ooms", "max_split_size", "num_sync_all_streams", "num_device_alloc")


class Uuid:
    """`torch._C._CUuuid`: only its text is of use."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class FakeEvent:
    """`torch.cuda.Event`: recorded in a stream, over once the device has come to it."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._recorded_ms: float | None = None

    def record(self, stream: str) -> None:
        """Put it into the queue: the device comes to it when its time is `queued_ms`."""
        if self._cuda.capturing:
            raise RuntimeError("recorded into a graph")
        self._cuda.streams.append(stream)
        self._recorded_ms = self._cuda.queued_ms

    def query(self) -> bool:
        """Whether the device has come to it; an error where another thread captures and this one is not relaxed."""
        if self._cuda.other_thread_captures and self._cuda.capture_mode != 2:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        return self._recorded_ms is None or self._recorded_ms <= self._cuda.device_ms

    def elapsed_time(self, end: FakeEvent) -> float:
        """Raises where one of them is not over yet, or was never recorded."""
        if self._recorded_ms is None or end._recorded_ms is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end.query()):
            raise RuntimeError("CUDA error: device not ready")
        return end._recorded_ms - self._recorded_ms


class FakeCuda:
    """The state behind the fake modules. Tests move it as a training would."""

    def __init__(self, *, devices: int = 2, hip: str | None = None, backend: str = "native") -> None:
        self.devices = devices
        self.hip = hip
        self.backend = backend
        self.initialised = True
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
        self.events_made = 0
        self._pid = os.getpid()
        self.core = self._core()
        self.cuda = self._cuda()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        """Put it in the place of torch, imported in full."""
        version = ModuleType("torch.version")
        torch = ModuleType("torch")
        torch.__spec__ = importlib.machinery.ModuleSpec("torch", None)
        modules = {"torch": torch, "torch._C": self.core, "torch.cuda": self.cuda, "torch.version": version}
        vars(version).update(hip=self.hip, cuda=None if self.hip else "13.0")
        vars(torch).update(_C=self.core, cuda=self.cuda, version=version)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return self

    def use(self, device: int, allocated: int = 0, reserved: int = 0, active: int = 0, split: int = 0) -> None:
        """A context on the device, and what its allocator holds, in bytes."""
        self.contexts.add(device)
        held = {"allocated": allocated, "reserved": reserved, "active": active, "inactive_split": split}
        for name, size in held.items():
            for pool in ("all", "large_pool"):
                stat = self.stats[device][f"{name}_bytes"][pool]
                stat.update(current=size, peak=max(stat["peak"], size))

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
        """`torch._C`."""

        def _cuda_memoryStats(device: int) -> dict[str, Any]:  # noqa: N802
            if self.backend == "pluggable":
                raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats.")
            return self.stats[self._check(device, "memory_allocated")]

        def _cuda_resetPeakMemoryStats(device: int) -> None:  # noqa: N802
            for families in self.stats[self._check(device, "reset_peak_memory_stats")].values():
                for stat in families.values() if isinstance(families, dict) else ():
                    if isinstance(stat, dict) and "peak" in stat:
                        stat["peak"] = stat["current"]

        def _cuda_hostMemoryStats() -> dict[str, Any]:  # noqa: N802
            self._check(0, "host_memory_stats")
            return self.host_stats

        def _cuda_isCurrentStreamCapturing() -> bool:  # noqa: N802
            return self.capturing

        def _cuda_getDevice() -> int:  # noqa: N802
            self._initialise()
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
        """`torch.cuda`."""

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

        def current_stream(device: Any = None) -> str:
            self._initialise()
            return f"stream of {device}"

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

    def exchange_capture_mode(self, mode: Any) -> int:
        """`cuThreadExchangeStreamCaptureMode`, of which `mode` is a `ctypes.byref`."""
        self.capture_mode, mode._obj.value = mode._obj.value, self.capture_mode
        return 0


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that never imported it."""
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
