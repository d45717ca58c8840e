"""Say what happened to a session's memory: the cause, what held the memory, which phase, and what to try first.

Works while it runs, after it ended, and over what a killed process left. Without SESSION it takes the newest one, live
or dead; where that is a rank of a job of which others failed, the one that failed first. The exit code is 0 for a
healthy session and 4 where something is wrong, so that scripts can ask.
"""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import elide, printable
from phasescope.cli import OK, PROBLEM
from phasescope.cli._output import Terminal, json_text, verdict_stands
from phasescope.cli._session_args import (
    add_target,
    command_line,
    moment,
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
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    from phasescope.cli._failed_ranks import failed_ranks

    target = arguments.target or _newest(arguments.dir)
    with opened(target, arguments.dir) as reader:
        failed = failed_ranks(reader)
        target = str(reader.path) if arguments.target or not failed else failed[0].path
        if target == str(reader.path):
            return _answer(reader, failed, as_json=arguments.json)
    with opened(target, arguments.dir) as reader:
        return _answer(reader, failed, as_json=arguments.json)


def _answer(reader: Reader, failed: Sequence[FailedRank], *, as_json: bool) -> int:
    others = [rank for rank in failed if rank.path != str(reader.path)]
    answer = replace(explanation(reader), ranks=tuple(_rank_lines(others)))
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


def explanation(reader: Reader) -> Explanation:
    """The explanation of a reader's session, as it stands now."""
    from phasescope.analysis.diagnosis.evidence import EvidenceFold
    from phasescope.analysis.diagnosis.explanation import explain

    at = moment(reader)
    watch = EvidenceFold()
    fold = reader.fold(watch)
    return explain(
        watch.evidence(
            fold,
            at.state,
            heartbeat_ns=at.heartbeat_ns,
            now_ns=at.now_ns,
            oom_kills=_oom_kills(reader),
            missed=(reader.missed, reader.damaged),
        )
    )


def _oom_kills(reader: Reader) -> int | None:
    """How many the kernel has killed in the session's control group since it began; None where that is not known."""
    from phasescope import _os_compat

    path, before = reader.constants.get("oom_kills_path"), number(reader.constants.get("oom_kills"))
    if not isinstance(path, str) or before is None or reader.constants.get("host") != _os_compat.host_name():
        return None
    now = _os_compat.oom_kills_of(path)
    return None if now is None else max(0, now - before)


def _newest(directory: str | None) -> str | None:
    """The session that began last, of those that can be read."""
    from phasescope.readers.ring_reader import RingReader
    from phasescope.wire import ring_files
    from phasescope.wire.ring import RingError

    for path in ring_files.find(directory):
        with contextlib.suppress(OSError, RingError):
            RingReader.open(path).close()
            return str(path)
    return None


def _show(out: Terminal, reader: Reader, answer: Explanation) -> None:
    pid = number(reader.constants.get("pid"))
    size, rank = number(reader.constants.get("world_size")), number(reader.constants.get("rank"))
    of_job = f", rank {rank} of {size}" if rank is not None and size is not None and size > 1 else ""
    out.line(f"pid {pid}{of_job}: {elide(command_line(reader.constants), _LONGEST_COMMAND)}", "dim")
    first, *rest = str(answer).splitlines()
    out.line(printable(first), "green" if answer.cause.kind == "none" else "red")
    for line in rest:
        out.line(elide(printable(line), _LONGEST_LINE), "" if line.startswith(" ") else "bold")
