"""Whether an exception says that memory ran out, and whose: by its class, and by the words that libraries use.

tests/support/out_of_memory_texts.py has those words by library and version, and others that only look alike.
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
from phasescope.capture.wording import Wording

_CLASSES = frozenset({"OutOfMemoryError", "OutOfMemoryException", "_ArrayMemoryError"})
"""torch (all devices), cupy, ray, duckdb, numpy; by name, so that none of them is imported."""

_ON_HOST_ALWAYS = frozenset({"duckdb", "pandas"})

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
        "LightGBMError",
        "CatBoostError",
        "MXNetError",
        "DGLError",
        "ParserError",  # of pandas, which is a ValueError
        "SystemError",
        "OpenMMException",
        "PanicException",  # of libraries written in Rust: tokenizers, polars
    }
)
"""Beside RuntimeError the classes whose text is read. Others may speak of memory for all kinds of reasons."""

_SPEAKING_IN = frozenset(
    {
        ("error", "cv2"),
        ("Fail", "onnxruntime"),
        ("EPFail", "onnxruntime"),
        ("CUDAError", "cuda"),
        ("MemoryError", "lmdb"),
        ("MemoryError", "pyopencl"),
    }
)
"""The same, of names that other packages have too."""

_SIGNS = Wording(
    (
        "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "miopenStatusAllocFailed",
        "rocblas_status_memory_error",
        "the resource allocation failed",  # cuBLAS's, in words
        "UR_RESULT_ERROR_OUT_OF_RESOURCES",
        "PI_ERROR_OUT_OF_RESOURCES",
        "cudaErrorMemoryAllocation",
        "hipErrorOutOfMemory",
        "HIP_ERROR_OutOfMemory",
        "Cuda error: 2[",
        "Error Code 2: OutOfMemory",  # TensorRT
        "Dst tensor is not initialized",  # TensorFlow: there was no room for a copy
        "kIOGPUCommandBufferCallbackErrorOutOfMemory",  # MLX
        "[metal::malloc] Attempting to allocate",  # MLX
        "Command buffer execution failed: Insufficient Memory",  # MLX
        "PT_DEVMEM Allocation failed",  # Gaudi
        "SYNHELPER workspace Allocation of size",  # Gaudi
        "not enough GPU video memory",  # DirectML
        "Not enough memory resources are available",  # DirectML
        "Memory Object Allocation Failure",  # OpenCL, also by way of LightGBM
        "MEM_OBJECT_ALLOCATION_FAILURE",
        "Failed to allocate a memory region of",  # Kaldi
        "Unable to alloc cuda device memory",  # Jittor
        "CPU memory is overflow",
        "GPU memory is overflow",
        "memory isn't enough and alloc failed",  # MindSpore
        "Insufficient memory) Failed to allocate",  # OpenCV
        "Failed to allocate memory for requested buffer",
        "Failed to allocate request for ",
        "Unable to find a valid cuDNN algorithm",
        "NOT allocate memory block with size larger than",  # XPU
        "can't allocate memory",
        "not enough memory",
        "std::bad_alloc",
        "bad allocation",
        "Could not allocate ndarray",
        "kind: AllocError",
        "paging file is too small",  # Windows
        "(os error 1455)",  # Windows
        "Caught MemoryError in",  # in the text of a child
        "(os error 12)",
        "Os { code: 12, kind: OutOfMemory",
        "No or negligible GPU memory available",  # Unsloth
        "Out of CUDA pre-allocated memory",  # Taichi
        "insufficient GPU memory",  # TensorRT-LLM, of torch's error caught within
        "Insufficient VRAM for",  # ExLlama, the same
        "Exceeded max size of memory allocation",  # OpenVINO
        "Exceeded max size of memory object allocation",
    ),
    r"[Oo]ut of (?:[Hh]ost |device )?[Mm]emory(?! in memory space (?!hbm))",
    r"(?<!state: )OUT_OF_(?:DEVICE_|HOST_)?MEMORY",  # a batch system's state is of another process
    r"\bout_of_memory\b",
    r"\bOOM when allocating",
    r"\b(?:CU|HIP|ROC|MIOPEN)[A-Z]+_(?:STATUS_)?ALLOC(?:ATION)?_FAILED",
    r"NVML_SUCCESS == [^\n]{1,80}INTERNAL ASSERT FAILED[^\n]{0,120}CUDACachingAllocator",
    r"Invalid buffer size: [\d.]+ ?[KMGTP]i?B",  # MPS
    r"\[malloc(?:_or_wait)?\] Unable to allocate \d+ bytes",  # MLX
    r"EL0004: [^\n]{0,40}Failed to allocate memory",  # Ascend
    r"Memory allocation error on worker \d",  # XGBoost
    r"Failed to CUDA (?:host )?[cm]?alloc",  # NCCL
    r"Failed to allocate [\d,]+ bytes (?:for new constant|on device)",
    r"Cannot allocate (?:memory\b|[\d.]+ ?[KMGT]i?B memory on GPU)",  # Paddle
    r"file mapping: [^\n]{0,80}error code: <1455>",  # Windows
    r"posix_memalign\([^\n]{0,80}\) == 0\. 12 vs 0",  # torch 1.0
    r"^MemoryError\b|^(?:numpy\S*)?_ArrayMemoryError: ",  # in the text of a child
    r"Can't allocate \d+ bytes on (?:device \d|host)",  # DALI
)
_ON_THE_CHIP = re.compile(r"^out of resource: ")
"""A kernel needs more of a core's own memory than that has: Inductor says so by torch's own OutOfMemoryError."""

_OF_A_PART = re.compile(r"[Oo]ut of memory\. Try to lower your batch size|\d B L1 buffer across")
"""A server's pool of tokens is of a fixed size, and a core's own memory is small: both run out on an empty device."""

_EXHAUSTED = re.compile(r"RESOURCE_EXHAUSTED|[Rr]esource exhausted")
_STATUS = re.compile(r"RESOURCE_EXHAUSTED: ")
"""What XLA's words begin with, whichever class JAX raises them as."""

