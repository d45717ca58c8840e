"""Remove the files of sessions that are over: stopped, killed or crashed.

A session that runs is never touched, nor is a file that can not be read. Nothing to remove is no failure:
exit code 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import plural, printable
from phasescope.cli import OK
from phasescope.cli._output import Terminal, json_text
from phasescope.cli._session_args import add_directory

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.wire import ring_sweep

    removed = [str(path) for path in ring_sweep.clean(arguments.dir, dry_run=arguments.dry_run)]
    out = Terminal()
    if arguments.json:
        out.line(json_text({"removed": removed, "dry_run": arguments.dry_run}, indent=2))
        return OK
    for path in removed:
        out.line(printable(path))
    if arguments.dry_run:
        out.line(f"{plural(len(removed), 'file')} would be removed")
    else:
        out.line(f"{plural(len(removed), 'file')} removed")
    return OK
