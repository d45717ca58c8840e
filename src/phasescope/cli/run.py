"""Run a script or a module as Python does, with a session around it and its phases marked.

What torch, Lightning, transformers and Keras do in it is marked as the script imports them. At the end the summary
goes to standard error, also when the script raises or is interrupted; meanwhile any other command looks in.

Whatever follows SCRIPT or MODULE is its own, and no separator is needed (`--` may stand before it). Exit code,
traceback, sys.argv and sys.path are what Python alone would give it.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.capture import own_frames
from phasescope.cli import WRONG_USAGE, CommandError
from phasescope.cli._output import complain
from phasescope.cli.program import (
    at_the_end,
    end_as_begun,
    program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope.capture.session import Session
    from phasescope.readers.reader import Reader

_WITH_VALUE = ("--dir", "--interval-ms", "--child-of")


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
    parser.add_argument("--child-of", help=argparse.SUPPRESS)  # the job of the run whose script starts this process


def run(arguments: argparse.Namespace) -> Callable[[], int]:
    """What is then to be called: it runs the script, and lets pass whatever that raises."""
    script = program(arguments.passed_on)
    try:
        if arguments.child_of is not None:
            _begin_child(arguments)
        else:
            _check(arguments)
            _begin(arguments)
    except CommandError:
        raise
    except Exception as error:
        if arguments.child_of is None:
            complain(f"no session, so nothing is recorded ({_told(error)}); the script runs without")
    return script


def _begin(arguments: argparse.Namespace) -> None:
    session = _start(arguments)
    if not arguments.no_summary:
        atexit.register(_sum_up, session)
    try:
        _instrument(arguments, session)
    except Exception as error:
        complain(f"only what the script itself marks is a phase: the integrations fail to load ({_told(error)})")
    at_the_end.append(_script_ended)  # last: the integrations end phases with what ended the script


def _begin_child(arguments: argparse.Namespace) -> None:
    """A rank that a framework starts, of another's run: that one speaks for all of them."""
    from phasescope.capture.child_sessions import begin

    _hide_integrations()
    begin(arguments.child_of, arguments.dir, arguments.interval_ms, not arguments.no_instrument)
    if not arguments.no_instrument:
        at_the_end.append(importlib.import_module("phasescope.integrations._auto").script_ended)
    at_the_end.append(_script_ended)


def _instrument(arguments: argparse.Namespace, session: Session) -> None:
    """Have what the script imports marked, in the processes that it starts too."""
    from phasescope.analysis.missing_phases import job_of
    from phasescope.capture.child_sessions import Run, expect

    _hide_integrations()
    instrument = not arguments.no_instrument
    expect(Run(job_of({"session_id": session.session_id}), arguments.dir, arguments.interval_ms, instrument))
    if instrument:
        automatic = importlib.import_module("phasescope.integrations._auto")
        automatic.instrument_imports()
        at_the_end.append(automatic.script_ended)


def _script_ended(error: BaseException | None) -> None:
    """Tell the session, in a process that has one, what ended the script."""
    session = sys.modules.get("phasescope.capture.session")
    if session is not None:
        session.script_ended(error)


def _hide_integrations() -> None:
    own_frames.hide(str(Path(str(importlib.import_module("phasescope.integrations").__file__)).parent))


def _check(arguments: argparse.Namespace) -> None:
    """Raises CommandError for an option that is wrong: that is the caller's to mend, before anything runs."""
    from phasescope.capture.options import Options
    from phasescope.capture.session import start

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


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _warnings_as_complaints() -> Iterator[None]:
    """A warning names the line that called `start`; here that is one of ours, and says nothing to the user."""
    from phasescope._log import PhasescopeWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PhasescopeWarning)  # also under `-W error` or `-W ignore`
        yield
    for one in caught:
        if issubclass(one.category, PhasescopeWarning):
            complain(str(one.message))
        else:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno, one.file, one.line)


def _latest(session: Session) -> Reader:
    """The session itself, or where the script stopped that and began others, the last of those."""
    from phasescope import current
    from phasescope._attach import attach
    from phasescope.wire import ring_files

    running = current()
    if running is None and session.path is not None:
        mine = (path for path in ring_files.find(Path(session.path).parent) if f"-{session.pid}-" in path.name)
        newest = next(mine, None)
        if newest is not None:
            return attach(newest)
    return (running or session).reader()


def _sum_up(session: Session) -> None:
    """At the very end, when the script's threads are done. Of the processes of one launcher only rank 0 prints."""
    if os.getpid() != session.pid:
        return
    with contextlib.suppress(Exception):
        from phasescope.capture import child_sessions
        from phasescope.cli._output import errors
        from phasescope.views.missing_phases import missing_in

        with _latest(session) as reader:
            if reader.constants.get("rank"):
                return
            sys.stdout.flush()
            out = errors()
            out.line()
            out.line(f"phasescope: pid {session.pid}; again with: phasescope summary {session.pid}", "bold")
            if reader.constants["session_id"] not in (session.session_id, child_sessions.session_with_rank):
                out.line("of the session that the script itself began last; `phasescope ls` has the earlier", "dim")
            summed = reader.summary()
            well = getattr(sys, "last_type", None) is None
            out.line(summed.table(out.width, missing_in(reader, summed, is_over=True, ended_well=well)))
    end_as_begun()  # what was imported just now ran some text too