_OF_MEMORY = re.compile(r"memory|alloc|\bOOM\b|Oom\b|\bhbm\b", re.IGNORECASE)
_OF_SOMETHING_ELSE = Wording(
    (
        *("No space left", "no space left", "Quota", "quota", "Too many open files", "too many open files"),
        *("larger than max", "Message size", "message size", "Shared memory", "shared memory"),
        *("Rate limit", "rate limit"),
    ),
    r"memory space (?!hbm)",
)
"""What else can be exhausted: disks, files, messages, and the small memories on a chip."""

_NO_MAPPING = re.compile(
    r"failed to map segment[^\n]{0,200}Cannot allocate memory|\(os error (?:12|1455)\)$|paging file is too small"
    r"|Not enough memory resources|^Memory mapping file failed: Cannot allocate memory"
)
"""What an OSError says that was made from a text alone: by the loader of shared objects, or by a library in Rust."""

_NO_PAGE_FILE = 1455
"""ERROR_COMMITMENT_LIMIT of Windows, which has no errno of its own."""

_ON_HOST = Wording(
    (
        *("can't allocate memory", "not enough memory", "device:CPU", "OUT_OF_HOST_MEMORY", "unable to mmap"),
        *("(os error 12)", "cudaHostAlloc", "cudaMallocHost", "hipHostMalloc", "pin memory thread"),
        *("CUDA host", "Out of Host Memory", "node running low on memory", "Caught MemoryError in"),
        *("_ArrayMemoryError: ", "posix_memalign", "Could not allocate ndarray", "Insufficient memory)"),
        *("Os { code: 12", "_HOST_ALLOCATION_FAILED", "CPU memory is overflow", "kind: AllocError"),
        *("paging file", "(os error 1455)", "error code: <1455>"),
    ),
    r"allocator \w*cpu\b|^MemoryError\b|\bbytes on host\b|Cannot allocate memory\b",
)
_NO_ROOM_FOR_COPY = re.compile(r"Dst tensor is not|unable to allocate output tensor\. Key: [^\n]{0,400}device:GPU")
"""TensorFlow's, of a copy to a GPU; it names the CPU that the copy is from as well."""

