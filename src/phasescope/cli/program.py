"""A script or module run as Python itself runs it: with its `__main__`, exit code, traceback and Ctrl-C."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import runpy
import sys
import types
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.capture import own_frames
from phasescope.cli import OK, WRONG_USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable


def program(command: list[str]) -> Callable[[], int]:
    """Get everything ready for the script or module, and say how it is run."""
    first = command[0] if command else ""
    if first.startswith("-m"):
        module, *own = [first[2:], *command[1:]] if first != "-m" else command[1:] or [""]
        if module:
            return lambda: _run(_prepared(["-m", *own], str(Path.cwd())), runpy._run_module_as_main, module)  # type: ignore[attr-defined]
    if not first or first.startswith("-m"):
        raise CommandError("run needs a script, or -m and a module", WRONG_USAGE)
    path = Path(first).absolute()
    filename = (
        first if Path(first).is_absolute() else f"{Path.cwd()}{os.sep}{first}"
    )  # with all its dots, as Python does
    if path.is_dir() or zipfile.is_zipfile(path):
        return lambda: _run(_prepared(command, filename), runpy._run_module_as_main, "__main__", False)  # type: ignore[attr-defined]
    try:
        with io.open_code(str(path)) as file:
            source = file.read()
    except OSError as error:
        raise CommandError(f"can't open file {filename!r}: {error.strerror}", WRONG_USAGE) from error

    def script() -> int:
        main = _prepared(command, str(path.resolve().parent))
        main.__file__ = filename
        main.__loader__ = SourceFileLoader("__main__", filename)
        main.__dict__["__cached__"] = None
        return _run(main, _execute, source, filename, main.__dict__)

    return script


def _prepared(argv: list[str], first_path: str) -> types.ModuleType:
    """A fresh `__main__`, and `sys` as the script expects it."""
    sys.argv[:] = argv
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = first_path
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, **({"__annotations__": {}} if sys.version_info < (3, 14) else {}))
    _kept.append(sys.modules["__main__"])
    sys.modules["__main__"] = main
    return main


_kept: list[types.ModuleType] = []  # the `__main__` that called us


def _execute(source: bytes, filename: str, namespace: dict[str, Any]) -> None:
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)


def _run(main: types.ModuleType, function: Callable[..., object], *arguments: Any) -> int:
    """Call it, and report as Python does what it raises. That goes on, for the exit code, and is not told again."""
    global _interrupted
    try:
        function(*arguments)
    except SystemExit as error:
        _close_what_is_open(error)
        raise
    except BaseException as error:
        _close_what_is_open(error)
        own_frames.hide_in(error)
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except Exception:  # the script's own
            sys.__excepthook__(type(error), error, error.__traceback__)
        sys.excepthook = _told_already
        if isinstance(error, KeyboardInterrupt):
            _interrupted = True
            _end_as_interrupted()
        raise
    _close_what_is_open(None)
    return OK


def _close_what_is_open(error: BaseException | None) -> None:
    """End the phases that lie around what the script did, which end with it."""
    for end in at_the_end:
        with contextlib.suppress(Exception):
            end(error)


at_the_end: list[Callable[[BaseException | None], None]] = []


def _end_as_interrupted() -> None:
    """Let Python end as after a Ctrl-C, by that signal: it looks at what ended the text that it ran last."""
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


_interrupted = False


def end_as_begun() -> None:
    """Where the script was interrupted, Python ends so, also if it has run some other text since."""
    if _interrupted:
        _end_as_interrupted()


def _told_already(*_arguments: object) -> None:
    pass
