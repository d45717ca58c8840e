"""Where all threads are in their code, read while none of them can move.

The compiled core does it. Python's own way is safe where the garbage collector runs between instructions only (since
3.12), and where each frame is an object anyway (3.10); on 3.11 a look from Python can write to a frame that is gone, or
wait for ever (CPython's issue 106883). In a free-threaded build threads move while they are looked at.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from phasescope import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from types import CodeType, FrameType, TracebackType

    Spot = tuple[int, CodeType, int]
    """A frame by its identity, its code, and the offset in that. One that was kept would keep its variables."""
    Stacks = tuple[list[Spot], list[Spot]]

_MOST_SPOTS = 200


def why_not() -> str:
    """Return why other threads cannot be looked at; empty if they can."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "threads run while they are looked at: this Python has no global lock"
    if _native.core is None and sys.version_info[:2] == (3, 11):
        return f"on Python 3.11 it needs the compiled core ({_native.why_not})"
    return ""


def frames_of_threads() -> dict[int, list[FrameType]]:
    """Return the frames of all threads, the innermost first; of none if there is a reason why not."""
    if why_not():
        return {}
    if _native.core is not None:
        frames: dict[int, list[FrameType]] = _native.core.thread_frames()
        return frames
    return {ident: frame_and_callers(frame) for ident, frame in sys._current_frames().items()}


def stacks_of_threads(threads: Set[int]) -> dict[int, Stacks]:
    """Return where each of these threads is, and where the exception was raised that it handles, the outermost first.

    There is nothing of a thread that has ended, or of any if there is a reason why not. Both are empty if a stack is
    too deep to be looked at.
    """
    if why_not():
        return {}
    if _native.core is not None:
        stacks: dict[int, Stacks] = _native.core.thread_stacks(threads)
        return stacks
    frames, exceptions = frames_of_threads(), _current_exceptions()
    return {ident: _stacks_of(frames[ident], exceptions.get(ident)) for ident in threads & frames.keys()}


_current_exceptions: Callable[[], dict[int, Any]] = getattr(sys, "_current_exceptions", dict)


def _stacks_of(frames: list[FrameType], handled: Any) -> Stacks:
    if len(frames) > _MOST_SPOTS:
        return [], []
    now = [_spot(frame, frame.f_lasti) for frame in reversed(frames)]
    error = handled[1] if isinstance(handled, tuple) else handled  # before Python 3.12 it was a tuple
    trace: TracebackType | None = getattr(error, "__traceback__", None)
    if trace is None:
        return now, []
    around = frames.index(trace.tb_frame) + 1 if trace.tb_frame in frames else len(frames)
    raised = now[: len(frames) - around]
    while trace is not None and len(raised) < 2 * _MOST_SPOTS:
        raised.append(_spot(trace.tb_frame, trace.tb_lasti))
        trace = trace.tb_next
    return now, raised


def _spot(frame: FrameType, offset: int) -> Spot:
    return id(frame), frame.f_code, offset


def frame_and_callers(frame: FrameType | None) -> list[FrameType]:
    """Return the frame and those that it was called from, the innermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames
