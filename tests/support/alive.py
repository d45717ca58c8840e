"""An allocator's count of live storages, and a device whose allocator that is: CUDA's stand-in, to the byte."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from phasescope.testing import FakeBackend


class Alive(TorchDispatchMode):  # type: ignore[misc]
    """An allocator's count of its live storages. It stands in for that of CUDA, which this machine has not."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.peak_bytes = 0

    @property
    def allocated_bytes(self) -> int:
        return sum(self.sizes.values())

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        self.peak_bytes = max(self.peak_bytes, self.allocated_bytes)
        return result

    def _note(self, storage: Any) -> None:
        address = storage.data_ptr()
        if address and address not in self.sizes:
            self.sizes[address] = storage.nbytes()
            weakref.finalize(storage, self.sizes.pop, address, None)


class Device(FakeBackend):
    """The device that these storages are said to lie on."""

    def __init__(self, alive: Alive, total: int = 1 << 34) -> None:
        super().__init__("cuda", total=total, used=0)
        self.alive = alive

    def allocator(self, device: int) -> Any:
        allocated = self.alive.allocated_bytes
        return allocated, allocated, None, None

    def peak(self, device: int) -> int:
        return self.alive.peak_bytes

    def reset_peak(self, device: int) -> None:
        self.alive.peak_bytes = self.alive.allocated_bytes
