"""What PyTorch's caching allocators have in common, on whichever device.

The rule that keeps a training unharmed: look only where torch says that the device is initialised, with a plain int as
device, in the process that constructed the backend. Much of torch's API initialises the device as a side effect
(`current_device`, `mem_get_info`, `is_available`); none of that is called before. torch is never imported here but by
`why_not()`: a training that uses it has imported it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends import this_process
from phasescope.backends.protocol import DeviceCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceIdentity

_modules = sys.modules


class Functions(NamedTuple):
    """What is called of torch. Private names come and go, so each has a public stand-in or may be None."""

    is_initialized: Callable[[], bool]
    memory_stats: Callable[[int], dict[Any, Any]]
    reset_peak: Callable[[int], object]
    current_device: Callable[[], int]
    device_count: Callable[[], int]
    properties: Callable[[int], Any]
    has_context: Callable[[int], bool] | None = None
    allocator_backend: Callable[[], str] | None = None
    host_stats: Callable[[], dict[str, Any]] | None = None


class CachingAllocator:
    """The devices of one kind. A subclass names the kind and finds its functions."""

    name = ""
    _module = ""
    _contexts_tell = False
    _knows_inactive = True

    def __init__(self) -> None:
        self.never = False
        self._torch: Functions | None = None
        self._here = this_process.process
        self._used: set[int] = set()
        self._properties_of: dict[int, Any] = {}

    @property
    def unavailable(self) -> tuple[str, ...]:
        """What is inactive, where this allocator does not know it."""
        return () if not self.ready() or self._knows_inactive else ("allocator_inactive_bytes",)

    def functions(self, core: Any, module: Any) -> Functions | None:
        """torch's functions for this kind of device, out of `torch._C` and its own module; None in another build."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether this process has initialised the device. Never imports torch; final for a build that can not."""
        torch = self._torch
        if torch is None:
            if self.never or "torch" not in _modules:
                return False
            torch = self._bind()
            if torch is None:
                return False
        return torch.is_initialized() and self._here is this_process.process

    def devices(self) -> Sequence[int]:
        """The devices on which this process has a context or, where torch can not tell, reserved memory.

        Empty between initialisation and first use. The current device is not added: in a thread that never
        chose one, such as the sampler's, it is 0, whichever device the training uses.
        """
        torch = self._initialised()
        return tuple(device for device in range(torch.device_count()) if self._uses(torch, device))

    def current_device(self) -> int:
        """The calling thread's current device. Raises RuntimeError where it is not initialised."""
        return self._initialised().current_device()

    def allocator(self, device: int) -> AllocatorCounters:
        """The current figures of all pools of the caching allocator, from one call into torch.

        Inactive is None where the allocator does not know it. Raises RuntimeError where the device is not
        initialised, where there is no such device, and under a pluggable allocator, which keeps no statistics.
        """
        stats = self._initialised().memory_stats(device)
        return (
            stats["allocated_bytes"]["all"]["current"],
            stats["reserved_bytes"]["all"]["current"],
            stats["active_bytes"]["all"]["current"],
            stats["inactive_split_bytes"]["all"]["current"] if self._knows_inactive else None,
        )

    def device(self, device: int) -> DeviceCounters:
        """The total only: to read used and free, torch would switch the calling thread's device.

        Raises RuntimeError or AssertionError as torch does where there is no such device.
        """
        return DeviceCounters(total_bytes=self._properties(device).total_memory)

    def identity(self, device: int) -> DeviceIdentity | None:
        """None: no driver of ours speaks of it."""
        return None

    def peak(self, device: int) -> int:
        """The most that tensors held since the peak was reset, in bytes. Raises as `allocator` does."""
        return int(self._initialised().memory_stats(device)["allocated_bytes"]["all"]["peak"])

    def reset_peak(self, device: int) -> None:
        """Set torch's own peak statistics of the device back, all of them: torch has no narrower way."""
        self._initialised().reset_peak(device)

    def extra(self, device: int) -> dict[str, int]:
        """Retries, failures, private pools and what was asked for, as far as this version counts them."""
        stats = self._initialised().memory_stats(device)
        extra = {name: stats[name] for name in ("num_alloc_retries", "num_ooms") if name in stats}
        if "requested_bytes" in stats:
            extra["requested_bytes"] = stats["requested_bytes"]["all"]["current"]
        pools = stats.get("reserved_bytes_by_private_pools")
        if isinstance(pools, dict):
            extra["private_pools_bytes"] = sum(pool["all"]["current"] for pool in pools.values())
        return extra

    def _bind(self) -> Functions | None:
        """torch's functions, once it is fully imported and of the right kind."""
        core, version, module = (_modules.get(name) for name in ("torch._C", "torch.version", self._module))
        if is_importing() or core is None or version is None or module is None:
            return None
        self._torch = self.functions(core, module)
        self.never = self._torch is None
        return self._torch

    def _initialised(self) -> Functions:
        if not self.ready() or self._torch is None:
            raise RuntimeError(f"{self.name} is not initialised in this process")
        return self._torch

    def _uses(self, torch: Functions, device: int) -> bool:
        """Once used, always used: a context stays until the process ends."""
        if device not in self._used and self._has_memory(torch, device):
            self._used.add(device)
        return device in self._used

    def _has_memory(self, torch: Functions, device: int) -> bool:
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


def is_importing() -> bool:
    """Whether a thread is in the middle of `import torch`: until it ends, what is missing may still come."""
    spec = getattr(_modules.get("torch"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
