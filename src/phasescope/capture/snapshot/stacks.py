"""What all threads of Python are doing: functions, files and lines, and no value of any variable."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from phasescope.capture.census import base
from phasescope.capture.other_threads import frames_of_threads, why_not
from phasescope.capture.own_frames import is_ours

if TYPE_CHECKING:
    import types

    from phasescope.capture.event_writer import EventWriter

MOST_THREADS = 256
MOST_FRAMES = 100
_LONGEST = 300


def threads(writer: EventWriter) -> list[dict[str, Any]] | dict[str, str]:
    """Return the threads, the one that trains first: each with its stack, the innermost function first; or why not.

    This package's own threads are left out, and its functions.
    """
    reason = why_not()
    if reason:
        return {"why_not": reason}
    stacks = _stacks()
    by_ident = dict(threading._active)  # type: ignore[attr-defined]
    phases = _phases(writer)
    main = threading.main_thread().ident
    listed = []
    for ident in sorted(stacks, key=lambda each: (each != main, each)):
        frames, left_out, was_ours = stacks[ident]
        if was_ours and not frames:
            continue
        thread: dict[str, Any] = {
            "name": _name_of(by_ident.get(ident)),
            "ident": ident,
            "is_main": ident == main,
            "phase": phases.get(ident, []),
            "frames": [{"function": name, "file": file[-_LONGEST:], "line": line} for name, file, line in frames],
        }
        if left_out:
            thread["frames_left_out"] = left_out
        listed.append(thread)
        if len(listed) >= MOST_THREADS:
            break
    return listed


def _stacks() -> dict[int, tuple[list[tuple[str, str, int]], int, bool]]:
    """Return the stacks in plain values: while a frame is referred to, so is all that its variables refer to."""
    threads = frames_of_threads()
    threads.pop(threading.get_ident(), None)
    stacks = {}
    for ident in list(threads):
        frames, left_out, was_ours = _plain(threads.pop(ident))
        is_of_us = was_ours and _is_of_threading(frames)
        stacks[ident] = ([], 0, True) if is_of_us else (frames, left_out, False)
    return stacks


def _plain(thread: list[types.FrameType]) -> tuple[list[tuple[str, str, int]], int, bool]:
    """Return the frames that are not ours, how many more there are, and whether any was ours."""
    frames: list[tuple[str, str, int]] = []
    left_out, was_ours = 0, False
    for frame in thread:
        if is_ours(frame):
            was_ours = True
        elif len(frames) < MOST_FRAMES:
            code = frame.f_code
            frames.append((getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno or 0))
        else:
            left_out += 1
    return frames, left_out, was_ours


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
