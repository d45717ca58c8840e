"""What is worth writing down when memory runs out: what was asked for, and the settings in force.

Pure but for reading the environment and this process's limits. Nothing here asks a device.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SETTINGS = (
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_HIP_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_GPU_ALLOCATOR",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
"""Environment variables that change how an allocator behaves; advice must know which of them are in force."""

_LONGEST_SETTING = 200
_PAGE_BYTES = 4096
_ATTEMPTS = 4
_MOST = 1 << 63
_LIMITS = {"RLIMIT_AS": "address_space_limit_bytes", "RLIMIT_DATA": "data_limit_bytes"}

_AMOUNT = r"(?P<size>\d[\d.,]{0,30}) ?(?P<unit>[KMGTPE](?:i?B)?|bytes|B)\b"
_REQUESTS = tuple(
    re.compile(before + _AMOUNT)
    for before in (
        r"[Tt]ried to allocate (?:more than )?",  # torch: CUDA, MPS, XPU, the host
        r"Unable to allocate ",  # numpy
        r"[Oo]ut of memory (?:while trying to allocate|allocating|to allocate) ",  # XLA, cupy
        r"[Ff]ailed to allocate (?:request for )?",  # XLA
        r"Failed to CUDA (?:host )?[cm]?alloc(?: async)? ",  # NCCL
        r"Attempting to reserve ",  # XLA for TPU
        r"Cannot allocate ",  # Paddle
        r"Invalid buffer size: ",  # MPS
        r"unable to mmap ",
    )
) + tuple(
    re.compile(rf"{before}(?P<size>\d{{1,20}})\b(?P<unit>)")
    for before in (r"malloc of size ", r"requested buffer of size ", r"space Device stream \S{1,40} size ")
)
"""How libraries say what was asked for, the last three in plain bytes: pyarrow, onnxruntime, faiss."""

_UNITS = {"": 1, "bytes": 1, "B": 1} | {
    prefix + suffix: 1024 ** (power + 1) for power, prefix in enumerate("KMGTPE") for suffix in ("", "B", "iB")
}
_SIZE = r"(?P<size>\d{1,20}(?:\.\d{1,4})?) ?(?P<unit>[KMGTPE]i?B|bytes)"
_FIGURES = {
    "total_bytes": re.compile(rf"total capacity of {_SIZE}"),
    "free_bytes": re.compile(rf"of which {_SIZE} is free"),
    "allocated_bytes": re.compile(rf"{_SIZE} is allocated by PyTorch"),
    "slack_bytes": re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated"),
    "process_used_bytes": re.compile(rf"this process has {_SIZE} memory in use"),
}
"""What torch says of a device, each by its name in the event."""

_OLDER_FIGURES = {
    "total_bytes": re.compile(rf"{_SIZE} total capacity"),
    "free_bytes": re.compile(rf"{_SIZE} free;"),
    "allocated_bytes": re.compile(rf"{_SIZE} already allocated"),
    "reserved_bytes": re.compile(rf"{_SIZE} (?:reserved in total|cached)"),
}
"""Before torch 2.1."""

_MPS = re.compile(
    rf"MPS allocated: {_SIZE}(?:, other allocations: {_SIZE.replace('<', '<other_')})?"
    rf", max allowed: {_SIZE.replace('<', '<most_')}"
)
"""The others are this process's own, beside torch's allocator."""

_OTHER_PROCESS = re.compile(rf"Process \d+ has {_SIZE} memory in use")
_BACKENDS = {"CUDA": "cuda", "HIP": "rocm", "XPU": "xpu", "MPS": "mps"}
_BACKEND = re.compile(rf"\b({'|'.join(_BACKENDS)})\b")
_INDEX = re.compile(r"\bGPU (?P<index>\d{1,4})\b")
_TENSOR = re.compile(r"OOM when allocating tensor with shape\[(?P<shape>[\d,]{1,400})\] and type (?P<type>\w+)")
_TYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("half", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float", "int32", "uint32"), 4),
    **dict.fromkeys(("double", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


def requested_bytes(text: str) -> int | None:
    """How much was asked for, by the text of an out-of-memory error.

    Rounded as that text has it ("20.00 GiB"); None where it does not say.
    """
    for pattern in _REQUESTS:
        found = pattern.search(text)
        if found is not None:
            return _size(found) or None
    return _size_of_tensor(text)


def _size_of_tensor(text: str) -> int | None:
    tensor = _TENSOR.search(text)
    if tensor is None or tensor["type"] not in _TYPE_BYTES:
        return None
    size = _TYPE_BYTES[tensor["type"]]
    for length in tensor["shape"].split(","):
        size *= int(length or 1)
    return size if size < _MOST else None


def told(text: str) -> dict[str, str | int]:
    """What the text of torch's out-of-memory error says of a device: its backend and index, and its figures in bytes.

    A key that it says nothing of is left out. Other processes are told from this one only where this one is named:
    in a container its own number is another's.
    """
    found: dict[str, str | int] = {}
    backend, index = _BACKEND.search(text), _INDEX.search(text)
    if backend is not None:
        found["backend"] = _BACKENDS[backend[1]]
    if index is not None:
        found["device_id"] = int(index["index"])
    found |= _figures(_FIGURES, text) or _older_figures(text) or _figures_of_mps(text)
    if "process_used_bytes" in found:
        found["other_processes_bytes"] = sum(_size(match) for match in _OTHER_PROCESS.finditer(text))
    return found


def _figures(patterns: Mapping[str, re.Pattern[str]], text: str) -> dict[str, int]:
    matches = {name: pattern.search(text) for name, pattern in patterns.items()}
    return {name: _size(match) for name, match in matches.items() if match is not None}


def _older_figures(text: str) -> dict[str, int]:
    found = _figures(_OLDER_FIGURES, text)
    reserved = found.pop("reserved_bytes", None)
    if reserved is not None and "allocated_bytes" in found:
        found["slack_bytes"] = max(0, reserved - found["allocated_bytes"])
    return found


def _figures_of_mps(text: str) -> dict[str, int]:
    found = _MPS.search(text)
    if found is None:
        return {}
    allocated, most = _size(found), _size(found, "most_")
    used = allocated + (_size(found, "other_") if found["other_size"] else 0)
    figures = {"total_bytes": most, "free_bytes": max(0, most - used), "allocated_bytes": allocated, "slack_bytes": 0}
    return {**figures, "process_used_bytes": used}


def mappings(proc: str = "/proc") -> dict[str, int]:
    """How many memory mappings this process has, and how many it may have; nothing where the system does not tell.

    Counting takes some tens of ms where there are as many as may be: it is for when the host's memory ran out. By then
    hardly a block can be had, and what one attempt has given back is what the next one gets.
    """
    for _ in range(_ATTEMPTS):
        try:
            with open(f"{proc}/sys/vm/max_map_count", "rb", buffering=0) as file:  # noqa: PTH123 - with few objects
                limit = int(file.read(_LONGEST_SETTING) or b"")
            return {"mappings": _lines(f"{proc}/self/maps"), "mappings_limit": limit}
        except (OSError, ValueError):
            break
        except MemoryError:
            continue
    return {}


def _lines(path: str) -> int:
    page, count = bytearray(_PAGE_BYTES), 0
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        while size := file.readinto(page):
            count += page.count(b"\n", 0, size)
    return count


def _size(found: re.Match[str], prefix: str = "") -> int:
    """In bytes; 0 where that is no number, or more than any machine has."""
    digits = found[f"{prefix}size"].rstrip(".,").replace(",", "")
    size = float(digits) * _UNITS[found[f"{prefix}unit"]] if digits.count(".") <= 1 else 0
    return int(size) if size < _MOST else 0


def requested_by_numpy(error: BaseException | None) -> int | None:
    """The same of numpy's exception, called MemoryError, which makes its text when asked, from a shape and a type."""
    kind = type(error)
    if kind.__qualname__ != "_ArrayMemoryError" or not kind.__module__.startswith("numpy") or error is None:
        return None
    shape, dtype = (*error.args, None, None)[:2]
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        return None
    size = math.prod(shape) * int(getattr(dtype, "itemsize", 0))
    return size if 0 < size < _MOST else None


def settings(environ: Mapping[str, str] = os.environ) -> dict[str, str | int]:
    """The allocator settings of the environment, by their names, and this process's own limits, in bytes."""
    found: dict[str, str | int] = {name: environ[name][:_LONGEST_SETTING] for name in _SETTINGS if name in environ}
    try:
        import resource
    except ImportError:  # Windows
        return found
    for limit, name in _LIMITS.items():
        soft = resource.getrlimit(getattr(resource, limit))[0]
        if soft != resource.RLIM_INFINITY:
            found[name] = soft
    return found
