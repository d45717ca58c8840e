"""Ask a running training what it is doing and what it keeps: threads, tensors, objects, lines.

Its own sampler answers, so no debugger is attached, and it goes on meanwhile. The tensors, and who keeps them, are
counted by the thread that trains, at the end of its next step. -o FILE writes one JSON file, and `phasescope compare`
shows what grew from one to another.

A training that does not answer (stopped, held in C code, over, without requests) is reported with exit code 6, and
the request is taken back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.text.snapshot_text import snapshot_lines, took_text
from phasescope.cli import NO_ANSWER, OK, CommandError
from phasescope.cli._output import Terminal, complain
from phasescope.cli._quantities import seconds
from phasescope.cli._session_args import add_json, add_target, number, opened

if TYPE_CHECKING:
    import argparse

    from phasescope.readers.reader import Reader

_LONGEST_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write it to FILE as JSON, and print the file's name")
    add_json(parser)
    parser.add_argument(
        "--wait",
        type=seconds(most_s=_LONGEST_S),
        default=10.0,
        metavar="SECONDS",
        help="for the end of a step, to count the tensors (default 10; 0: not counted)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds(most_s=_LONGEST_S),
        default=10.0,
        metavar="SECONDS",
        help="for the training to answer (default 10)",
    )


def run(arguments: argparse.Namespace) -> int:
    with opened(arguments.target, arguments.dir) as reader:
        taken = _taken(reader, arguments)
    if arguments.output:
        _write(Path(arguments.output), taken)
    out = Terminal()
    if arguments.json:
        out.line(json_text(taken, indent=2))
    elif arguments.output:
        complain(took_text(taken))
        out.line(arguments.output)
    else:
        for line in snapshot_lines(taken):
            out.line(line, "" if line.startswith(" ") else "bold")
        complain(took_text(taken))
    return OK


def _taken(reader: Reader, arguments: argparse.Namespace) -> dict[str, Any]:
    from phasescope.readers.asking import NoAnswerError, snapshot

    try:
        return snapshot(reader, wait_s=arguments.wait, timeout_s=arguments.timeout)
    except NoAnswerError as error:
        raise CommandError(f"pid {number(reader.constants.get('pid'))} does not answer: {error}", NO_ANSWER) from error


def _write(path: Path, taken: dict[str, Any]) -> None:
    """Write it beside first: of a write that fails nothing stays, and what was there is not lost."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(json_text(taken) + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CommandError(f"{path}: {error.strerror or error}") from error
