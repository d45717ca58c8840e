"""PyTorch's caching allocator on NVIDIA (`Cuda`) and AMD (`Rocm`) devices, both behind `torch.cuda`."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from phasescope.backends.protocol import DeviceIdentity
from phasescope.backends.torch_allocator import CachingAllocator, Functions
from phasescope.backends.torch_diagnosis import is_compiled, is_hip, why_not
from phasescope.backends.torch_snapshot import History
from phasescope.backends.torch_timing import Marks

if TYPE_CHECKING:
    from phasescope.backends.protocol import Unavailable
    from phasescope.backends.torch_timing import Mark


class Cuda(CachingAllocator):
    """The devices of a CUDA build of PyTorch."""

    name = "cuda"
    _module = "torch.cuda"
    _hip = False
    _contexts_tell = True

    def why_not(self) -> Unavailable | None:
        """Why this process can never use such a device, or None. Imports torch, initialises nothing."""
        return why_not(hip=self._hip)

    def functions(self, core: Any, module: Any) -> Functions | None:
        """torch's functions, where it is built for this kind of device."""
        if not is_compiled(core) or is_hip(sys.modules["torch.version"]) != self._hip:
            return None
        return Functions(
            is_initialized=module.is_initialized,
            memory_stats=getattr(core, "_cuda_memoryStats", None) or module.memory_stats_as_nested_dict,
            reset_peak=getattr(core, "_cuda_resetPeakMemoryStats", None) or module.reset_peak_memory_stats,
            current_device=getattr(core, "_cuda_getDevice", None) or module.current_device,
            device_count=core._cuda_getDeviceCount,
            properties=module.get_device_properties,
            has_context=getattr(core, "_cuda_hasPrimaryContext", None),
            allocator_backend=getattr(core, "_cuda_getAllocatorBackend", None),
            host_stats=getattr(core, "_cuda_hostMemoryStats", None),
        )

    def identity(self, device: int) -> DeviceIdentity | None:
        """UUID and PCI bus id as this version of torch knows them, None where it knows neither (before 2.5).

        Raises as `device` does.
        """
        properties = self._properties(device)
        identity = DeviceIdentity(self._uuid(properties), _pci_bus_id(properties))
        return None if identity == (None, None) else identity

    def extra(self, device: int) -> dict[str, int]:
        """The allocator's, and the host memory that is pinned for the devices: that of the whole process."""
        extra = super().extra(device)
        host_stats = self._initialised().host_stats
        if host_stats is not None:
            stats = host_stats()
            for ours, theirs in (("pinned_bytes", "allocated_bytes"), ("pinned_active_bytes", "active_bytes")):
                if theirs in stats:
                    extra[ours] = stats[theirs]["current"]
        return extra

    def time_mark(self, device: int) -> Mark | None:
        """A timing event recorded on the device's current stream; None while that stream is captured into a graph.

        Raises RuntimeError where CUDA is not initialised, NotImplementedError where it could not be read safely.
        """
        self._initialised()
        return self._marks.record(device)

    def time_between(self, begin: Mark, end: Mark) -> float | None:
        """Milliseconds on the device, None while it has not come to both. Waits for nothing."""
        self._initialised()
        return self._marks.between(begin, end)

    def snapshot_begin(self) -> None:
        """Let torch record its allocations. Raises NotImplementedError where this version has no such record."""
        self._initialised()
        self._history.begin()

    def snapshot_label(self, text: str) -> None:
        """Label what this thread allocates."""
        self._history.label(text)

    def snapshot_write(self, path: str) -> None:
        """Write torch's memory snapshot, as `torch.cuda.memory._dump_snapshot` does."""
        self._initialised()
        self._history.write(path)

    def snapshot_end(self) -> None:
        """Record no more, if that was begun here."""
        self._history.end()

    @cached_property
    def _history(self) -> History:
        return History(sys.modules["torch.cuda.memory"], sys.modules["torch._C"])

    @cached_property
    def _marks(self) -> Marks:
        return Marks(sys.modules["torch.cuda"], sys.modules["torch._C"], hip=self._hip)

    @cached_property
    def _knows_inactive(self) -> bool:  # type: ignore[override]
        """Not so `backend:cudaMallocAsync`. Which it is can not be changed once CUDA is initialised."""
        backend = self._initialised().allocator_backend
        return backend is None or backend() == "native"

    def _uuid(self, properties: Any) -> str | None:
        """torch gives 8-4-4-4-12 hexadecimal digits; NVML puts before them what they name."""
        digits = getattr(properties, "uuid", None)
        if digits is None:
            return None
        return f"{'MIG' if ' MIG ' in properties.name else 'GPU'}-{digits}"


class Rocm(Cuda):
    """The devices of a ROCm build of PyTorch."""

    name = "rocm"
    _hip = True
    _contexts_tell = False  # HIP makes contexts at other times than CUDA does

    def _uuid(self, properties: Any) -> str | None:
        """None: HIP's is no UUID that another library writes."""
        return None


def _pci_bus_id(properties: Any) -> str | None:
    names = ("pci_domain_id", "pci_bus_id", "pci_device_id")
    domain, bus, slot = (getattr(properties, name, None) for name in names)
    if domain is None or bus is None or slot is None:
        return None
    return f"{domain:08x}:{bus:02x}:{slot:02x}.0"
