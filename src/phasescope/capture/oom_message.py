"""The details worth writing down when memory runs out: the size of the request, and the settings in force.

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
_DECIMALS = 0.006
_NEARLY = 0.93  # the driver keeps some for itself
_LIMITS = {"RLIMIT_AS": "address_space_limit_bytes", "RLIMIT_DATA": "data_limit_bytes"}

_AMOUNT = r"(?P<size>\d[\d.,]{0,30}) ?(?P<unit>[KMGTPE](?:i?B)?|bytes|B)\b"
_BEFORE_AMOUNT = (
    r"[Tt]ried to allocate (?:more than )?",  # torch: CUDA, MPS, XPU, the host
    r"Unable to allocate ",  # numpy
    r"[Oo]ut of memory (?:while trying to allocate|allocating|to allocate) ",  # XLA, cupy
    r"[Ff]ailed to allocate (?:request for )?",  # XLA
    r"Failed to CUDA (?:host )?[cm]?alloc(?: async)? ",  # NCCL
    r"Attempting to reserve ",  # XLA for TPU
    r"Cannot allocate ",  # Paddle
    r"Invalid buffer size: ",  # MPS
    r"unable to mmap ",
    r"Attempting to allocate ",  # MLX
    r"[Oo]ut of memory\. Requested ",  # CatBoost
    r"(?:could not allocate block|failed to allocate data) of size ",  # DuckDB
    r"Requested {1,20}: ",  # torch, cudaMallocAsync
    r"Could not allocate tensor with ",  # DirectML
    r"\bAllocating ",  # XLA, in a list of what it tried
    r"alloc failed, [^\n]{0,120}alloc size: ",  # MindSpore
    r"Requested memory: {1,20}",  # XGBoost
    r"memory (?:object )?allocation: (?:[Rr]equested|Required) ",  # OpenVINO
    r"space to allocate ",  # TT-NN
)
_BEFORE_BYTES = (
    r"(?:malloc|realloc|host memory) of size ",  # pyarrow, XLA
    r"requested buffer of size ",  # onnxruntime
    r"space Device stream \S{1,40} size ",  # faiss
    r"Allocation (?:failed for size|of size )::",  # Gaudi
    r"Requested memory: {1,20}",  # XGBoost
    r"Allocation \(size=",  # XLA for TPU
    r"OutOfMemory \(Requested size was ",  # TensorRT
    r"Failed to allocate a memory region of ",  # Kaldi
    r"cuda device memory for size ",  # Jittor
    r"Fail to alloc memory of ",  # Paddle
    r"(?:Failed to allocate|failed to alloc|Can't allocate) (?=\d{1,20} bytes on (?:device|host))",  # Warp, DALI
    r"failed to allocate buffer of length ",  # IREE
)
"""The words in front of the size of a request, by library: of several the one that is listed first counts."""


def _any_of(before: tuple[str, ...], size: str) -> re.Pattern[str]:
    """Return one pattern for all, which costs a tenth of one for each. It takes nothing, so that none hides another;
    an empty group says which it was."""
    return re.compile(f"(?=(?:{'|'.join(f'{words}()' for words in before)}){size})")


_REQUESTS = (_any_of(_BEFORE_AMOUNT, _AMOUNT), _any_of(_BEFORE_BYTES, r"(?P<size>\d{1,20})\b(?P<unit>)"))

_UNITS = {"": 1, "bytes": 1, "B": 1} | {
    prefix + suffix: 1024 ** (power + 1) for power, prefix in enumerate("KMGTPE") for suffix in ("", "B", "iB")
}
_SIZE = r"(?P<size>\d{1,20}(?:\.\d{1,4})?) ?(?P<unit>[KMGTPE]i?B|bytes)"
_SIZED = re.compile(_SIZE)
_FIGURES: Mapping[str, tuple[str | tuple[str, ...], str]] = {
    "total_bytes": (("total capacity of ", "total capacty of "), ""),  # the latter in torch 2.1
    "free_bytes": ("of which ", " is free"),
    "allocated_bytes": ("", " is allocated by PyTorch"),
    "slack_bytes": ("", " is reserved by PyTorch but unallocated"),
    "private_pools_bytes": ("with ", " allocated in private pools"),
    "process_used_bytes": ("this process has ", " memory in use"),
    "allowed_bytes": ("", " allowed; "),
}
"""The figures that torch states of a device, each by its name in the event: the words before and behind its size."""

_OLDER_FIGURES = {
    "total_bytes": ("", " total capacity"),
    "free_bytes": ("", " free;"),
    "allocated_bytes": ("", " already allocated"),
    "reserved_bytes": ("", " reserved in total"),
    "slack_bytes": ("", " cached)"),
    "allowed_bytes": ("", " allowed; "),
}
"""Before torch 2.1; before 1.4 it stated what was cached and not in use."""

_MPS = re.compile(
    rf"MPS allocated: {_SIZE}(?:, other allocations: {_SIZE.replace('<', '<other_')})?"
    rf", max allowed: {_SIZE.replace('<', '<most_')}"
)
"""The others are this process's own, beside torch's allocator."""

_ASYNC_FIGURES = {
    "total_bytes": re.compile(rf"Device limit {{1,20}}: {_SIZE}"),
    "free_bytes": re.compile(rf"Free \(according to CUDA\): {_SIZE}"),
    "allocated_bytes": re.compile(rf"Currently allocated {{1,20}}: {_SIZE}"),
    "allowed_bytes": re.compile(rf"PyTorch limit \([^\n)]{{0,80}}\)\s{{0,40}}: {_SIZE}"),
}
"""Of the allocator `backend:cudaMallocAsync`."""

_OTHER_PROCESS = re.compile(rf"Process \d+ has {_SIZE} memory in use")
_BACKENDS = {"CUDA": "cuda", "HIP": "rocm", "XPU": "xpu", "MPS": "mps", "NPU": "npu"}
_BACKEND = re.compile(rf"\b({'|'.join(_BACKENDS)})\b")
_INDEX = re.compile(r"\b(?:GPU|NPU|Allocation on device) (?P<index>\d{1,4})\b")
_TENSOR = re.compile(r"OOM when allocating tensor with shape\[(?P<shape>[\d,]{1,400})\] and type (?P<type>\w+)")
_TYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("half", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float", "int32", "uint32"), 4),
    **dict.fromkeys(("double", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


def requested_bytes(text: str) -> int | None:
    """Return the size of the request, by the text of an out-of-memory error.

    Rounded as that text has it ("20.00 GiB"); None if it does not say.
    """
    for pattern in _REQUESTS:
        match = min(pattern.finditer(text), key=_place_in_list, default=None)
        if match is not None:
            return _size(match) or None
    return _size_of_tensor(text)


def _place_in_list(match: re.Match[str]) -> int:
    return match.groups().index("")


def _size_of_tensor(text: str) -> int | None:
    tensor = _TENSOR.search(text)
    if tensor is None or tensor["type"] not in _TYPE_BYTES:
        return None
    size = _TYPE_BYTES[tensor["type"]]
    for length in tensor["shape"].split(","):
        size *= int(length or 1)
    return size if size < _MOST else None


def stated_figures(text: str) -> dict[str, str | int]:
    """Return the figures that torch's out-of-memory error states of a device: backend and index, and sizes in bytes.

    A key that it does not state is left out. Other processes are separated from this one if this one is named, or if
    only one is listed and nobody else can be there: in a container its own number is another's.
    """
    stated: dict[str, str | int] = {}
    backend, index = _BACKEND.search(text), _INDEX.search(text)
    if backend is not None:
        stated["backend"] = _BACKENDS[backend[1]]
    if index is not None:
        stated["device_id"] = int(index["index"])
    figures = (_newer_figures(text) if "total capac" in text and "Of the allocated" in text else {}) or (
        _older_figures(text) or _figures_of_mps(text) or _figures_of_async(text)
    )
    return stated | figures


def _newer_figures(text: str) -> dict[str, int]:
    """Return the figures of torch 2.1 and newer."""
    figures = _figures(_FIGURES, text)
    own = figures.get("allocated_bytes", 0) + figures.get("slack_bytes", 0)
    sizes = [_size_or_none(match) for match in _OTHER_PROCESS.finditer(text)]
    listed = [size for size in sizes if size is not None]
    if len(listed) < len(sizes):  # Windows and WSL give no sizes
        return figures
    if "process_used_bytes" in figures:
        figures["other_processes_bytes"] = sum(listed)
    elif len(listed) == 1 and listed[0] >= own > 0 and _are_all(listed[0], figures):
        figures |= {"process_used_bytes": listed[0], "other_processes_bytes": 0}
    return figures


def _are_all(used: int, figures: Mapping[str, int]) -> bool:
    """Return whether the memory that one process has in use and the free memory are the whole device, or nearly."""
    free, total = figures.get("free_bytes"), figures.get("total_bytes")
    return free is not None and total is not None and used + free >= _NEARLY * total


def _figures(words: Mapping[str, tuple[str | tuple[str, ...], str]], text: str) -> dict[str, int]:
    """Return the figures between these words, each as it is stated first."""
    sizes = list(_SIZED.finditer(text))
    figures = {}
    for name, (before, behind) in words.items():
        stated = (
            match for match in sizes if text.startswith(behind, match.end()) and text.endswith(before, 0, match.start())
        )
        match = next(stated, None)
        size = None if match is None else _size_or_none(match)
        if size is not None:
            figures[name] = size
    return figures


def _figures_of_async(text: str) -> dict[str, int]:
    matches = {name: pattern.search(text) for name, pattern in _ASYNC_FIGURES.items()}
    sizes = {name: _size_or_none(match) for name, match in matches.items() if match is not None}
    return {name: size for name, size in sizes.items() if size is not None}


def _older_figures(text: str) -> dict[str, int]:
    figures = _figures(_OLDER_FIGURES, text)
    reserved = figures.pop("reserved_bytes", None)
    if reserved is not None and "allocated_bytes" in figures:
        figures["slack_bytes"] = max(0, reserved - figures["allocated_bytes"])
    return figures


def _figures_of_mps(text: str) -> dict[str, int]:
    match = _MPS.search(text)
    if match is None:
        return {}
    allocated, most = _size(match), _size(match, "most_")
    used = min(most, allocated + (_size(match, "other_") if match["other_size"] else 0))
    figures = {"total_bytes": most, "free_bytes": max(0, most - used), "allocated_bytes": allocated, "slack_bytes": 0}
    return {**figures, "process_used_bytes": used}


def mappings(proc: str = "/proc") -> dict[str, int]:
    """Return how many memory mappings this process has, and how many it may have; nothing if the system does not say.

    Counting takes some tens of ms if there are as many as may be: it is for when the host's memory ran out. By then
    hardly a block can be had, and the next attempt gets the memory that the last one has given back.
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


