"""What torch says if a device has no room, with figures of the test's own."""

from __future__ import annotations

MIB, GIB = 1 << 20, 1 << 30


class OutOfMemoryError(RuntimeError):
    """As torch's, by its name."""


def torch(
    asked: str, total: str, free: str, live: str, slack: str, *, processes: str = "", allowed: str = "", pools: str = ""
) -> str:
    """As torch 2.1 and newer say it."""
    limit = f"{allowed} allowed; " if allowed else ""
    private = f", with {pools} allocated in private pools (e.g., CUDA Graphs)," if pools else ","
    return (
        f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of {total} of which {free} is "
        f"free. {processes}{limit}Of the allocated memory {live} is allocated by PyTorch{private} and {slack} is "
        "reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting ..."
    )


def this(size: str) -> str:
    return f"Including non-PyTorch memory, this process has {size} memory in use. "


def older(asked: str, total: str, live: str, free: str, reserved: str, *, device: str = "GPU 0") -> str:
    """As torch 1.4 to 2.0, and torch_npu, say it."""
    return (
        f"CUDA out of memory. Tried to allocate {asked} ({device}; {total} total capacity; {live} already allocated; "
        f"{free} free; {reserved} reserved in total by PyTorch) If reserved memory is >> allocated memory try setting"
    )


def oldest(asked: str, total: str, live: str, free: str, cached: str) -> str:
    """As torch before 1.4 says it: cached is what is not in use."""
    return older(asked, total, live, free, cached).replace("reserved in total by PyTorch) If", "cached) If")
