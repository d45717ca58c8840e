"""Whether torch may be allocating by functions that call Python, with its allocator's lock held.

Such functions come in a pluggable allocator, behind a `torch.cuda.MemPool` (vLLM's sleep mode, and stacks for
reinforcement learning); torch does not say which pools have one. Those that are known by name show by their modules.
Others are instances of torch's own class for them: instances refer to their class, so it has more references than its
modules and itself account for. That counts who has merely imported the name as well, and errs on the safe side: then
samples repeat the last boundary's figures. Or they are Python functions that ctypes wraps, as torch's own for managed
memory (2.13) are: ctypes keeps the types of such wrappers.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_modules = sys.modules
_CALLING_PYTHON = (
    "vllm.device_allocator.cumem",
    "vllm.device_allocator.xpumem",
    "vllm.cumem_allocator",
    "cumem_allocator",
    "vllm_ascend.device_allocator",
)
_CLASS = "CUDAPluggableAllocator"
_BEHIND_THE_SIZE = (ctypes.c_int, ctypes.c_void_p)
"""The arguments of a function that allocates: after the size the device and the stream. It returns an address."""

_HOLDERS = ("torch.cuda", "torch.cuda.memory")


class _Base:
    """As torch's class has one."""


class _Unused(_Base):
    """A class that its module and itself refer to, and nothing else."""


def allocates_by_python() -> bool:
    """Return whether such an allocator may be in use, as far as that shows. Cheap, and walks over no objects."""
    return any(name in _modules for name in _CALLING_PYTHON) or _is_pluggable_made() or _is_python_wrapped()


def _is_pluggable_made() -> bool:
    cls = getattr(_modules.get("torch.cuda.memory"), _CLASS, None)
    if not isinstance(cls, type) or not getattr(sys, "_is_gil_enabled", _yes)():
        return False  # without the interpreter's lock nobody waits for it
    accounted_for = sum(getattr(_modules.get(name), "__dict__", {}).get(_CLASS) is cls for name in _HOLDERS)
    accounted_for += sum(cell.cell_contents is cls for cell in _cells(cls))
    unused: type = _Unused  # held by a local name as the other is
    return _references(cls) - accounted_for > _references(unused) - 1


def _is_python_wrapped() -> bool:
    made = list(getattr(ctypes, "_c_functype_cache", ()))
    return any(key[0] is ctypes.c_void_p and tuple(key[1][1:]) == _BEHIND_THE_SIZE for key in made)


def _references(cls: type) -> int:
    return sys.getrefcount(cls)


def _cells(cls: type) -> list[Any]:
    """Return what the class's own methods refer to: itself, if one of them calls `super()`."""
    return [cell for method in vars(cls).values() for cell in getattr(method, "__closure__", None) or ()]


def _yes() -> bool:
    """Return True: older versions have no interpreter without its lock."""
    return True
