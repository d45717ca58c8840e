"""Watch sessions live in the terminal: devices, a timeline, the phase tree, several ranks of a job.

SESSION is shown first; the other sessions of this machine are listed beside it. Without any session it waits for one.
It works over ssh, and also shows a killed process's session. Press ? for the keys. Needs an extra: pip install
"phasescope[top]".
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from phasescope._packages import is_installed
from phasescope.cli import (
    MISSING_DEPENDENCY,
    OK,
    WRONG_USAGE,
    CommandError,
)
from phasescope.cli._session_args import add_directories, add_session, note_missing, number, opened_among

if TYPE_CHECKING:
    import argparse
    from typing import TextIO

    from phasescope.views.top.session_list import SessionWatch

_NICER = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_session(parser)
    add_directories(parser)


def run(arguments: argparse.Namespace) -> int:
    if not is_installed("textual"):
        raise CommandError('top needs textual: pip install "phasescope[top]"', MISSING_DEPENDENCY)
    watch = _watch(arguments.target, arguments.dir)
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        raise CommandError("top needs a terminal for input and output; `phasescope summary` prints once", WRONG_USAGE)
    from phasescope.views.top.app import TopApp
    from phasescope.wire import ring_directories

    _give_way()
    _end_with_terminal()
    if not _is_terminal(sys.__stderr__):
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc] # textual draws on that
    TopApp(
        watch, [place for directory in arguments.dir or (None,) for place in ring_directories.places(directory)]
    ).run()
    return OK


def _end_with_terminal() -> None:
    """End the view when its terminal is gone, whoever told its parent to ignore that (`nohup`)."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _watch(target: str | None, directories: list[str]) -> SessionWatch:
    """Return what can be looked at, the session that was named chosen. Ends the command if there is nothing of that
    name."""
    from phasescope.views.catalogue import Catalogue
    from phasescope.views.top.session_list import SessionWatch

    if target is None:
        note_missing(directories)
        return SessionWatch(Catalogue(directories))
    with opened_among(target, directories) as reader:
        # Behind a `#` is which of a recording's sessions is meant.
        path = target if "#" in target else reader.path
        pid = number(reader.constants.get("pid")) if target.isdecimal() else None
    return SessionWatch(Catalogue(directories, [] if path is None else [path]), path, pid)


def _is_terminal(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal; a closed stream is None."""
    return stream is not None and stream.isatty()


def _give_way() -> None:
    """Give way to the training if cores are short."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICER)
