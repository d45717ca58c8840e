"""What an exception that leaves a phase says: out of memory, a loop's normal end, or just an error.

Only its class and a text that it was made with are looked at: `str()` of an exception may run the user's code, or wait
for a device. For the same reason attributes are read through the base class's own descriptors: a property of the
user's, or of a metaclass, is not asked.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

_CONTROL_FLOW = (GeneratorExit, StopIteration, StopAsyncIteration)

_OUT_OF_MEMORY_CLASSES = frozenset({"OutOfMemoryError", "ResourceExhaustedError", "_ArrayMemoryError"})
"""torch (all devices), TensorFlow, numpy; by name, so that none of them is imported."""

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "RESOURCE_EXHAUSTED",
)
"""What RuntimeErrors of torch, cuBLAS, cuDNN, MPS and XLA say. "failed to allocate" alone can be a port."""

_HOST_TEXTS = ("can't allocate memory", "not enough memory", "std::bad_alloc")
_HOST_DEVICES = ("device:CPU", "allocator cpu")  # as TensorFlow names it
_DEVICE_CLASSES = frozenset({"OutOfMemoryError"})  # of torch; on the host it raises a RuntimeError
_DEVICE_TEXTS = ("CUDA", "HIP", "MPS", "XPU", "CUBLAS", "CUDNN", "device:GPU", "allocator GPU")

_MAX_TEXT = 300
_MAX_TRACE = 1000
_MAX_CAUSES = 8
_LARGEST_EXIT_CODE = 2**31

_name_of = type.__dict__["__name__"].__get__
_bases_of = type.__dict__["__mro__"].__get__
_arguments_of = BaseException.__dict__["args"].__get__
_traceback_of = BaseException.__dict__["__traceback__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__
_code_of = SystemExit.__dict__["code"].__get__
_errno_of = OSError.__dict__["errno"].__get__


class Shortage(NamedTuple):
    """What says that memory ran out: an exception, or the one that it was raised from (`raise ... from`)."""

    exc_type: type[BaseException]
    exc: BaseException | None


def is_control_flow(exc_type: type[BaseException]) -> bool:
    """Whether it only ends an iteration: no error of the phase that it passes through."""
    return any(cls in _CONTROL_FLOW for cls in _bases(exc_type))


def is_out_of_memory(exc_type: type[BaseException], exc: BaseException | None) -> bool:
    """Whether memory ran out, on a device or on the host."""
    bases = _bases(exc_type)
    if MemoryError in bases or any(_name_of(cls) in _OUT_OF_MEMORY_CLASSES for cls in bases):
        return True
    if OSError in bases:  # fork, mmap and open say it so
        return OSError in _bases(type(exc)) and _errno_of(exc) == errno.ENOMEM
    text = text_of(exc) if RuntimeError in bases or class_name(exc_type) == "XlaRuntimeError" else ""
    return any(sign in text for sign in (*_OUT_OF_MEMORY_TEXTS, *_HOST_TEXTS))


def shortage_in(exc_type: type[BaseException], exc: BaseException | None) -> Shortage | None:
    """What of this exception and of those that it was raised from says that memory ran out; None: none of them."""
    if is_out_of_memory(exc_type, exc):
        return Shortage(exc_type, exc)
    return next((Shortage(type(cause), cause) for cause in _causes(exc) if is_out_of_memory(type(cause), cause)), None)


def whose_memory(shortage: Shortage) -> str | None:
    """Whether it is the memory of the `host` or of a `device` that ran out; None where the exception does not say."""
    bases = _bases(shortage.exc_type)
    if MemoryError in bases or OSError in bases:
        return "host"
    text = text_of(shortage.exc)
    if any(sign in text for sign in (*_HOST_TEXTS, *_HOST_DEVICES)):
        return "host"
    is_device = any(_name_of(cls) in _DEVICE_CLASSES for cls in bases) or any(sign in text for sign in _DEVICE_TEXTS)
    return "device" if is_device else None


def told_at_exit(
    exc_type: type[BaseException], exc: BaseException | None, shortage: Shortage | None, leaves_all: bool
) -> dict[str, Any] | None:
    """What the exit of a phase says of the exception that it ends with, beside its class; None where that is nothing.

    The outermost phase's has the words: `leaves_all`. Further in it may still be caught, thousands of times.
    """
    told: dict[str, Any] = {}
    if shortage is not None and shortage.exc is not exc:
        told["raised_from"] = class_name(shortage.exc_type)
    if leaves_all:
        told["error"] = with_causes(exc_type, exc)
        if SystemExit in _bases(exc_type):
            told["exit_code"] = _exit_code(exc)
    return told or None


def with_causes(exc_type: type[BaseException], exc: BaseException | None) -> str:
    """Class and text on one line, and behind it the same of what it was raised from, for a person."""
    lines = [one_line(exc_type, exc), *(one_line(type(cause), cause) for cause in _causes(exc))]
    return ", from ".join(lines)[: 2 * _MAX_TEXT]


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """What the exception was raised from, the nearest first. A chain may lead back to itself."""
    for _ in range(_MAX_CAUSES):
        exc = _cause_of(exc) if BaseException in _bases(type(exc)) else None
        if exc is None:
            return
        yield exc


def _exit_code(exc: BaseException | None) -> int:
    """As the interpreter makes it of what `sys.exit` was given: a text is printed, and the code is 1."""
    code = _code_of(exc) if SystemExit in _bases(type(exc)) else None
    if code is None:
        return 0
    return int(code) if type(code) in (int, bool) and abs(code) < _LARGEST_EXIT_CODE else 1


def class_name(exc_type: object) -> str:
    """The class's own name, also where a caller of `__exit__` gave something else."""
    return str(_name_of(exc_type if isinstance(exc_type, type) else type(exc_type)))