def _size(match: re.Match[str], prefix: str = "") -> int:
    """Return a matched size in bytes; 0 if it is not a number, or more than any machine has."""
    return _size_or_none(match, prefix) or 0


def _size_or_none(match: re.Match[str], prefix: str = "") -> int | None:
    """Return the same, but None if it is not a size.

    torch states what is not known to the driver (WSL, Windows), and a limit that is not set, as 2**64.
    """
    digits = match[f"{prefix}size"].rstrip(".,").replace(",", "")
    size = float(digits) * _UNITS[match[f"{prefix}unit"]] if digits.count(".") <= 1 else _MOST
    return int(size) if size < _MOST else None


def is_rounded(stated: int, exact: int) -> bool:
    """Return whether torch states this exact size so: with two decimals of the largest unit that it fills."""
    unit = next((1 << bits for bits in (30, 20, 10) if exact >> bits), 1)
    return abs(stated - exact) <= _DECIMALS * unit


def requested_by_numpy(error: BaseException | None) -> int | None:
    """Return the size of the request by numpy's MemoryError, which makes its text on demand from shape and type."""
    kind = type(error)
    if kind.__qualname__ != "_ArrayMemoryError" or not kind.__module__.startswith("numpy") or error is None:
        return None
    shape, dtype = (*error.args, None, None)[:2]
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        return None
    size = math.prod(shape) * int(getattr(dtype, "itemsize", 0))
    return size if 0 < size < _MOST else None


def settings(environ: Mapping[str, str] = os.environ) -> dict[str, str | int]:
    """Return the allocator settings of the environment, by their names, and this process's own limits, in bytes."""
    in_force: dict[str, str | int] = {name: environ[name][:_LONGEST_SETTING] for name in _SETTINGS if name in environ}
    try:
        import resource
    except ImportError:  # Windows
        return in_force
    for limit, name in _LIMITS.items():
        soft = resource.getrlimit(getattr(resource, limit))[0]
        if soft != resource.RLIM_INFINITY:
            in_force[name] = soft
    return in_force
