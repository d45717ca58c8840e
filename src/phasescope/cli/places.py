"""One session out of several directories, for the commands that take `--dir` more than once."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope.cli import CommandError
from phasescope.cli._output import complain
from phasescope.cli._session_args import number, opened

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from phasescope.readers.reader import Reader


def add_directories(parser: argparse.ArgumentParser) -> None:
    """Where to look, in as many places as are named."""
    parser.add_argument(
        "--dir",
        metavar="DIR",
        action="append",
        default=[],
        help="look for sessions in this directory only; more than once: in all of them, as for the ranks of one job",
    )


def note_missing(directories: Sequence[str]) -> None:
    """For a view that waits: a directory that is not there may come, and may be mistyped."""
    for directory in directories:
        if not Path(directory).is_dir():
            complain(f"--dir {directory}: there is no such directory yet")


@contextlib.contextmanager
def opened_among(target: str | None, directories: Sequence[str]) -> Iterator[Reader]:
    """The session's reader, wherever it lies; of several the one started last, running ones first.

    What can not be found or read ends the command with one line.
    """
    with contextlib.ExitStack() as kept:
        found: list[Reader] = []
        failed: CommandError | None = None
        for directory in directories or (None,):
            try:
                found.append(kept.enter_context(opened(target, directory)))
            except CommandError as error:
                failed = failed or error
        if not found:
            raise failed or CommandError("no session")
        yield max(found, key=_preference)


def _preference(reader: Reader) -> tuple[bool, int]:
    return reader.state == "running", number(reader.constants.get("started_ns")) or 0
