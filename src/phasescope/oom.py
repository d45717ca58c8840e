"""What is worth writing down when memory runs out: what was asked for, and the settings in force.

Pure but for reading the environment and this process's limits. Nothing here asks a device.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
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
_CHUNK_BYTES = 1 << 16
_LIMITS = {"RLIMIT_AS": "address_space_limit_bytes", "RLIMIT_DATA": "data_limit_bytes"}

_REQUESTS = (
    re.compile(r"[Tt]ried to allocate (?P<size>[\d.]+) ?(?P<unit>[KMGTP]i?B|bytes)"),  # torch: CUDA, MPS, XPU
    re.compile(r"you tried to allocate (?P<size>\d+) (?P<unit>bytes)"),  # torch on the host
    re.compile(r"Unable to allocate (?P<size>[\d.]+) (?P<unit>[KMGTPE]i?B|bytes)"),  # numpy
    re.compile(
        r"[Oo]ut of memory (?:while trying to allocate|allocating) (?P<size>[\d.]+) ?(?P<unit>[KMGT]?i?B|bytes)"
    ),
    re.compile(r"[Ff]ailed to allocate (?:request for )?(?P<size>[\d.]+) ?(?P<unit>[KMGT]i?B|bytes)"),  # XLA
)
_UNITS = {"bytes": 1, "B": 1} | {
    prefix + suffix: 1024 ** (power + 1) for power, prefix in enumerate("KMGTPE") for suffix in ("B", "iB")
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

_OTHER_PROCESS = re.compile(rf"Process \d+ has {_SIZE} memory in use")
_BACKENDS = {"CUDA": "cuda", "HIP": "rocm", "XPU": "xpu", "MPS": "mps"}
_BACKEND = re.compile(rf"\b({'|'.join(_BACKENDS)})\b")
_INDEX = re.compile(r"\bGPU (?P<index>\d{1,4})\b")
_TENSOR = re.compile(r"OOM when allocating tensor with shape\[(?P<shape>[\d,]+)\] and type (?P<type>\w+)")
_TYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("half", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float", "int32", "uint32"), 4),
    **dict.fromkeys(("double", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


def requested_bytes(text: str) -> int | None:
    """How much was asked for, by the text of an out-of-memory error of torch, numpy, TensorFlow or XLA.

    Rounded as that text has it ("20.00 GiB"); None where it does not say.
    """
    for pattern in _REQUESTS:
        found = pattern.search(text)
        if found is not None:
            return _size(found)
    tensor = _TENSOR.search(text)
    if tensor is None or tensor["type"] not in _TYPE_BYTES:
        return None
    size = _TYPE_BYTES[tensor["type"]]
    for length in tensor["shape"].split(","):
        size *= int(length or 1)
    return size


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
    found |= {name: _size(match) for name, pattern in _FIGURES.items() if (match := pattern.search(text)) is not None}
    if "process_used_bytes" in found:
        found["other_processes_bytes"] = sum(_size(match) for match in _OTHER_PROCESS.finditer(text))
    return found


def mappings(proc: Path = Path("/proc")) -> dict[str, int]:
    """How many memory mappings this process has, and how many it may have; nothing where the system does not tell.

    Counting takes some tens of ms where there are as many as may be: it is for when the host's memory ran out.
    """
    try:
        with (proc / "sys/vm/max_map_count").open("rb") as file:
            limit = int(file.read(_LONGEST_SETTING))
        with (proc / "self/maps").open("rb", buffering=0) as file:
            count = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))
    except (OSError, ValueError, MemoryError):
        return {}
    return {"mappings": count, "mappings_limit": limit}


def _size(found: re.Match[str]) -> int:
    return int(float(found["size"]) * _UNITS[found["unit"]])


def requested_by_numpy(error: BaseException | None) -> int | None:
    """The same of numpy's exception, called MemoryError, which makes its text when asked, from a shape and a type."""
    kind = type(error)
    if kind.__qualname__ != "_ArrayMemoryError" or not kind.__module__.startswith("numpy") or error is None:
        return None
    shape, dtype = (*error.args, None, None)[:2]
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        return None
    return math.prod(shape) * int(getattr(dtype, "itemsize", 0)) or None


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
