"""The command of a session as the views show it, on one harmless line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import elide, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_COMMAND = 300
_LONGEST_NAME = 100


def command_of(constants: Mapping[str, Any]) -> str:
    """Return the session's command on one harmless line, the program without its directory."""
    command = constants.get("command")
    words = [word for word in (command if isinstance(command, list) else [command])[:64] if isinstance(word, str)]
    words[:1] = [word.rpartition("/")[2] or word for word in words[:1]]
    return elide(" ".join(printable(word[:_LONGEST_COMMAND]) for word in words), _LONGEST_COMMAND)


def what_runs(constants: Mapping[str, Any]) -> str:
    """Return what a session is called everywhere: its command without the interpreter before it.

    A child of multiprocessing's is called by its name, and by the script that started it.
    """
    script = _script_of(constants)
    name = constants.get("process_name")
    if not isinstance(name, str) or not name:
        return script
    return f"{printable(name[:_LONGEST_NAME])} of {script}" if script else printable(name[:_LONGEST_NAME])


def _script_of(constants: Mapping[str, Any]) -> str:
    program, _, rest = command_of(constants).partition(" ")
    if not rest or not program.startswith("python"):
        return f"{program} {rest}".rstrip()
    script, _, options = rest.removeprefix("-m ").partition(" ")
    return f"{script.rpartition('/')[2] or script} {options}".rstrip()
