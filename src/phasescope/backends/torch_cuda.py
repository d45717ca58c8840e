"""PyTorch's caching allocator on NVIDIA (`Cuda`) and AMD (`Rocm`) devices, both behind `torch.cuda`."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from phasescope.backends import pci, torch_blocks, torch_failures
from phasescope.backends.protocol import DeviceIdentity
from phasescope.backends.torch_allocator import CachingAllocator, Functions
from phasescope.backends.torch_diagnosis import is_compiled, is_hip, why_not
from phasescope.backends.torch_pluggable import allocates_by_python
from phasescope.backends.torch_snapshot import History
from phasescope.backends.torch_timing import TimingEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.backends.protocol import Unavailable
    from phasescope.backends.torch_timing import DeviceMark


_SETTINGS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_EXPANDABLE = re.compile(r"expandable_segments\s*:\s*true", re.IGNORECASE)


class Cuda(CachingAllocator):
    """The devices of a CUDA build of PyTorch."""

    name = "cuda"
    _module = "torch.cuda"
    _hip = False
    _contexts_tell = True
    _observer = "_cuda_attach_out_of_memory_observer"

    def why_not(self) -> Unavailable | None:
        """Return why this process can never use such a device, or None. Imports torch, initialises nothing."""
        return why_not(hip=self._hip)

    def functions(self, core: Any, module: Any) -> Functions | None:
        """Return torch's functions, if it is built for this kind of device."""
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
        """Return UUID and PCI bus id as this version of torch knows them, None if it knows neither (before 2.5).

        Raises as `device` does.
        """
        properties = self._properties(device)
        identity = DeviceIdentity(self._uuid(properties), _pci_bus_id(properties))
        return None if identity == (None, None) else identity

    def extra(self, device: int) -> dict[str, int]:
        """Return the allocator's, and the host memory that is pinned for the devices: that of the whole process. Of a
        device whose memory is the host's own, `shares_host_memory` is 1."""
        extra = super().extra(device)
        if getattr(self._properties(device), "is_integrated", 0):
            extra["shares_host_memory"] = 1
        host_stats = self._initialised().host_stats
        if host_stats is not None:
            stats = host_stats()
            for ours, theirs in (("pinned_bytes", "allocated_bytes"), ("pinned_active_bytes", "active_bytes")):
                if theirs in stats:
                    extra[ours] = stats[theirs]["current"]
        return extra

    def time_mark(self, device: int) -> DeviceMark | None:
        """Return a timing event recorded on the device's current stream; None while that stream is captured into a
        graph.

        Raises RuntimeError if CUDA is not initialised, NotImplementedError where it could not be read safely.
        """
        self._initialised()
        return self._marks.record(device)

    def time_between(self, begin: DeviceMark, end: DeviceMark) -> float | None:
        """Return milliseconds on the device, None while it has not come to both. Waits for nothing."""
        self._initialised()
        return self._marks.between(begin, end)

    def snapshot_begin(self) -> None:
        """Let torch record its allocations. Raises NotImplementedError if this version has no such record."""
        self._initialised()
        self._history.begin()

    def snapshot_at_failure(self, write: Callable[[], str | None]) -> None:
        """Call this when an allocation has failed, before anything is freed; it gives the path of what it wrote."""
        torch_failures.record_with(write)

    def snapshot_label(self, text: str) -> None:
        """Label what this thread allocates."""
        self._history.label(text)

    def snapshot_write(self, path: str) -> None:
        """Write torch's memory snapshot, as `torch.cuda.memory._dump_snapshot` does."""
        self._initialised()
        self._history.write(path)

    def snapshot_end(self) -> None:
        """Record no more, if that was begun here."""
        torch_failures.record_with(None)
        self._history.end()

    def sites_begin(self) -> None:
        """Let torch record by which lines what is live was allocated. Raises NotImplementedError if it cannot."""
        self._initialised()
        if allocates_by_python():
            raise NotImplementedError("an allocator that may call Python is in use; torch is not asked from outside")
        self._history.begin_lines()

    def sites_end(self) -> None:
        """Record no more, if that was begun here."""
        self._history.end()

    def live_blocks(self) -> list[dict[str, Any]]:
        """Return what the allocator has handed out, a device each, by the line that asked for it if torch records that.

        Waits for the allocator's lock with the interpreter's, as every reading of its counters does; so not where an
        allocator may call Python (then NotImplementedError, as for one that has no such list).
        """
        self._initialised()
        if allocates_by_python():
            raise NotImplementedError("an allocator that may call Python is in use; it is not asked from outside")
        if not self._keeps_counts:
            raise NotImplementedError("this allocator keeps no list of its blocks")
        read = getattr(sys.modules["torch.cuda.memory"], "memory_snapshot", None)
        if read is None:
            raise NotImplementedError("this version of torch gives no list of its blocks")
        return torch_blocks.read(read)

    @cached_property
    def _history(self) -> History:
        return History(sys.modules["torch.cuda.memory"], sys.modules["torch._C"])

    @cached_property
    def _marks(self) -> TimingEvents:
        return TimingEvents(sys.modules["torch.cuda"], sys.modules["torch._C"], hip=sys.modules["torch.version"].hip)

    @cached_property
    def _knows_inactive(self) -> bool:  # type: ignore[override]
        """Not so `backend:cudaMallocAsync`, and what lies in expandable segments is left out of it on purpose. Which it
        is does not change once CUDA is initialised, or hardly ever."""
        return self._keeps_counts and not _EXPANDABLE.search(_allocator_settings())

    @cached_property
    def _keeps_counts(self) -> bool:  # type: ignore[override]
        """Not so `backend:cudaMallocAsync`, which leaves them at 0, as does an allocator that is passed by."""
        backend = self._initialised().allocator_backend
        return (backend is None or backend() == "native") and not self._is_passed_by

    @cached_property
    def _is_passed_by(self) -> bool:  # type: ignore[override]
        return "PYTORCH_NO_CUDA_MEMORY_CACHING" in os.environ

    def _uuid(self, properties: Any) -> str | None:
        """Return the UUID as NVML writes it, with its prefix; torch gives 8-4-4-4-12 hexadecimal digits."""
        digits = getattr(properties, "uuid", None)
        if digits is None:
            return None
        return f"{'MIG' if ' MIG ' in properties.name else 'GPU'}-{digits}"


