"""Whether an exception says that memory ran out, and whose: told by its class, and by the words that libraries use.

tests/out_of_memory_texts.py has those words by library and version, and others that only look alike.
"""

from __future__ import annotations

import errno
import re
from typing import NamedTuple

from phasescope.capture.exception_class import (
    bases,
    name_of,
    package_of,
    text_of,
)

_CLASSES = frozenset({"OutOfMemoryError", "_ArrayMemoryError"})
"""torch (all devices), cupy, ray, numpy; by name, so that none of them is imported."""

_NOT_THIS_PROCESS = frozenset({"redis"})
"""Packages whose OutOfMemoryError is of another program."""

_SPEAKING = frozenset(
    {
        "XlaRuntimeError",
        "JaxRuntimeError",
        "OpError",  # of TensorFlow, all of them
        "ResourceExhaustedError",
        "ProcessRaisedException",  # of a child of torch.multiprocessing, with its traceback
        "RayTaskError",
        "SafetensorError",
        "CudaAPIError",  # numba
        "CudaSupportError",
        "RuntimeException",  # onnxruntime
        "XGBoostError",
        "MXNetError",
        "SystemError",
    }
)
"""Beside RuntimeError the classes whose text is read. Others may speak of memory for all kinds of reasons."""

_SIGNS = re.compile(
    "|".join(
        (
            r"[Oo]ut of memory(?! in memory space (?!hbm))",
            r"OUT_OF_(?:DEVICE_|HOST_)?MEMORY",
            r"\bout_of_memory\b",
            r"\bOOM when allocating",
            r"\b(?:CU|HIP|ROC|MIOPEN)[A-Z]+_(?:STATUS_)?ALLOC(?:ATION)?_FAILED",
            r"miopenStatusAllocFailed|rocblas_status_memory_error",
            r"(?:UR_RESULT|PI)_ERROR_OUT_OF_RESOURCES",
            r"cudaErrorMemoryAllocation|hipErrorOutOfMemory",
            r"Dst tensor is not initialized",  # TensorFlow: there was no room for a copy
            r"Invalid buffer size: [\d.]+ ?[KMGTP]i?B",  # MPS
            r"Failed to CUDA (?:host )?[cm]?alloc",  # NCCL
            r"Failed to allocate (?:memory for requested buffer|[\d,]+ bytes for new constant|request for )",
            r"Cannot allocate [\d.]+ ?[KMGT]i?B memory on GPU",  # Paddle
            r"Unable to find a valid cuDNN algorithm",
            r"NOT allocate memory block with size larger than",  # XPU
            r"can't allocate memory|not enough memory|std::bad_alloc|bad allocation",
            r"^MemoryError\b|Caught MemoryError in|^(?:numpy\S*)?_ArrayMemoryError: ",  # in the text of a child
            r"unable to mmap [^\n]{0,400}Cannot allocate memory|\(os error 12\)",
        )
    ),
    re.MULTILINE,
)
_EXHAUSTED = re.compile(r"RESOURCE_EXHAUSTED|[Rr]esource exhausted")
_OF_MEMORY = re.compile(r"memory|alloc|\bOOM\b|Oom\b|\bhbm\b", re.IGNORECASE)
_OF_SOMETHING_ELSE = re.compile(
    r"[Nn]o space left|[Qq]uota|[Tt]oo many open files|larger than max|[Mm]essage size|[Ss]hared memory"
    r"|memory space (?!hbm)|[Rr]ate limit"
)
"""What else can be exhausted: disks, files, messages, and the small memories on a chip."""

_NO_MAPPING = re.compile(r"failed to map segment[^\n]{0,200}Cannot allocate memory")

_ON_HOST = re.compile(
    r"can't allocate memory|not enough memory|device:CPU|allocator \w*cpu\b|OUT_OF_HOST_MEMORY|unable to mmap"
    r"|\(os error 12\)|cudaHostAlloc|cudaMallocHost|hipHostMalloc|pin memory thread|CUDA host"
    r"|node running low on memory|^MemoryError\b|Caught MemoryError in|_ArrayMemoryError: ",
    re.MULTILINE,
)
_NO_ROOM_FOR_COPY = "Dst tensor is not"
"""TensorFlow's, of a copy to a GPU; it names the CPU that the copy is from as well."""

_ON_DEVICE = re.compile(
    r"CUDA|HIP|\bMPS\b|\bXPU\b|\bCU[A-Z]+_|ROC[A-Z]+_|MIOPEN|miopen|rocblas|UR_RESULT|\bPI_ERROR|cuda[A-Z]|hip[A-Z]|cudaMalloc"
    r"|device:GPU|allocator GPU|\bGPU\b|\bcuMem|cuDNN|\bhbm\b|Dst tensor is not|Invalid buffer size|for new constant"
    r"|size larger than 4GB|RMM failure"
)


class Shortage(NamedTuple):
    """What says that memory ran out: an exception, or one that it is linked with."""

    exc_type: type[BaseException]
    exc: BaseException | None


def is_out_of_memory(exc_type: type[BaseException], exc: BaseException | None) -> bool:
    """Whether memory ran out, on a device or on the host."""
    classes = bases(exc_type)
    if MemoryError in classes:
        return True
    names = {name_of(cls) for cls in classes}
    if names & _CLASSES:
        return not any(package_of(cls) in _NOT_THIS_PROCESS for cls in classes)
    if OSError in classes:  # fork, mmap and open say it so
        is_real = OSError in bases(type(exc))
        return is_real and (_errno_of(exc) == errno.ENOMEM or _NO_MAPPING.search(text_of(exc)) is not None)
    if ImportError in classes:
        return _NO_MAPPING.search(text_of(exc)) is not None
    return (RuntimeError in classes or bool(names & _SPEAKING)) and _says_so(names, text_of(exc))


_errno_of = OSError.__dict__["errno"].__get__


def _says_so(names: set[str], text: str) -> bool:
    if _SIGNS.search(text):
        return True
    if "ResourceExhaustedError" not in names and not _EXHAUSTED.search(text):
        return False
    return not text or (_OF_MEMORY.search(text) is not None and _OF_SOMETHING_ELSE.search(text) is None)


def whose_memory(shortage: Shortage) -> str | None:
    """Whether it is the memory of the `host` or of a `device` that ran out; None where the exception does not say."""
    classes, text = bases(shortage.exc_type), text_of(shortage.exc)
    packages = {package_of(cls) for cls in classes}
    if "cupy" in packages or "pycuda" in packages:
        return "device"
    if "ray" in packages and not _ON_DEVICE.search(text):
        return "host"
    if OSError in classes or ImportError in classes or (_ON_HOST.search(text) and _NO_ROOM_FOR_COPY not in text):
        return "host"
    if _ON_DEVICE.search(text):
        return "device"
    if MemoryError in classes or "std::bad_alloc" in text or "bad allocation" in text:
        return "host"
    return "device" if any(name_of(cls) in _CLASSES for cls in classes) else None
