"""PyTorch's allocator on Apple's GPUs, behind `torch.mps`.

torch has no way to ask whether MPS is in use. What it holds there is asked instead, after torch's own test whether
there is a usable device at all. Both look up the default Metal device, as `torch.backends.mps.is_available()` does in
the training itself; neither makes a queue or takes memory on it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends import this_process
from phasescope.backends.protocol import DeviceCounters, Unavailable
from phasescope.backends.torch_allocator import is_importing
from phasescope.backends.torch_diagnosis import import_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceIdentity, Variable

_modules = sys.modules
_INSTALL = "install PyTorch for macOS on Apple silicon: https://pytorch.org/get-started/locally/"
_DEVICE = 0


class _Torch(NamedTuple):
    """The functions of `torch._C` that are called."""

    allocated: Callable[[], int]
    reserved: Callable[[], int]
    recommended_max: Callable[[], int]
    stats: Callable[[int], dict[str, Any]] | None
    reset_peak: Callable[[int], object] | None


class Mps:
    """The one device of a Mac, number 0.

    Reserved is what Metal's driver holds for this process: torch's cache, and what MPS itself took.
    """

    name = "mps"
    unavailable: tuple[str, ...] = ("allocator_active_bytes", "allocator_inactive_bytes")

    def __init__(self) -> None:
        self.never = not _is_apple_silicon()
        self._torch: _Torch | None = None
        self._used = False
        self._here = this_process.process

    def why_not(self) -> Unavailable | None:
        """Return why this process can never use the device, or None. Imports torch."""
        if not _is_apple_silicon():
            return Unavailable("MPS is only there on a Mac with Apple silicon", "use another backend here")
        torch = import_torch(_INSTALL)
        if isinstance(torch, Unavailable):
            return torch
        if not torch._C._has_mps:
            return Unavailable("this PyTorch is built without MPS", _INSTALL)
        if not torch._C._mps_is_available():
            return Unavailable("PyTorch finds no MPS device", "it needs macOS 14 or newer, and a GPU that it may use")
        return None

    def ready(self) -> bool:
        """Return whether torch holds memory on the device by now, or did before. Never imports torch."""
        if self.never or "torch" not in _modules or self._here is not this_process.process:
            return False
        torch = self._torch or self._bind()
        if torch is not None and not self._used:
            self._used = torch.allocated() > 0
        return self._used

    def awaited(self) -> Sequence[Variable] | None:
        """Return nothing but an import, until torch is imported; then None, as torch has no flag for it."""
        return () if self.never or "torch" not in _modules else None

    def devices(self) -> Sequence[int]:
        """Return `(0,)`."""
        self._in_use()
        return (_DEVICE,)

    def current_device(self) -> int:
        """Return 0."""
        self._in_use()
        return _DEVICE

    def allocator(self, device: int) -> AllocatorCounters:
        """Return (held by tensors, held by the driver for this process, None, None) in bytes.

        Raises RuntimeError if MPS is not in use, and as torch does.
        """
        torch = self._in_use()
        return torch.allocated(), torch.reserved(), None, None

    def device(self, device: int) -> DeviceCounters:
        """Return as the total the most that Metal recommends: the GPU shares the machine's memory.

        Raises as `allocator` does.
        """
        return DeviceCounters(total_bytes=self._in_use().recommended_max())

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return None: no driver of ours knows it."""
        return None

    def peak(self, device: int) -> int:
        """Return the most that tensors held since the peak was reset. Raises NotImplementedError in a torch without
        it."""
        torch = self._in_use()
        if torch.stats is None or torch.reset_peak is None:
            raise NotImplementedError("this PyTorch keeps no peak on MPS")
        try:
            return int(torch.stats(device)["allocated_bytes"]["all"]["peak"])
        except RuntimeError as error:  # a version whose MPS allocator is not one of those that keep statistics
            raise NotImplementedError("this PyTorch keeps no peak on MPS") from error

    def reset_peak(self, device: int) -> None:
        """Set torch's own peak of the device back. Raises as `peak` does."""
        reset_peak = self._in_use().reset_peak
        if reset_peak is None:
            raise NotImplementedError("this PyTorch keeps no peak on MPS")
        reset_peak(device)

    def _in_use(self) -> _Torch:
        if not self.ready() or self._torch is None:
            raise RuntimeError("mps is not in use in this process")
        return self._torch

    def _bind(self) -> _Torch | None:
        """Return torch's functions, once it is fully imported, if it finds a device: without one they crash."""
        core = _modules.get("torch._C")
        if is_importing() or core is None:
            return None
        if not (getattr(core, "_has_mps", False) and core._mps_is_available()):
            self.never = True
            return None
        self._torch = _Torch(
            allocated=core._mps_currentAllocatedMemory,
            reserved=core._mps_driverAllocatedMemory,
            recommended_max=core._mps_recommendedMaxMemory,
            stats=getattr(core, "_accelerator_getDeviceStats", None),
            reset_peak=getattr(core, "_accelerator_resetPeakStats", None),
        )
        return self._torch


def _is_apple_silicon() -> bool:
    return sys.platform == "darwin" and os.uname().machine == "arm64"
