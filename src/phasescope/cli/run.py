"""Run a script or a module as Python does, with a session around it and its phases marked.

What torch, Lightning, transformers and Keras do in it is marked as the script imports them. At the end the summary
goes to standard error, also when the script raises or is interrupted; meanwhile any other command looks in.

Whatever follows SCRIPT or MODULE is its own, and no separator is needed (`--` may stand before it). Exit code,
traceback, sys.argv and sys.path are what Python alone would give it.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib
import io
import os
import runpy
import sys
import types
import warnings
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.cli import OK, WRONG_USAGE, CommandError
from phasescope.cli.terminal import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from phasescope.reader import Reader
    from phasescope.session import Session

_WITH_VALUE = ("--dir", "--interval-ms")
_OURS = [str(Path(__file__).resolve().parent.parent) + os.sep]


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own options, and from the script or `-m` on what is passed on."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        if arguments[index] == "--":
            return arguments[:index], arguments[index + 1 :]
        if arguments[index].startswith("-m"):
            break
        _check_option(arguments[index])
        index += 2 if arguments[index] in _WITH_VALUE else 1
    return arguments[:index], arguments[index:]


def _check_option(given: str) -> None:
    """What Python would take and `run` does not is answered with the way out; the rest is argparse's."""
    if given == "-" or given.startswith("-c"):
        raise CommandError("run takes a SCRIPT, or -m and a MODULE: write the code into a file", WRONG_USAGE)
    if not given.startswith("--") and given != "-h":
        raise CommandError(f"Python's own options go before: python {given} -m phasescope run ...", WRONG_USAGE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [options] (SCRIPT | -m MODULE) [arguments of its own ...]"
    parser.add_argument("--no-instrument", action="store_true", help="mark only what the script itself marks")
    parser.add_argument("--no-summary", action="store_true", help="print nothing at the end")
    parser.add_argument("--interval-ms", type=int, default=100, metavar="N", help="the sampler's period (default 100)")
    parser.add_argument("--dir", metavar="DIR", help="put the live session into this directory")


def run(arguments: argparse.Namespace) -> Callable[[], int]:
    """What is then to be called: it runs the script, and lets pass whatever that raises."""
    program = _program(arguments.passed_on)
    try:
        _check(arguments)
        session = _start(arguments)
    except CommandError:
        raise
    except Exception as error:
        complain(f"no session, so nothing is recorded ({_told(error)}); the script runs without")
        return program
    if not arguments.no_summary:
        atexit.register(_sum_up, session)
    if not arguments.no_instrument:
        _instrument()
    return program


def _check(arguments: argparse.Namespace) -> None:
    """Raises CommandError for an option that is wrong: that is the caller's to mend, before anything runs."""
    from phasescope.options import Options
    from phasescope.session import start

    try:
        Options.checked(**{**(start.__kwdefaults__ or {}), **_options(arguments)})
    except ValueError as error:
        raise CommandError(str(error), WRONG_USAGE) from error


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"directory": arguments.dir, "interval_ms": arguments.interval_ms}


def _start(arguments: argparse.Namespace) -> Session:
    import phasescope

    with _warnings_as_complaints():
        return phasescope.start(**_options(arguments))


def _instrument() -> None:
    """Have what the script imports marked. Where that fails, it is told, and the script runs all the same."""
    try:
        automatic = importlib.import_module("phasescope.integrations._auto")
        _OURS.append(str(Path(str(automatic.__file__)).resolve().parent) + os.sep)
        automatic.instrument_imports()
        _at_the_end.append(automatic.script_ended)
    except Exception as error:
        complain(f"only what the script itself marks is a phase: the integrations fail to load ({_told(error)})")


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _warnings_as_complaints() -> Iterator[None]:
    """A warning names the line that called `start`; here that is one of ours, and says nothing to the user."""
    from phasescope.notices import PhasescopeWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PhasescopeWarning)  # also under `-W error` or `-W ignore`
        yield
    for one in caught:
        if issubclass(one.category, PhasescopeWarning):
            complain(str(one.message))
        else:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno, one.file, one.line)


def _program(command: list[str]) -> Callable[[], int]:
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
    try:
        function(*arguments)
    except SystemExit as error:
        _close_what_is_open(error)
        raise
    except BaseException as error:
        _close_what_is_open(error)
        _hide_our_frames(error)
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except Exception:  # the script's own
            sys.__excepthook__(type(error), error, error.__traceback__)
        sys.excepthook = _told_already
        if isinstance(error, KeyboardInterrupt):
            _end_as_interrupted()
        raise
    _close_what_is_open(None)
    return OK


def _close_what_is_open(error: BaseException | None) -> None:
    """End the phases that lie around what the script did, which end with it."""
    for end in _at_the_end:
        with contextlib.suppress(Exception):
            end(error)


_at_the_end: list[Callable[[BaseException | None], None]] = []


def _end_as_interrupted() -> None:
    """Let Python end as after a Ctrl-C, by that signal: it looks at what ended the text that it ran last."""
    global _interrupted
    _interrupted = True
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


_interrupted = False


def _told_already(*_arguments: object) -> None:
    pass


def _hide_our_frames(error: BaseException | None) -> None:
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
    return filename.startswith(tuple(_OURS))


def _latest(session: Session) -> Reader:
    """The session itself, or where the script stopped that and began others, the last of those."""
    from phasescope import current, sessions
    from phasescope.reader import attach

    running = current()
    if running is None and session.path is not None:
        mine = (path for path in sessions.find(Path(session.path).parent) if f"-{session.pid}-" in path.name)
        newest = next(mine, None)
        if newest is not None:
            return attach(newest)
    return (running or session).reader()


def _sum_up(session: Session) -> None:
    """At the very end, when the script's threads are done. Of the processes of one launcher only rank 0 prints."""
    if os.getpid() != session.pid:
        return
    with contextlib.suppress(Exception):
        from phasescope.cli.terminal import errors

        if session.reader().constants.get("rank"):
            return
        sys.stdout.flush()
        out = errors()
        out.line()
        out.line(f"phasescope: pid {session.pid}; again with: phasescope summary {session.pid}", "bold")
        with _latest(session) as reader:
            if reader.constants["session_id"] != session.session_id:
                out.line("of the session that the script itself began last; `phasescope ls` has the earlier", "dim")
            out.line(reader.summary().table(out.width))
    if _interrupted:
        _end_as_interrupted()  # what was imported just now ran some text too
