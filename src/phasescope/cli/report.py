"""Write a session as one HTML page that opens offline: verdict, timeline, phases, devices, ranks, ending.

It is about 5 MB, nearly all of it the plot script, however long the session was. Needs plotly: pip install
"phasescope[web]".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import printable, size_text
from phasescope.cli import (
    MISSING_DEPENDENCY,
    OK,
    WRONG_USAGE,
    CommandError,
)
from phasescope.cli._output import Terminal
from phasescope.cli._session_args import add_directories, add_session, opened_among
from phasescope.recordings.formats import for_its_user_alone

if TYPE_CHECKING:
    import argparse

    from phasescope.readers.reader import Reader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_session(parser)
    add_directories(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the page, overwritten if it exists; default: a new phasescope-PID.html in this directory",
    )


def run(arguments: argparse.Namespace) -> int:
    from phasescope.views.page.html_page import PlotlyMissingError

    with opened_among(arguments.target, arguments.dir) as reader:
        path = Path(arguments.output or f"phasescope-{reader.constants.get('pid')}.html")
        if not arguments.output and os.path.lexists(path):
            raise CommandError(f"{path} exists; -o {path} writes over it, -o FILE elsewhere", WRONG_USAGE)
        try:
            made = make(reader, arguments.dir)
        except PlotlyMissingError as error:
            raise CommandError(str(error), MISSING_DEPENDENCY) from error
    try:
        _write(path, made, is_new=not arguments.output)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
    Terminal().line(f"{printable(str(path))}, {size_text(len(made))}")
    return OK


def _write(path: Path, text: str, *, is_new: bool) -> None:
    """Write the page; a new file is for its user alone: the page has the command line and the training's names."""
    mode = "x" if is_new else "w"
    with open(path, mode, encoding="utf-8", opener=for_its_user_alone) as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            if is_new:
                path.unlink(missing_ok=True)  # half of it would be in the way of the next try
            raise


def make(reader: Reader, directories: list[str]) -> str:
    """Return the page of a session, and of its job if other ranks' sessions lie beside it. Raises
    PlotlyMissingError."""
    from phasescope.views.catalogue import Catalogue, key_of
    from phasescope.views.job_loader import compare
    from phasescope.views.live_session import Followed
    from phasescope.views.page.html_page import page
    from phasescope.views.page.page_data import answer_data, job_data, snapshot

    followed = Followed(reader)
    followed.catch_up()
    answer = answer_data(reader.explain())
    compared = None
    if reader.path is not None:
        compared = compare(Catalogue(directories, [reader.path]), key_of(reader.path))
    return page({**snapshot(followed), "answer": answer}, None if compared is None else job_data(compared))
