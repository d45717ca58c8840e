"""`os.execv` and `os.execve` as long as a session runs: they do as ever, and the session states that it ends with them.

Nothing else shows it: another program has taken the process's place, and a ring without an end looks like that of a
process that was killed. Python's other functions of that family call these two.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_call: Callable[[], Callable[[], None]] | None = None


def _noting(name: str) -> Callable[..., Any]:
    @functools.wraps(_leaves[name])
    def leave(*args: Any, **kwargs: Any) -> Any:
        undo: Callable[[], None] | None = None
        with contextlib.suppress(Exception):
            path = args[0] if args else kwargs.get("path")
            if _call is not None and isinstance(path, (str, bytes)) and os.access(path, os.X_OK):
                undo = _call()
        try:
            return _leaves[name](*args, **kwargs)
        finally:  # it has raised, else nothing comes here any more
            if undo is not None:
                with contextlib.suppress(Exception):
                    undo()

    leave.__module__ = "os"
    return leave


_leaves: dict[str, Callable[..., Any]] = {
    name: getattr(os, name) for name in ("execv", "execve") if os.name == "posix" and hasattr(os, name)
}
_ours = {name: _noting(name) for name in _leaves}


def watch(call: Callable[[], Callable[[], None]]) -> None:
    """Call this before another program takes the process's place, and what it returns if that has failed."""
    global _call
    for name, ours in _ours.items():
        if getattr(os, name) is not ours:
            _leaves[name] = getattr(os, name)
            setattr(os, name, ours)
    _call = call


def let_go() -> None:
    """Call nothing any more, and put back what was there, if that is still possible."""
    global _call
    _call = None
    for name, ours in _ours.items():
        if getattr(os, name) is ours:
            setattr(os, name, _leaves[name])
