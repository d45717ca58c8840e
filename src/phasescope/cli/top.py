"""Watch sessions live in the terminal: devices, a timeline, the phase tree, several ranks of a job.

SESSION is the one shown first; the others of this machine stand beside it. Where there is none yet it waits for one. It
works over ssh, and over what a killed process left too. Press ? for the keys. Needs an extra: pip install
"phasescope[top]".
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from typing import TYPE_CHECKING

from phasescope.cli import (
    MISSING_DEPENDENCY,
    OK,
    WRONG_USAGE,
    CommandError,
)
from phasescope.cli._session_args import add_session, number
from phasescope.cli.places import add_directories, note_missing, opened_among

if TYPE_CHECKING:
    import argparse
    from typing import TextIO

    from phasescope.views.top.session_list import Watch

_NICER = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_session(parser)
    add_directories(parser)


def run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("textual") is None:
        raise CommandError('top needs textual: pip install "phasescope[top]"', MISSING_DEPENDENCY)
    watch = _watch(arguments.target, arguments.dir)
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout) and _is_terminal(sys.stderr)):
        raise CommandError(
            "top needs a terminal for input, output and errors; `phasescope summary` prints once", WRONG_USAGE
        )
    from phasescope.views.top.app import TopApp
    from phasescope.wire import ring_files

    _give_way()
    _end_with_terminal()
    TopApp(watch, [place for directory in arguments.dir or (None,) for place in ring_files.places(directory)]).run()
    return OK


def _end_with_terminal() -> None:
    """A view whose terminal is gone must not go on, whoever told its parent to ignore that (`nohup`)."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _watch(target: str | None, directories: list[str]) -> Watch:
    """What can be looked at, the session that was named chosen. Ends the command where there is none of that name."""
    from phasescope.views.catalogue import Catalogue
    from phasescope.views.top.session_list import Watch

    if target is None:
        note_missing(directories)
        return Watch(Catalogue(directories))
    with opened_among(target, directories) as reader:
        # Behind a `#` is which of a recording's sessions is meant.
        path = target if "#" in target else reader.path
        pid = number(reader.constants.get("pid")) if target.isdecimal() else None
    return Watch(Catalogue(directories, [] if path is None else [path]), path, pid)


def _is_terminal(stream: TextIO | None) -> bool:
    """textual draws on standard error; a closed stream is None."""
    return stream is not None and stream.isatty()


def _give_way() -> None:
    """Where cores are short the training goes first."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICER)
