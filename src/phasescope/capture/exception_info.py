"""What an exception that leaves a phase says: out of memory, a loop's normal end, or just an error.

It is asked as `raised` does it, so that none of the user's code runs.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope.capture.exception_class import (
    bases,
    class_name,
    linked,
    text_of,
    traceback_of,
)
from phasescope.capture.memory_errors import Shortage, is_out_of_memory, whose_memory

if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = [
    "Shortage",
    "class_name",
    "fingerprint",
    "is_control_flow",
    "is_from_signal_handler",
    "is_out_of_memory",
    "one_line",
    "shortage_in",
    "text_of",
    "told_at_exit",
    "traceback_of",
    "whose_memory",
    "with_causes",
]

_CONTROL_FLOW = (GeneratorExit, StopIteration, StopAsyncIteration)

_MAX_TEXT = 300
_MAX_TRACE = 1000
_LARGEST_EXIT_CODE = 2**31

_code_of = SystemExit.__dict__["code"].__get__


def is_control_flow(exc_type: type[BaseException]) -> bool:
    """Whether it only ends an iteration: no error of the phase that it passes through."""
    return any(cls in _CONTROL_FLOW for cls in bases(exc_type))


def shortage_in(exc_type: type[BaseException], exc: BaseException | None, is_end: bool = False) -> Shortage | None:
    """What of this exception and of those that it is linked with says that memory ran out; None: none of them."""
    if is_out_of_memory(exc_type, exc):
        return Shortage(exc_type, exc)
    behind = (each for _, each in linked(exc, is_end))
    return next((Shortage(type(each), each) for each in behind if is_out_of_memory(type(each), each)), None)


def told_at_exit(
    exc_type: type[BaseException],
    exc: BaseException | None,
    shortage: Shortage | None,
    leaves_all: bool,
    is_end: bool = False,
) -> dict[str, Any] | None:
    """What the exit of a phase says of the exception that it ends with, beside its class; None where that is nothing.

    The outermost phase's has the words: `leaves_all`. Further in it may still be caught, thousands of times.
    """
    told: dict[str, Any] = {}
    if shortage is not None and shortage.exc is not exc:
        told["raised_from"] = class_name(shortage.exc_type)
    if leaves_all:
        told["error"] = with_causes(exc_type, exc, is_end)
        if SystemExit in bases(exc_type):
            told["exit_code"] = _exit_code(exc)
    return told or None


def with_causes(exc_type: type[BaseException], exc: BaseException | None, is_end: bool = False) -> str:
    """Class and text on one line, and behind it the same of those that it is linked with, for a person."""
    behind = (f", {how} {one_line(type(each), each)}" for how, each in linked(exc, is_end))
    return (one_line(exc_type, exc) + "".join(behind))[: 2 * _MAX_TEXT]


def _exit_code(exc: BaseException | None) -> int:
    """As the interpreter makes it of what `sys.exit` was given: a text is printed, and the code is 1."""
    code = _code_of(exc) if SystemExit in bases(type(exc)) else None
    if code is None:
        return 0
    return int(code) if type(code) in (int, bool) and abs(code) < _LARGEST_EXIT_CODE else 1


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
    trace = traceback_of(exc)
    while trace is not None:
        way.append((id(trace.tb_frame.f_code), trace.tb_lasti))
        trace = trace.tb_next
    return len(way), hash(tuple(way))


def is_from_signal_handler(error: BaseException) -> bool:
    """Whether the exception is the training's own, raised by a signal handler that ran between two steps of ours.

    Such a handler is given the frame that it interrupts, which is what tells it from a function that we called.
    """
    trace: TracebackType | None = traceback_of(error)
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_back is not None and any(_is_or_holds(value, frame.f_back) for value in frame.f_locals.values()):
            return True
        trace = trace.tb_next
    return False


def _is_or_holds(value: object, frame: FrameType) -> bool:
    """A handler may take what it is given as `*arguments`."""
    return value is frame or (type(value) is tuple and any(item is frame for item in value))
