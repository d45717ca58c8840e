"""Watch sessions live in the terminal: devices, a timeline, the phase tree, several ranks of a job.

SESSION is a pid, a session id or its beginning, a .ring file or a recording; the sessions of this machine stand beside
it. Without one it is the newest live session, and where there is none it waits for one. It works on what a killed
process left too. Press ? for the keys.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from phasescope.cli import MISSING_DEPENDENCY, OK, WRONG_USAGE, CommandError
from phasescope.cli.target import number, opened

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

_NICER = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="SESSION", help="which to show first; see above")
    parser.add_argument(
        "--dir", metavar="DIR", action="append", help="look for sessions in this directory only; may be given again"
    )


def run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("textual") is None:
        raise CommandError('top needs textual: pip install "phasescope[top]"', MISSING_DEPENDENCY)
    directories: list[str] = arguments.dir or []
    path, pid = _find(arguments.target, directories) if arguments.target else (None, None)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("top needs a terminal; `phasescope summary` prints once", WRONG_USAGE)
    _give_way()
    _show(directories, path, pid)
    return OK


def _show(directories: list[str], path: Path | None, pid: int | None) -> None:
    from phasescope import sessions
    from phasescope.views.catalogue import Catalogue
    from phasescope.views.top.app import TopApp
    from phasescope.views.top.watch import Watch

    looked_in: list[str | None] = [*directories] or [None]
    found = [known for directory in looked_in for known in sessions.find(directory)]
    named = [] if path is None or path in found else [path]
    watch = Watch(Catalogue(directories, named), path, pid)
    places = [place for directory in looked_in for place in sessions.places(directory)]
    TopApp(watch, places).run()


def _find(target: str, directories: list[str]) -> tuple[Path | None, int | None]:
    """The session's file, and the pid where it was named by that. Ends the command where there is none."""
    looked_in: list[str | None] = [*directories] or [None]
    *others, last = looked_in
    for directory in others:
        with contextlib.suppress(CommandError), opened(target, directory) as reader:
            return reader.path, _pid(target, reader.constants.get("pid"))
    with opened(target, last) as reader:
        return reader.path, _pid(target, reader.constants.get("pid"))


def _pid(target: str, pid: object) -> int | None:
    return number(pid) if target.isdecimal() else None


def _give_way() -> None:
    """Where cores are short the training goes first."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICER)
