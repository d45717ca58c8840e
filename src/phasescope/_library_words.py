"""What a library says when memory runs out, in its own words, for `phasescope.testing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

TORCH = {"cuda": "CUDA", "rocm": "HIP", "xpu": "XPU"}
"""The backends of torch's caching allocator, by the name that its errors begin with."""


class FailedAllocation(NamedTuple):
    """A failing allocation. In bytes; None if the library does not say."""

    device: int
    requested: int
    allocated: int
    reserved: int
    total: int
    free: int
    allowed: int | None
    process: int | None
    others: int
    pools: int


def _size_text(size: int) -> str:
    """Format a size as torch does."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"


def of_device(backend: str, short: FailedAllocation) -> str:
    """Return the words of the library that a backend of this name measures. Raises ValueError for any other."""
    if backend in TORCH:
        return _of_torch(TORCH[backend], short)
    if backend not in _OTHERS:
        raise ValueError(f"{backend} has no words of its own: raise its library's error instead")
    return _OTHERS[backend](short)


def of_host(requested: int) -> str:
    """Return the words of torch's allocator on the host."""
    return (
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        f"allocate {requested} bytes. Error code 12 (Cannot allocate memory)"
    )


def _of_torch(name: str, short: FailedAllocation) -> str:
    """Return the words of the caching allocator. Its words count what is free in the pools of graphs as allocated."""
    used = "" if short.process is None else f"this process has {_size_text(short.process)} memory in use. "
    other = f"Process 4711 has {_size_text(short.others)} memory in use. " if short.others else ""
    pools = f"with {_size_text(short.pools)} allocated in private pools (e.g., CUDA Graphs), " if short.pools else ""
    limit = "" if short.allowed is None else f"{_size_text(short.allowed)} allowed; "
    return (
        f"{name} out of memory. Tried to allocate {_size_text(short.requested)}. "
        f"GPU {short.device} has a total capacity of {_size_text(short.total)} of which {_size_text(short.free)} is "
        f"free. {other}{used}{limit}Of the allocated memory {_size_text(short.allocated + short.pools)} is allocated "
        f"by PyTorch, {pools}and {_size_text(short.reserved - short.allocated - short.pools)} is reserved by PyTorch "
        "but unallocated."
    )


def _of_mps(short: FailedAllocation) -> str:
    beside = 0 if short.process is None else max(0, short.process - short.allocated)
    most = short.total if short.allowed is None else short.allowed
    return (
        f"MPS backend out of memory (MPS allocated: {_size_text(short.allocated)}, other allocations: "
        f"{_size_text(beside)}, max allowed: {_size_text(most)}). Tried to allocate {_size_text(short.requested)} on "
        "private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations (may "
        "cause system failure)."
    )


def _of_jax(short: FailedAllocation) -> str:
    return f"RESOURCE_EXHAUSTED: Out of memory while trying to allocate {short.requested} bytes."


def _of_tensorflow(short: FailedAllocation) -> str:
    return (
        f"OOM when allocating tensor with shape[{short.requested}] and type uint8 on "
        f"/job:localhost/replica:0/task:0/device:GPU:{short.device} by allocator GPU_{short.device}_bfc"
    )


_OTHERS: dict[str, Callable[[FailedAllocation], str]] = {"mps": _of_mps, "jax": _of_jax, "tensorflow": _of_tensorflow}
