"""The process that this one was started by: its number, what this one is called there, and the script of both."""

from __future__ import annotations

import os
import sys
from typing import Any

from phasescope import _os_compat
from phasescope._secrets import words_without_secrets

_LONGEST_NAME = 100
_STARTS_CHILDREN = ("from multiprocessing.", "joblib.externals.loky")
_FORK_SERVER = "multiprocessing.forkserver"
_MAIN = "MainProcess"


def link() -> dict[str, Any]:
    """Return the constants by which a reader finds the session of the parent, if it has one, and names this child."""
    pid = _parent_pid()
    name = process_name()
    named = {} if name is None else {"process_name": name}
    return {"parent_pid": pid, "parent_start_ticks": _os_compat.process_start_ticks(pid), **named}


def process_name() -> str | None:
    """Return the name that multiprocessing, or the program, has given to this child; None if it is not one."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return None
    name = process.current_process().__dict__.get("_name")  # the property may be the program's own
    if not isinstance(name, str) or not name.strip() or name == _MAIN:
        return None
    return words_without_secrets([name])[0][:_LONGEST_NAME]


def command_line() -> list[str]:
    """Return the command that started this process, as far as Python knows it.

    Of a child that multiprocessing starts as a new interpreter: that of its script, which it has been given.
    """
    words = _os_compat.command_line()
    script = [word for word in sys.argv if isinstance(word, str)]
    is_given = bool(script) and script[0] != "-c"
    return [*words[:1], *script] if is_given and any(word.startswith(_STARTS_CHILDREN) for word in words[1:]) else words


def _parent_pid() -> int:
    """Return the parent's pid. The parent of what a fork server forks is the process that asked for it."""
    if any(_FORK_SERVER in word for word in _os_compat.command_line()[1:]):
        asked = sys.modules["multiprocessing.process"].parent_process()
        if asked is not None and asked.pid is not None:
            return int(asked.pid)
    return os.getppid()
