"""What all threads of Python are doing: functions, files and lines, and no value of any variable."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from phasescope.capture.census import base
from phasescope.capture.own_frames import is_ours

if TYPE_CHECKING:
    import types

    from phasescope.capture.event_writer import EventWriter

MOST_THREADS = 256
MOST_FRAMES = 100
_LONGEST = 300


def threads(writer: EventWriter) -> list[dict[str, Any]]:
    """Return the threads, the one that trains first: each with its stack, the innermost function first.

    This package's own threads are left out, and its functions.
    """
    stacks = _stacks()
    known = dict(threading._active)  # type: ignore[attr-defined]
    phases = _phases(writer)
    main = threading.main_thread().ident
    told = []
    for ident in sorted(stacks, key=lambda each: (each != main, each)):
        frames, left_out, was_ours = stacks[ident]
        if was_ours and not frames:
            continue
        thread: dict[str, Any] = {
            "name": _name_of(known.get(ident)),
            "ident": ident,
            "is_main": ident == main,
            "phase": phases.get(ident, []),
            "frames": [{"function": name, "file": file[-_LONGEST:], "line": line} for name, file, line in frames],
        }
        if left_out:
            thread["frames_left_out"] = left_out
        told.append(thread)
        if len(told) >= MOST_THREADS:
            break
    return told


def _stacks() -> dict[int, tuple[list[tuple[str, str, int]], int, bool]]:
    """Return the stacks in plain values: while a frame is referred to, so is all that its variables refer to."""
    stacks: dict[int, tuple[list[tuple[str, str, int]], int, bool]] = {}
    own = threading.get_ident()
    innermost = sys._current_frames()
    try:
        for ident in list(innermost):
            frame: types.FrameType | None = innermost.pop(ident)
            if ident == own:
                continue
            frames: list[tuple[str, str, int]] = []
            left_out, was_ours = 0, False
            while frame is not None:
                if is_ours(frame):
                    was_ours = True
                elif len(frames) < MOST_FRAMES:
                    code = frame.f_code
                    frames.append((getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno or 0))
                else:
                    left_out += 1
                frame = frame.f_back
            stacks[ident] = frames, left_out, was_ours and _is_of_threading(frames)
    finally:
        innermost.clear()
    return {ident: ([], 0, True) if of_us else (found, more, False) for ident, (found, more, of_us) in stacks.items()}


def _is_of_threading(frames: list[tuple[str, str, int]]) -> bool:
    """Return whether a thread runs nothing but what a thread begins with, and waits: so do our own."""
    return all(file == threading.__file__ for _, file, _ in frames)


def _name_of(thread: object) -> str | None:
    """Return a thread's name. A class of the training's own may have made a property of it."""
    name = None if thread is None else (base.attributes_of(thread) or {}).get("_name")
    return name[:_LONGEST] if type(name) is str else None


def _phases(writer: EventWriter) -> dict[int, list[str]]:
    """Return the path of the innermost phase that is open, by thread."""
    return {scope.entering_thread.ident: list(scope.phase_path.names) for scope in list(writer.open)}