def one_line(exc_type: type[BaseException], exc: BaseException | None) -> str:
    """Class and text on one line, for a person."""
    text = " ".join(text_of(exc)[:_MAX_TEXT].split()).encode("utf-8", "replace").decode()
    return f"{class_name(exc_type)}: {text}" if text else class_name(exc_type)


def fingerprint(exc: BaseException | None, depth: int | None = None) -> tuple[int, int]:
    """How long the exception's way was from where it was raised, and a hash of it or of its first `depth` steps.

    An exception must not be kept, nor marked, only to know it again further out; its address alone may be another's
    by then.
    """
    way: deque[tuple[int, int]] = deque(maxlen=_MAX_TRACE if depth is None else depth)
    trace = _traceback_of(exc) if BaseException in _bases(type(exc)) else None
    while trace is not None:
        way.append((id(trace.tb_frame.f_code), trace.tb_lasti))
        trace = trace.tb_next
    return len(way), hash(tuple(way))


def is_from_signal_handler(error: BaseException) -> bool:
    """Whether the exception is the training's own, raised by a signal handler that ran between two steps of ours.

    Such a handler is given the frame that it interrupts, which is what tells it from a function that we called.
    """
    trace: TracebackType | None = _traceback_of(error)
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_back is not None and any(_is_or_holds(value, frame.f_back) for value in frame.f_locals.values()):
            return True
        trace = trace.tb_next
    return False


def _is_or_holds(value: object, frame: FrameType) -> bool:
    """A handler may take what it is given as `*arguments`."""
    return value is frame or (type(value) is tuple and any(item is frame for item in value))


def _bases(exc_type: object) -> tuple[type, ...]:
    return _bases_of(exc_type) if isinstance(exc_type, type) else ()


def text_of(exc: BaseException | None) -> str:
    """The text that the exception was made with, if it was made with one."""
    arguments = _arguments_of(exc) if BaseException in _bases(type(exc)) else ()
    return next((argument for argument in arguments if type(argument) is str), "")
