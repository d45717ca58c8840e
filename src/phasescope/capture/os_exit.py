"""`os._exit` as long as a session runs: it leaves as ever, and the session states that, and the exit code.

Nothing else shows it: no function is called then, and a ring without an end looks like that of a process that was
killed. Scripts end so whose threads hang, watchdogs, and what `os.fork` has made.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST = 2**31  # of C's int
_leaves: Callable[[int], object] = os._exit
_call: Callable[[int], None] | None = None


@functools.wraps(_leaves)
def _exit(status: int) -> None:
    call = _call
    if call is not None and isinstance(status, int) and -_LARGEST <= status < _LARGEST:  # else it raises
        with contextlib.suppress(BaseException):  # also Ctrl-C: the process is to end, now
            call(int(status))
    _leaves(status)


_exit.__module__ = "os"  # pickled, it is the one of the process that unpickles it


def watch(call: Callable[[int], None]) -> None:
    """Call this with the exit code before `os._exit` leaves."""
    global _call, _leaves
    if os._exit is not _exit:
        _leaves, os._exit = os._exit, _exit  # type: ignore[assignment]
    _call = call


def let_go() -> None:
    """Call nothing any more, and put back what was there, if that is still possible."""
    global _call
    _call = None
    if os._exit is _exit:
        os._exit = _leaves  # type: ignore[assignment]
