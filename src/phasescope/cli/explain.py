"""Explain what happened to a session's memory: the cause, the holders, the phase, and the remedies.

It works while the session runs, after it ended, and after its process was killed. Without SESSION it takes the newest
one, live or dead; if that is a rank of a job of which others failed, the one that failed first. The exit code is 0 for
a healthy session and 4 if there is a problem, for use in scripts.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from phasescope._json import json_text
from phasescope.analysis.formatting import elide, printable
from phasescope.analysis.text.commands import what_runs
from phasescope.cli import OK, PROBLEM
from phasescope.cli._output import Terminal, verdict_stands
from phasescope.cli._session_args import (
    add_json,
    add_target,
    number,
    opened,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.cli._failed_ranks import FailedRank
    from phasescope.readers.reader import Reader

_LONGEST_COMMAND = 120
_LONGEST_LINE = 400
_MOST_RANKS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser, "the one started last, live or dead")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.cli._failed_ranks import failed_ranks, meant
    from phasescope.readers.default_session import default_ring

    target = arguments.target or default_ring(arguments.dir, live_first=False)
    with opened(target, arguments.dir) as newest:
        failed = failed_ranks(newest)
        with meant(newest, failed, arguments.target) as reader:
            return _answer(reader, failed, as_json=arguments.json)


def _answer(reader: Reader, failed: Sequence[FailedRank], *, as_json: bool) -> int:
    others = [rank for rank in failed if rank.path != str(reader.path)]
    answer = replace(reader.explain(), ranks=tuple(_rank_lines(others)))
    out = Terminal()
    with verdict_stands():
        if as_json:
            ranks = [rank.to_dict() for rank in failed]
            out.line(json_text({"path": str(reader.path), **answer.to_dict(), "failed_ranks": ranks}, indent=2))
        else:
            _show(out, reader, answer)
    return OK if answer.cause.kind == "none" else PROBLEM


def _rank_lines(others: Sequence[FailedRank]) -> Iterator[str]:
    for each in others[:_MOST_RANKS]:
        yield f"rank {each.rank}: {each.ending.text}"
        yield f"  phasescope explain {shlex.quote(each.path)}"
    if len(others) > _MOST_RANKS:
        yield f"and {len(others) - _MOST_RANKS} more that did not end well"


def _show(out: Terminal, reader: Reader, answer: Explanation) -> None:
    pid = number(reader.constants.get("pid"))
    size, rank = number(reader.constants.get("world_size")), number(reader.constants.get("rank"))
    of_job = f", rank {rank} of {size}" if rank is not None and size is not None and size > 1 else ""
    out.line(f"pid {pid}{of_job}: {elide(what_runs(reader.constants), _LONGEST_COMMAND)}", "dim")
    first, *rest = str(answer).splitlines()
    out.line(printable(first), "green" if answer.cause.kind == "none" else "red")
    for line in rest:
        out.line(elide(printable(line), _LONGEST_LINE), "" if line.startswith(" ") else "bold")