class Rocm(Cuda):
    """The devices of a ROCm build of PyTorch."""

    name = "rocm"
    _hip = True
    _contexts_tell = False  # HIP makes contexts at other times than CUDA does

    def __init__(self) -> None:
        super().__init__()
        self._identities: dict[int, DeviceIdentity | None] = {}

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return the PCI bus id; None for a part of a divided device (MI300), which no driver's figures are known to be
        about. Raises as `device` does."""
        if device not in self._identities:
            identity = super().identity(device)
            is_part = identity is not None and identity.pci_bus_id is not None and pci.is_divided(identity.pci_bus_id)
            self._identities[device] = None if is_part else identity
        return self._identities[device]

    def _uuid(self, properties: Any) -> str | None:
        """Return None: HIP's UUID is not written like that by any other library."""
        return None


def _allocator_settings() -> str:
    """Return the settings in force, by the environment and by what this version of torch tells."""
    settings = [os.environ.get(name, "") for name in _SETTINGS]
    ask = getattr(sys.modules["torch._C"], "_accelerator_getAllocatorSettings", None)
    if ask is not None:
        with contextlib.suppress(Exception):
            settings.append(str(ask()))
    return ",".join(settings)


def _pci_bus_id(properties: Any) -> str | None:
    names = ("pci_domain_id", "pci_bus_id", "pci_device_id")
    domain, bus, slot = (getattr(properties, name, None) for name in names)
    if domain is None or bus is None or slot is None:
        return None
    return f"{domain:08x}:{bus:02x}:{slot:02x}.0"
