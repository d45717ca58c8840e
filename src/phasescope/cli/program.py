"""A script or module run as Python itself runs it: with its `__main__`, exit code, traceback and Ctrl-C."""

from __future__ import annotations

import builtins
import contextlib
import functools
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
from phasescope.cli._runnable import check_main, refuse, refuse_script, seems_there

if TYPE_CHECKING:
    from collections.abc import Callable


def program(command: list[str]) -> Callable[[], int]:
    """Get everything ready for the script or module, and say how it is run. Ends as Python does if there is none."""
    first = command[0] if command else ""
    if first.startswith("-m"):
        module, *own = [first[2:], *command[1:]] if first != "-m" else command[1:] or [""]
        if module:
            return _module(module, own)
    if not first or first.startswith("-m"):
        raise CommandError("run needs a script, or -m and a module", WRONG_USAGE)
    path = Path(first).absolute()
    filename = (
        first if Path(first).is_absolute() else f"{Path.cwd()}{os.sep}{first}"
    )  # with all its dots, as Python does
    if path.is_dir() or zipfile.is_zipfile(path):
        check_main(filename)
        return lambda: _run(_prepared(command, filename), runpy._run_module_as_main, "__main__", False)  # type: ignore[attr-defined]
    try:
        with io.open_code(str(path)) as file:
            source = file.read()
    except OSError as error:
        refuse_script(filename, error)

    def script() -> int:
        main = _prepared(command, str(path.resolve().parent))
        main.__file__ = filename
        main.__loader__ = SourceFileLoader("__main__", filename)
        main.__dict__["__cached__"] = None
        return _run(main, _execute, source, filename, main.__dict__)

    return script


def _module(module: str, own: list[str]) -> Callable[[], int]:
    argv, directory = ["-m", *own], str(Path.cwd())
    if seems_there(module, directory):
        return lambda: _run(_prepared(argv, directory), runpy._run_module_as_main, module)  # type: ignore[attr-defined]
    main = _prepared(argv, directory)
    try:
        runpy._get_module_details(module, runpy._Error)  # type: ignore[attr-defined]
    except runpy._Error as error:  # type: ignore[attr-defined]
        refuse(str(error))
    except BaseException as error:  # of a package around it
        return functools.partial(_run, main, _raise, error)
    return lambda: _run(main, runpy._run_module_as_main, module)  # type: ignore[attr-defined]


def _raise(error: BaseException) -> None:
    raise error


def _prepared(argv: list[str], first_path: str) -> types.ModuleType:
    """Return a fresh `__main__`, and `sys` as the script expects it."""
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
    """Call it, and report its exception as Python does. That goes on, for the exit code, and is not shown again."""
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
    """End the phases around the script's work, which end with it."""
    for end in at_the_end:
        with contextlib.suppress(Exception):
            end(error)


at_the_end: list[Callable[[BaseException | None], None]] = []


def _end_as_interrupted() -> None:
    """Let Python end as after a Ctrl-C, by that signal: it looks at the end of the text that it ran last."""
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


_interrupted = False


def end_as_begun() -> None:
    """End Python by Ctrl-C's signal if the script was interrupted, also if it has run some other text since."""
    if _interrupted:
        _end_as_interrupted()


def _told_already(*_arguments: object) -> None:
    pass
