"""Run a script or a module as Python does, with a session around it and its phases marked.

The work of torch, TensorFlow, Lightning, transformers and Keras is marked if the script imports them. At the end the
summary goes to standard error, even if the script raises or is interrupted; meanwhile any other command can read the
session.

Arguments after SCRIPT or MODULE are its own, and no separator is needed (`--` may come before it). Exit code,
traceback, sys.argv and sys.path are the same as with Python alone.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import printable
from phasescope.cli import MISSING_DEPENDENCY, WRONG_USAGE, CommandError
from phasescope.cli._output import complain
from phasescope.cli._quantities import LEAST_RECORDING_BYTES, MOST_RECORDING_BYTES, size_between
from phasescope.cli.program import (
    at_the_end,
    end_as_begun,
    program,
)
from phasescope.wire.ring import MAX_CAPACITY_BYTES, MIN_CAPACITY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from phasescope.capture.session import Session
    from phasescope.readers.reader import Reader

_WITH_VALUE = ("--dir", "--interval-ms", "--capacity", "--oom-snapshot", "--record", "--record-bytes", "--child-of")


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return our own options, and the arguments from the script or `-m` on, which are passed on."""
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
    """Answer options that Python would take and `run` does not with the way out; the rest is argparse's."""
    if given == "-" or given.startswith("-c"):
        raise CommandError("run takes a SCRIPT, or -m and a MODULE: write the code into a file", WRONG_USAGE)
    if not given.startswith("--") and given != "-h":
        raise CommandError(f"Python's own options go before: python {given} -m phasescope run ...", WRONG_USAGE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [options] (SCRIPT | -m MODULE) [arguments of its own ...]"
    parser.add_argument("--no-instrument", action="store_true", help="mark only the phases of the script itself")
    parser.add_argument("--no-summary", action="store_true", help="print nothing at the end")
    parser.add_argument(
        "--no-census", dest="census", action="store_false", help="count no objects, and do not find who keeps them"
    )
    parser.add_argument(
        "--sites", action="store_true", help="find out which lines allocate what grows (slower: tracemalloc runs)"
    )
    parser.add_argument("--interval-ms", type=int, default=100, metavar="N", help="the sampler's period (default 100)")
    parser.add_argument("--peaks", action="store_true", help="measure the exact peak of each phase")
    parser.add_argument(
        "--device-time", action="store_true", help="measure how long the device worked on each phase (CUDA, ROCm)"
    )
    parser.add_argument(
        "--oom-snapshot", type=_path, metavar="DIR", help="write torch's memory snapshot there if memory runs out"
    )
    parser.add_argument(
        "--record", type=_path, metavar="FILE", help="also write all events to FILE (.jsonl, .jsonl.gz, .jsonl.zst)"
    )
    parser.add_argument(
        "--record-bytes",
        type=size_between(LEAST_RECORDING_BYTES, MOST_RECORDING_BYTES),
        default=2**30,
        metavar="SIZE",
        help="the limit of all parts of FILE together (default 1GiB)",
    )
    parser.add_argument(
        "--capacity",
        dest="capacity_bytes",
        type=size_between(MIN_CAPACITY_BYTES, MAX_CAPACITY_BYTES),
        default=16 * 2**20,
        metavar="SIZE",
        help="the size of the live session, which keeps the newest events (default 16MiB)",
    )
    parser.add_argument(
        "--dir", dest="directory", type=_path, metavar="DIR", help="put the live session into this directory"
    )
    parser.add_argument("--child-of", help=argparse.SUPPRESS)  # the job of the run whose script starts this process


def _path(text: str) -> str:
    """Return the path as it is now, for processes in other directories; at its end the sign of a directory stays."""
    if not text.strip():
        return text  # an error that `start()` has words for
    path = os.path.abspath(text)  # noqa: PTH100 - pathlib drops that sign
    return f"{path}{os.sep}" if text.endswith(("/", os.sep)) and not path.endswith(os.sep) else path


def run(arguments: argparse.Namespace) -> Callable[[], int]:
    """Return a function to be called next: it runs the script, and lets pass whatever that raises."""
    script = program(arguments.passed_on)
    try:
        if arguments.child_of is not None:
            _begin_child(arguments)
        else:
            _begin(arguments)
    except CommandError:
        raise
    except Exception as error:
        if arguments.child_of is None:
            complain(f"no session, so nothing is recorded ({_told(error)}); the script runs without")
    return script


def _begin(arguments: argparse.Namespace) -> None:
    begun: list[Session] = []
    if not arguments.no_summary:
        atexit.register(_sum_up, begun)  # before the session's own, so that it comes after that: then all is written
    _check(arguments)
    session = _start(arguments)
    begun.append(session)
    try:
        _instrument(arguments, session)
    except Exception as error:
        complain(f"only the script's own phases are recorded: the integrations fail to load ({_told(error)})")
    at_the_end.append(_script_ended)  # last: the integrations end phases with the script's exception


def _begin_child(arguments: argparse.Namespace) -> None:
    """Begin in a rank that a framework starts, of another's run: that one speaks for all of them."""
    from phasescope.capture.child_sessions import begin

    begin(arguments.child_of, not arguments.no_instrument, _settings(arguments))
    if not arguments.no_instrument:
        at_the_end.append(importlib.import_module("phasescope.integrations._auto").script_ended)
    at_the_end.append(_script_ended)


def _instrument(arguments: argparse.Namespace, session: Session) -> None:
    """Have the script's imports marked, in the processes that it starts too."""
    from phasescope.analysis.origin import job_of_run
    from phasescope.capture.child_sessions import expect
    from phasescope.capture.sent_run import Run

    instrument = not arguments.no_instrument
    expect(Run(job_of_run({"session_id": session.session_id}), instrument, _settings(arguments)))
    if instrument:
        automatic = importlib.import_module("phasescope.integrations._auto")
        automatic.instrument_imports()
        at_the_end.append(automatic.script_ended)


def _script_ended(error: BaseException | None) -> None:
    """Note, in a process that has a session, the exception that ended the script."""
    running = sys.modules.get("phasescope.capture.running")
    if running is not None:
        running.script_ended(error)


def _check(arguments: argparse.Namespace) -> None:
    """Raise CommandError for an option that is wrong: that is the caller's to mend, before anything runs."""
    from phasescope.capture.options import Options
    from phasescope.capture.running import start

    try:
        Options.checked(**{**(start.__kwdefaults__ or {}), **_settings(arguments)})
    except ValueError as error:
        raise CommandError(str(error), WRONG_USAGE) from error


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `start()`."""
    from phasescope.capture.sent_run import OPTIONS

    given = {name: getattr(arguments, name) for name in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def _start(arguments: argparse.Namespace) -> Session:
    import phasescope

    settings = _settings(arguments)
    with _warnings_as_complaints():
        try:
            return phasescope.start(**settings)
        except ImportError as error:  # what a recording of this kind needs
            raise CommandError(str(error), MISSING_DEPENDENCY) from error
        except OSError as error:
            if not settings.pop("record", None):
                raise
            complain(f"not recorded to {printable(arguments.record)}: {error.strerror or error}")
            arguments.record = None
            return phasescope.start(**settings)


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _warnings_as_complaints() -> Iterator[None]:
    """Show a warning without the line that called `start`: here that is one of ours, and says nothing to the user."""
    from phasescope._log import PhasescopeWarning
    from phasescope.wire.ring_directories import BY_START

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PhasescopeWarning)  # also under `-W error` or `-W ignore`
        yield
    for one in caught:
        if issubclass(one.category, PhasescopeWarning):
            complain(str(one.message).replace(BY_START, "run --dir"))
        else:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno, one.file, one.line)


def _latest(session: Session) -> Reader:
    """Return the session itself or, if the script stopped it and began others, the last of those."""
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


def _again(reader: Reader, session: Session) -> str:
    """Return what shows the session later on: its ring, else its recording, else nothing."""
    from phasescope.wire import ring_files

    if reader.path is not None:
        place = "" if reader.path in ring_files.find(None) else f" --dir {shlex.quote(str(reader.path.parent))}"
        return f"; again with: phasescope summary {session.pid}{place}"
    if session._optional.recording is not None:
        return f"; again with: phasescope summary {shlex.quote(str(session._optional.recording.recorder.path))}"
    return "; no file holds its session, so this is all that is left of it"


def _sum_up(begun: Sequence[Session]) -> None:
    """Print the summary at the very end, when the script's threads are done.

    Of the processes of one launcher only rank 0 prints.
    """
    if not begun or os.getpid() != begun[0].pid:
        return
    session = begun[0]
    with contextlib.suppress(Exception):
        from phasescope.analysis.diagnosis.verdict import verdict
        from phasescope.capture import child_sessions
        from phasescope.cli._output import errors
        from phasescope.views.missing_phases import missing_in

        with _latest(session) as reader:
            if reader.constants.get("rank"):
                return
            sys.stdout.flush()
            out = errors()
            out.line()
            out.line(f"phasescope: pid {session.pid}{_again(reader, session)}", "bold")
            if reader.constants["session_id"] not in (session.session_id, child_sessions.session_with_rank):
                out.line(
                    "of the session that the script itself began last; `phasescope ls` has the earlier ones", "dim"
                )
            answer = reader.explain()
            answer_line = verdict(answer)
            out.line(answer_line.text, "green" if answer_line.is_good else "red")
            summed = answer.evidence.summary
            well = getattr(sys, "last_type", None) is None
            out.line(summed.table(out.width, missing_in(reader, summed, is_over=True, ended_well=well)))
    end_as_begun()  # the imports just now ran some text too
