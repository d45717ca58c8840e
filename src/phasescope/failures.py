"""What an exception that leaves a phase says: out of memory, a loop's normal end, or just an error.

Only its class and a text that it was made with are looked at: `str()` of an exception may run the user's code, or wait
for a device.
"""

from __future__ import annotations

_CONTROL_FLOW = (GeneratorExit, StopIteration, StopAsyncIteration)

_OUT_OF_MEMORY_CLASSES = frozenset({"OutOfMemoryError", "ResourceExhaustedError", "_ArrayMemoryError"})
"""torch (all devices), TensorFlow, numpy; by name, so that none of them is imported."""

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "RESOURCE_EXHAUSTED",
    "can't allocate memory",
    "not enough memory",
)
"""What RuntimeErrors of torch, cuBLAS, cuDNN, MPS and XLA say. "failed to allocate" alone can be a port."""

_MAX_TEXT = 300


def is_control_flow(exc_type: type[BaseException]) -> bool:
    """Whether it only ends an iteration: no error of the phase that it passes through."""
    return issubclass(exc_type, _CONTROL_FLOW)


def is_out_of_memory(exc_type: type[BaseException], exc: BaseException | None) -> bool:
    """Whether memory ran out, on a device or on the host."""
    if issubclass(exc_type, MemoryError) or any(c.__name__ in _OUT_OF_MEMORY_CLASSES for c in exc_type.__mro__):
        return True
    text = _text(exc) if issubclass(exc_type, RuntimeError) or exc_type.__name__ == "XlaRuntimeError" else ""
    return any(sign in text for sign in _OUT_OF_MEMORY_TEXTS)


def one_line(exc_type: type[BaseException], exc: BaseException | None) -> str:
    """Class and text on one line, for a person."""
    text = " ".join(_text(exc)[:_MAX_TEXT].split())
    return f"{exc_type.__name__}: {text}" if text else exc_type.__name__


def _text(exc: BaseException | None) -> str:
    """The text that the exception was made with, if it was made with one."""
    arguments = BaseException.__getattribute__(exc, "args") if exc is not None else ()
    return next((argument for argument in arguments if type(argument) is str), "")
