"""Tracebacks without this package's own functions, as Python would show the script's exception without us."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import types

_PACKAGE = __name__.partition(".")[0]


def is_ours(frame: types.FrameType) -> bool:
    """Return whether the frame runs a function of this package, and not one that stands in a framework's place.

    The latter has the framework's file, and stays where the framework's own would be.
    """
    its_globals = frame.f_globals
    package = dict.get(its_globals, "__package__")
    return (
        type(package) is str
        and package.partition(".")[0] == _PACKAGE
        and frame.f_code.co_filename == dict.get(its_globals, "__file__")
    )


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
        if not is_ours(trace.tb_frame):
            kept.append(trace)
        trace = trace.tb_next
    following = None
    for entry in reversed(kept):
        entry.tb_next = following
        following = entry
    return following
