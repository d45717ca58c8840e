"""PyTorch's caching allocator on NVIDIA (`Cuda`) and AMD (`Rocm`) devices, both behind `torch.cuda`.

The rule that keeps a training unharmed: look only where `torch.cuda.is_initialized()` is already true, with a
plain int as device, in the process that constructed the backend. Much of `torch.cuda` initialises the device
as a side effect (`current_device`, `mem_get_info`, `is_available`); none of that is called before. torch is
never imported here but by `why_not()`: a training that uses it has imported it.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.backends.torch_absent import is_compiled, is_hip, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.backends.protocol import AllocatorCounters, Unavailable

_modules = sys.modules
_process = object()
"""Another object in every forked child, so that comparing it costs less than asking for the pid."""


class _Torch(NamedTuple):
    """What is called of torch. Private names come and go, so each has a public stand-in or may be None."""

    is_initialized: Callable[[], bool]
    memory_stats: Callable[[int], dict[Any, Any]]
    current_device: Callable[[], int]
    device_count: Callable[[], int]
    properties: Callable[[int], Any]
    has_context: Callable[[int], bool] | None
    allocator_backend: Callable[[], str] | None


class Cuda:
    """The devices of a CUDA build of PyTorch."""

    name = "cuda"
    unavailable: tuple[str, ...] = ()
    _hip = False
    _contexts_tell = True

    def __init__(self) -> None:
        self._torch: _Torch | None = None
        self._never = False
        self._here = _process
        self._used: set[int] = set()
        self._properties_of: dict[int, Any] = {}

    def why_not(self) -> Unavailable | None:
        """Why this process can never use such a device, or None. Imports torch, initialises nothing."""
        return why_not(hip=self._hip)

    def ready(self) -> bool:
        """Whether this process has initialised CUDA. Never imports torch; final for a build that can not."""
        torch = self._torch
        if torch is None:
            if self._never or "torch" not in _modules:
                return False
            torch = self._bind()
            if torch is None:
                return False
        return torch.is_initialized() and self._here is _process

    def devices(self) -> Sequence[int]:
        """The devices on which this process has a context or, where torch can not tell, reserved memory.

        Empty between initialisation and first use. The current device is not added: in a thread that never
        chose one, such as the sampler's, it is 0, whichever device the training uses.
        """
        torch = self._initialised()
        return tuple(device for device in range(torch.device_count()) if self._uses(torch, device))

    def current_device(self) -> int:
        """The calling thread's current device. Raises RuntimeError where CUDA is not initialised."""
        return self._initialised().current_device()

    def allocator(self, device: int) -> AllocatorCounters:
        """The current figures of all pools of the caching allocator, from one call into torch.

        Inactive is None under `backend:cudaMallocAsync`, which does not know it. Raises RuntimeError where
        CUDA is not initialised, where there is no such device, and under a pluggable allocator, which keeps
        no statistics.
        """
        stats = self._initialised().memory_stats(device)
        return (
            stats["allocated_bytes"]["all"]["current"],
            stats["reserved_bytes"]["all"]["current"],
            stats["active_bytes"]["all"]["current"],
            stats["inactive_split_bytes"]["all"]["current"] if self._splits_blocks else None,
        )

    def device(self, device: int) -> DeviceCounters:
        """The total only: to read used and free, torch would switch the calling thread's device.

        Raises RuntimeError or AssertionError as torch does where there is no such device.
        """
        return DeviceCounters(total_bytes=self._properties(device).total_memory)

    def identity(self, device: int) -> DeviceIdentity | None:
        """UUID and PCI bus id as this version of torch knows them, None where it knows neither (before 2.5).

        Raises as `device` does.
        """
        properties = self._properties(device)
        identity = DeviceIdentity(self._uuid(properties), _pci_bus_id(properties))
        return None if identity == (None, None) else identity

    @cached_property
    def _splits_blocks(self) -> bool:
        """Whether torch's own allocator is in use. It can not be changed once CUDA is initialised."""
        backend = self._initialised().allocator_backend
        return backend is None or backend() == "native"

    def _bind(self) -> _Torch | None:
        """torch's functions, once it is fully imported and of the right kind."""
        core, version, cuda = (_modules.get(name) for name in ("torch._C", "torch.version", "torch.cuda"))
        if _importing() or core is None or version is None or cuda is None:
            return None
        if not is_compiled(core) or is_hip(version) != self._hip:
            self._never = True
            return None
        self._torch = _Torch(
            is_initialized=cuda.is_initialized,
            memory_stats=getattr(core, "_cuda_memoryStats", None) or cuda.memory_stats_as_nested_dict,
            current_device=getattr(core, "_cuda_getDevice", None) or cuda.current_device,
            device_count=core._cuda_getDeviceCount,
            properties=cuda.get_device_properties,
            has_context=getattr(core, "_cuda_hasPrimaryContext", None),
            allocator_backend=getattr(core, "_cuda_getAllocatorBackend", None),
        )
        return self._torch

    def _initialised(self) -> _Torch:
        if not self.ready() or self._torch is None:
            raise RuntimeError(f"{self.name} is not initialised in this process")
        return self._torch

    def _uses(self, torch: _Torch, device: int) -> bool:
        """Once used, always used: a context stays until the process ends."""
        if device not in self._used and self._has_memory(torch, device):
            self._used.add(device)
        return device in self._used

    def _has_memory(self, torch: _Torch, device: int) -> bool:
        """A context takes memory even where nothing was allocated: a stray one is what users look for."""
        if torch.has_context is not None and self._contexts_tell:
            return torch.has_context(device)
        reserved = torch.memory_stats(device)["reserved_bytes"]["all"]
        return bool(reserved["current"] > 0 or reserved["peak"] > 0)

    def _properties(self, device: int) -> Any:
        torch = self._initialised()
        if device not in self._properties_of:
            self._properties_of[device] = torch.properties(device)
        return self._properties_of[device]

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


def _importing() -> bool:
    """Whether a thread is in the middle of `import torch`: until it ends, what is missing may still come."""
    spec = getattr(_modules.get("torch"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _pci_bus_id(properties: Any) -> str | None:
    names = ("pci_domain_id", "pci_bus_id", "pci_device_id")
    domain, bus, slot = (getattr(properties, name, None) for name in names)
    if domain is None or bus is None or slot is None:
        return None
    return f"{domain:08x}:{bus:02x}:{slot:02x}.0"


def _renew() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
