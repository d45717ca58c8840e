"""What PyTorch's caching allocators have in common, on whichever device.

The rule that keeps a training unharmed: look only where torch says that the device is initialised, with a plain int as
device, in the process that constructed the backend. Much of torch's API initialises the device as a side effect
(`current_device`, `mem_get_info`, `is_available`); none of that is called before. torch is never imported here but by
`why_not()`: a training that uses it has imported it.
"""

from __future__ import annotations

import sys
import threading
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends import this_process, torch_failures
from phasescope.backends.protocol import DeviceCounters
from phasescope.backends.torch_pluggable import allocates_by_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceIdentity, PlainCounters, Variable

_modules = sys.modules
_FLAG = "_initialized"
_ALL_COUNTERS = tuple(f"allocator_{name}_bytes" for name in ("allocated", "reserved", "active", "inactive", "change"))
_COUNTS = ("num_alloc_retries", "num_ooms", "num_device_alloc", "num_device_free")
"""How often the allocator tried again, failed, took from the device and gave back to it. Older versions lack some."""

_counts_of: Callable[[dict[Any, Any]], tuple[int | None, ...]] = itemgetter(*_COUNTS)
_NO_COUNTS = (None,) * len(_COUNTS)


class Functions(NamedTuple):
    """The functions called of torch. Private names come and go, so each has a public stand-in or may be None."""

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
    _is_passed_by = False
    _keeps_counts = True
    _observer = ""

    def __init__(self) -> None:
        self.never = False
        self._torch: Functions | None = None
        self._here = this_process.process
        self._used: set[int] = set()
        self._properties_of: dict[int, Any] = {}
        self._latest: dict[int, PlainCounters] = {}
        self._counts_told: dict[int, tuple[int | None, ...]] = {}
        self._read = threading.local()
        self._keeps_stats = False
        self._resets = 0

    @property
    def unavailable(self) -> tuple[str, ...]:
        """The counters that this allocator lacks. With PYTORCH_NO_CUDA_MEMORY_CACHING it is passed by, and counts
        nothing: its zeros are not measurements."""
        if not self.ready():
            return ()
        if self._is_passed_by:
            return _ALL_COUNTERS
        return () if self._knows_inactive else ("allocator_inactive_bytes",)

    def functions(self, core: Any, module: Any) -> Functions | None:
        """Return torch's functions for this kind of device, out of `torch._C` and its own module.

        None in another build.
        """
        raise NotImplementedError

    def ready(self) -> bool:
        """Return whether this process has initialised the device. Never imports torch; final for a build that
        cannot."""
        torch = self._torch
        if torch is None:
            if self.never or "torch" not in _modules:
                return False
            torch = self._bind()
            if torch is None:
                return False
        return torch.is_initialized() and self._here is this_process.process

    def awaited(self) -> Sequence[Variable] | None:
        """Return the flag that torch sets once it has initialised the device; None while torch is being imported, or
        if this version has no such flag."""
        if self.never or "torch" not in _modules:
            return ()
        importing = is_importing()
        if self._torch is None and self._bind() is None:
            return None if importing else ()
        namespace = vars(_modules[self._module])
        return ((namespace, _FLAG),) if type(namespace.get(_FLAG)) is bool else None

    def devices(self) -> Sequence[int]:
        """Return the devices on which this process has a context or, where torch cannot tell, reserved memory.

        Empty between initialisation and first use. The current device is not added: in a thread that never
        chose one, such as the sampler's, it is 0, whichever device the training uses.
        """
        torch = self._initialised()
        return tuple(device for device in range(torch.device_count()) if self._uses(torch, device))

    def current_device(self) -> int:
        """Return the calling thread's current device. Raises RuntimeError if it is not initialised."""
        return self._initialised().current_device()

    def allocator(self, device: int) -> AllocatorCounters:
        """Return the current figures of all pools of the caching allocator, from one call into torch.

        Inactive is None if the allocator does not know it. Counts of what the allocator did are a fifth member, if they
        have changed. Raises RuntimeError if the device is not initialised, if there is no such device, and under a
        pluggable allocator, which keeps no statistics.
        """
        stats = self._initialised().memory_stats(device)
        if self._keeps_stats:
            self._read.kept = device, self._resets, stats
        self._latest[device] = counters = (
            stats["allocated_bytes"]["all"]["current"],
            stats["reserved_bytes"]["all"]["current"],
            stats["active_bytes"]["all"]["current"],
            stats["inactive_split_bytes"]["all"]["current"] if self._knows_inactive else None,
        )
        try:
            counts = _counts_of(stats)
        except KeyError:
            counts = tuple(map(stats.get, _COUNTS))
        if counts == self._counts_told.get(device, _NO_COUNTS) or not self._keeps_counts:
            return counters
        self._counts_told[device] = counts
        return (*counters, _named(counts))

    def sampled(self) -> dict[int, AllocatorCounters] | None:
        """Return the last boundaries' counters by device, for a thread of ours that must not ask torch for newer ones;
        None if it may.

        torch's statistics wait for the allocator's lock with the interpreter's held. An allocator that calls Python
        holds the first while it waits for the second: asked by a thread that it does not expect, both wait for ever.
        """
        self._initialised()
        return dict(self._latest) if allocates_by_python() else None

    def device(self, device: int) -> DeviceCounters:
        """Return the total only: to read used and free, torch would switch the calling thread's device.

        Raises RuntimeError or AssertionError as torch does if there is no such device.
        """
        return DeviceCounters(total_bytes=self._properties(device).total_memory)

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return None: no driver of ours knows it."""
        return None

    def peak(self, device: int) -> int:
        """Return the most that tensors held since the peak was reset, in bytes. Raises as `allocator` does.

        From what this thread has read for the boundary a moment before, unless the peak was set back since.
        """
        torch, self._keeps_stats = self._initialised(), True
        kept = getattr(self._read, "kept", None)
        if kept is not None and kept[:2] == (device, self._resets):
            self._read.kept, stats = None, kept[2]
        else:
            stats = torch.memory_stats(device)
        return int(stats["allocated_bytes"]["all"]["peak"])

    def reset_peak(self, device: int) -> None:
        """Set torch's own peak statistics of the device back, all of them: torch has no narrower way."""
        self._resets += 1
        self._initialised().reset_peak(device)

    def extra(self, device: int) -> dict[str, int]:
        """Return counts, private pools and what was asked for, as far as this version and allocator keep them.

        Nothing where `sampled` says that torch must not be asked.
        """
        if allocates_by_python():
            return {}
        stats = self._initialised().memory_stats(device)
        extra = _named(map(stats.get, _COUNTS)) if self._keeps_counts else {}
        if "requested_bytes" in stats:
            extra["requested_bytes"] = stats["requested_bytes"]["all"]["current"]
        pools = stats.get("reserved_bytes_by_private_pools")
        if isinstance(pools, dict):
            extra["private_pools_bytes"] = sum(pool["all"]["current"] for pool in pools.values())
        return extra

    def watch_failures(self) -> None:
        """Let torch tell of allocations that fail, where this version and allocator do. All counts are due again."""
        torch = self._initialised()
        self._counts_told.clear()
        torch_failures.watch(_modules["torch._C"], self._observer, torch.memory_stats, self._knows_inactive)

    def failure(self, device: int, requested_bytes: int) -> dict[str, Any]:
        """Return the counters at the last failure to allocate so much, in bytes; nothing if none was seen."""
        stats = {} if allocates_by_python() else self._initialised().memory_stats(device)
        rejected = torch_failures.rejections(stats) if stats else None
        return torch_failures.found(device, requested_bytes, self._properties(device).total_memory, rejected)

    def _bind(self) -> Functions | None:
        """Return torch's functions, once it is fully imported and of the right kind."""
        core, version, module = (_modules.get(name) for name in ("torch._C", "torch.version", self._module))
        if is_importing() or core is None or version is None or module is None:
            return None
        self._torch = self.functions(core, module)
        self.never = self._torch is None
        return self._torch

    def _initialised(self) -> Functions:
        torch = self._torch
        if torch is not None and torch.is_initialized() and self._here is this_process.process:
            return torch  # asked three times for a phase
        if not self.ready() or self._torch is None:
            raise RuntimeError(f"{self.name} is not initialised in this process")
        return self._torch

    def _uses(self, torch: Functions, device: int) -> bool:
        """Return whether the device was ever used: a context stays until the process ends."""
        if device not in self._used and self._has_memory(torch, device):
            self._used.add(device)
        return device in self._used

    def _has_memory(self, torch: Functions, device: int) -> bool:
        """Return whether this process has memory there. A context alone counts: users look for stray ones."""
        if torch.has_context is not None and self._contexts_tell:
            return torch.has_context(device)
        reserved = torch.memory_stats(device)["reserved_bytes"]["all"]
        return bool(reserved["current"] > 0 or reserved["peak"] > 0)

    def _properties(self, device: int) -> Any:
        torch = self._initialised()
        if device not in self._properties_of:
            self._properties_of[device] = torch.properties(device)
        return self._properties_of[device]


def _named(counts: Iterable[int | None]) -> dict[str, int]:
    return {name: count for name, count in zip(_COUNTS, counts, strict=True) if count is not None}


def is_importing() -> bool:
    """Return whether a thread is in the middle of `import torch`: until it ends, what is missing may still come."""
    spec = getattr(_modules.get("torch"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
