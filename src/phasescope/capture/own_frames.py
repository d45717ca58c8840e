"""Tracebacks without this package's own functions, as the script's exception would be told without us."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import types

_ours = [os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep]  # noqa: PTH120 - pathlib is not imported by a session


def hide(folder: str) -> None:
    """Take the functions of a further folder of ours out of tracebacks."""
    _ours.append(os.path.realpath(folder) + os.sep)


def hide_in(error: BaseException | None) -> None:
    """Take this package's own functions out of the traceback, and out of those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = _without_ours(error.__traceback__)
        error = error.__cause__ or error.__context__


def _without_ours(trace: types.TracebackType | None) -> types.TracebackType | None:
    kept = []
    while trace is not None:
        if not _is_ours(trace.tb_frame.f_code.co_filename):
            kept.append(trace)
        trace = trace.tb_next
    following = None
    for entry in reversed(kept):
        entry.tb_next = following
        following = entry
    return following


def _is_ours(filename: str) -> bool:
    return filename.startswith(tuple(_ours))
