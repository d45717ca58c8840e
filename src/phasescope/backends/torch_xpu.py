"""PyTorch's caching allocator on Intel devices, behind `torch.xpu`."""

from __future__ import annotations

from typing import Any

from phasescope.backends.protocol import Unavailable
from phasescope.backends.torch_allocator import CachingAllocator, Functions
from phasescope.backends.torch_diagnosis import import_torch

_INSTALL = "install a build with XPU support: https://pytorch.org/get-started/locally/"


class Xpu(CachingAllocator):
    """The devices of an XPU build of PyTorch. Its allocator does not report what is split and inactive."""

    name = "xpu"
    _module = "torch.xpu"
    _knows_inactive = False

    def why_not(self) -> Unavailable | None:
        """Return why this process can never use such a device, or None. Imports torch, initialises nothing."""
        torch = import_torch(_INSTALL)
        if isinstance(torch, Unavailable):
            return torch
        if not _is_compiled(torch._C):
            return Unavailable("this PyTorch is built without XPU support", _INSTALL)
        return None

    def functions(self, core: Any, module: Any) -> Functions | None:
        """Return torch's functions, if it is built with XPU support."""
        if not _is_compiled(core):
            return None
        return Functions(
            is_initialized=module.is_initialized,
            memory_stats=getattr(core, "_xpu_memoryStats", None) or module.memory_stats_as_nested_dict,
            reset_peak=getattr(core, "_xpu_resetPeakMemoryStats", None) or module.reset_peak_memory_stats,
            current_device=getattr(core, "_xpu_getDevice", None) or module.current_device,
            device_count=core._xpu_getDeviceCount,
            properties=module.get_device_properties,
        )


def _is_compiled(core: Any) -> bool:
    """Ask torch's own test."""
    return bool(getattr(core, "_has_xpu", False))