_ON_DEVICE = Wording(
    (
        *("CUDA", "HIP", "METAL", "metal::", "kIOGPU", "[malloc", "PT_DEVMEM", "cuda runtime", "cuda failed"),
        *("/cuda_lib/", "Memory Object", "MIOPEN", "miopen", "rocblas", "UR_RESULT", "device:GPU"),
        *("device:XPU", "allocator GPU", "Gpu API", "cuDNN", "cudnn", "cuBLAS", "cublas", "HBM"),
        *("Dst tensor is not", "Invalid buffer size", "for new constant", "size larger than 4GB"),
        *("RMM failure", "get_temporary_buffer", "SYNHELPER", "EL0004", "of device memory", "MEM_OBJECT"),
        *("on device 'cuda", "OutOfMemory (Requested", "a memory region of", "cuda device"),
        *("out of memory. Tried to allocate", "at the bottom of memory", "OUT_OF_DEVICE_MEMORY"),
    ),
    r"\b(?:MPS|XPU|NPU|HPU|GPU|VRAM|hbm)\b|\bCU[A-Z]+_|ROC[A-Z]+_|\bPI_ERROR|(?:cuda|hip)[A-Z]|\bcuMem|\bnrt_",
    r"on worker \d|Device\(id:\d|bytes on device \d|\d B DRAM buffer",
)


class Shortage(NamedTuple):
    """The exception that says that memory ran out: the one raised, or one that it is linked with."""

    exc_type: type[BaseException]
    exc: BaseException | None


def is_out_of_memory(exc_type: type[BaseException], exc: BaseException | None) -> bool:
    """Return whether memory ran out, on a device or on the host."""
    classes = bases(exc_type)
    if MemoryError in classes:
        return True
    names = {name_of(cls) for cls in classes}
    if names & _CLASSES:
        return _ON_THE_CHIP.match(text_of(exc)) is None and not any(
            package_of(cls) in _NOT_THIS_PROCESS for cls in classes
        )
    if OSError in classes:  # fork, mmap and open say it so
        is_real = OSError in bases(type(exc))
        return is_real and (_is_errno_of_memory(exc) or _NO_MAPPING.search(text_of(exc)) is not None)
    if ImportError in classes:
        return _NO_MAPPING.search(text_of(exc)) is not None
    speaks = RuntimeError in classes or bool(names & _SPEAKING)
    speaks = speaks or (name_of(exc_type), package_of(exc_type)) in _SPEAKING_IN
    text = text_of(exc)
    speaks = speaks or (ValueError in classes and _STATUS.match(text) is not None)
    return speaks and _says_so(names, text)


_errno_of = OSError.__dict__["errno"].__get__
_winerror = OSError.__dict__.get("winerror")


def _is_errno_of_memory(exc: BaseException | None) -> bool:
    if _errno_of(exc) == errno.ENOMEM:
        return True
    return _winerror is not None and _winerror.__get__(exc) == _NO_PAGE_FILE


def _says_so(names: set[str], text: str) -> bool:
    if _OF_A_PART.search(text):
        return False
    if _SIGNS.is_in(text):
        return True
    if "ResourceExhaustedError" not in names and not _EXHAUSTED.search(text):
        return False
    return not text or (_OF_MEMORY.search(text) is not None and not _OF_SOMETHING_ELSE.is_in(text))


def whose_memory(shortage: Shortage) -> str | None:
    """Return `host` or `device`, or None if the exception does not say."""
    classes, text = bases(shortage.exc_type), text_of(shortage.exc)
    packages = {package_of(cls) for cls in classes}
    if "cupy" in packages or "pycuda" in packages:
        return "device"
    if "ray" in packages and not _ON_DEVICE.is_in(text):
        return "host"
    copied = _NO_ROOM_FOR_COPY.search(text)
    if OSError in classes or ImportError in classes or (_ON_HOST.is_in(text) and not copied):
        return "host"
    if copied or _ON_DEVICE.is_in(text) or any(name_of(cls) == "CudaError" for cls in classes):
        return "device"
    if MemoryError in classes or "std::bad_alloc" in text or "bad allocation" in text:
        return "host"
    if packages & _ON_HOST_ALWAYS:
        return "host"
    return "device" if any(name_of(cls) in _CLASSES for cls in classes) else None
