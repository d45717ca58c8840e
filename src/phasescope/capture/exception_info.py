"""The meaning of an exception that leaves a phase: out of memory, a loop's normal end, or just an error.

It is asked as `raised` does it, so that none of the user's code runs.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope._secrets import without_secrets
from phasescope.capture import own_frames
from phasescope.capture.exception_class import (
    bases,
    class_name,
    linked,
    text_of,
    traceback_of,
)
from phasescope.capture.memory_errors import Shortage, is_out_of_memory, whose_memory
from phasescope.capture.oom_message import requested_bytes

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
_MAX_READ = 4000
_RULED = re.compile(r"[=\-]{20,}")
_NCCL = re.compile(r"NCCL error [^\n]{0,300}\n.{0,1000}?\nLast error:\n(?=[^\n])", re.DOTALL)
_TRACE = re.compile(r"^(?:Traceback \(most recent call last\):|  File \")", re.MULTILINE)
_LAST_LINE = re.compile(r"^[A-Za-z_][\w.]{0,100}(?:Error|Exception|Exit|Interrupt)\b", re.MULTILINE)
_FIRST_TO_FAIL = "Root Cause (first observed failure):"
_MAX_TRACE = 1000
_LARGEST_EXIT_CODE = 2**31

_code_of = SystemExit.__dict__["code"].__get__


def is_control_flow(exc_type: type[BaseException]) -> bool:
    """Return whether it only ends an iteration: not an error of the phase that it passes through."""
    return any(cls in _CONTROL_FLOW for cls in bases(exc_type))


def shortage_in(exc_type: type[BaseException], exc: BaseException | None, is_end: bool = False) -> Shortage | None:
    """Return the exception, of this one and those linked with it, that says that memory ran out; None if none does.

    Of several it is the outermost, unless only one further in says how much was asked for: frameworks raise their own
    advice from torch's error.
    """
    shortages = [Shortage(exc_type, exc)] if is_out_of_memory(exc_type, exc) else []
    if shortages and requested_bytes(text_of(exc)) is not None:
        return shortages[0]
    shortages += [Shortage(type(each), each) for _, each in linked(exc, is_end) if is_out_of_memory(type(each), each)]
    with_size = (each for each in shortages if requested_bytes(text_of(each.exc)) is not None)
    return next(with_size, shortages[0] if shortages else None)


def told_at_exit(
    exc_type: type[BaseException],
    exc: BaseException | None,
    shortage: Shortage | None,
    leaves_all: bool,
    is_end: bool = False,
) -> dict[str, Any] | None:
    """Return the details of the exception that a phase ends with, for its exit, beside the class.

    Empty if there are none.

    The outermost phase's exit has the words: `leaves_all`. Further in it may still be caught, thousands of times.
    """
    details: dict[str, Any] = {}
    if shortage is not None and shortage.exc is not exc:
        details["raised_from"] = class_name(shortage.exc_type)
    if leaves_all:
        details["error"] = with_causes(exc_type, exc, is_end)
        if SystemExit in bases(exc_type):
            details["exit_code"] = _exit_code(exc)
    return details or None


def with_causes(exc_type: type[BaseException], exc: BaseException | None, is_end: bool = False) -> str:
    """Return class and text on one line, followed by the same of those that it is linked with, for a person."""
    behind = (f", {how} {one_line(type(each), each)}" for how, each in linked(exc, is_end))
    return (one_line(exc_type, exc) + "".join(behind))[: 2 * _MAX_TEXT]


def _exit_code(exc: BaseException | None) -> int:
    """Return the exit code as the interpreter makes it of `sys.exit`'s argument: for a text, which is printed, 1."""
    code = _code_of(exc) if SystemExit in bases(type(exc)) else None
    if code is None:
        return 0
    return int(code) if type(code) in (int, bool) and abs(code) < _LARGEST_EXIT_CODE else 1


def one_line(exc_type: type[BaseException], exc: BaseException | None) -> str:
    """Return class and text on one line, for a person, without what looks like a secret."""
    whole = " ".join(_essence(text_of(exc)).split())[:_MAX_READ]
    text = without_secrets(whole)[:_MAX_TEXT].encode("utf-8", "replace").decode()
    return f"{class_name(exc_type)}: {text}" if text else class_name(exc_type)


def _essence(text: str) -> str:
    """Return the text without ruled lines, another process's traceback, and what all errors of NCCL begin with.

    Of torchrun's report of its processes it is the one that failed first.
    """
    text = _NCCL.sub("NCCL error: ", _without_traceback(text)[:_MAX_READ], count=1)
    return _RULED.sub("", text.partition(_FIRST_TO_FAIL)[2] or text)


def _without_traceback(text: str) -> str:
    """Return the text without the frames of a traceback that it quotes: what was raised follows them."""
    trace = _TRACE.search(text[:_MAX_READ])
    if trace is None:
        return text
    tail = text[trace.start() :][-_MAX_READ:]
    lines = [match.start() for match in _LAST_LINE.finditer(tail)]
    return f"{text[: trace.start()]}{tail[lines[-1] :]}" if lines else text


def fingerprint(exc: BaseException | None, depth: int | None = None) -> tuple[int, int]:
    """Return how long the exception's way was, and a hash of it or of its first `depth` steps.

    An exception must not be kept, nor marked, only to recognise it further out; its address alone may be another's by
    then. Our own functions are not part of the way: they step out of the traceback as it passes them.
    """
    way: deque[tuple[int, int]] = deque(maxlen=_MAX_TRACE if depth is None else depth)
    trace = traceback_of(exc)
    while trace is not None:
        if not own_frames.is_ours(trace.tb_frame):
            way.append((id(trace.tb_frame.f_code), trace.tb_lasti))
        trace = trace.tb_next
    return len(way), hash(tuple(way))


def is_from_signal_handler(error: BaseException) -> bool:
    """Return whether the exception is the training's own, raised by a signal handler between two steps of ours.

    Such a handler is given the frame that it interrupts; a function that we called is not.
    """
    trace: TracebackType | None = traceback_of(error)
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_back is not None and any(_is_or_holds(value, frame.f_back) for value in frame.f_locals.values()):
            return True
        trace = trace.tb_next
    return False


def _is_or_holds(value: object, frame: FrameType) -> bool:
    """Return whether a handler's argument is the frame, or holds it: it may take its arguments as `*arguments`."""
    return value is frame or (type(value) is tuple and any(item is frame for item in value))
