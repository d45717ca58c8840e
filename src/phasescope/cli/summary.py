"""Sum up a session: the verdict on its memory, the time and memory of each phase, then the devices.

It works while the session runs, after it ended, and after its process was killed: then the first lines show
how it ended, and "still open" names the phase in which it died. Without SESSION, if ranks of the newest one's job
failed, it is the one that failed first, as for `explain`. If other ranks of its job have sessions here, a table
compares them. On a terminal the tables are fitted to its width.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._json import json_text
from phasescope.analysis.formatting import (
    duration_text,
    elide,
    local_time,
    plural,
    printable,
)
from phasescope.analysis.liveness import disappeared_text, silent_text
from phasescope.analysis.text.commands import what_runs
from phasescope.analysis.text.job_text import job_report
from phasescope.analysis.text.shown_phases import FIGURES, ShownPhases
from phasescope.analysis.text.summary_text import report
from phasescope.cli import OK
from phasescope.cli._output import Terminal
from phasescope.cli._quantities import whole
from phasescope.cli._session_args import (
    add_directories,
    add_session,
    health,
    number,
    opened_among,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.diagnosis.verdict import Verdict
    from phasescope.analysis.jobs.job import Job
    from phasescope.analysis.summary.summary import Summary
    from phasescope.cli._session_args import SessionHealth
    from phasescope.readers.reader import Reader

_SAME = 60
_LONGEST_COMMAND = 120
_MOST_PROBLEMS = 10
_MOST = 10_000  # phases, or depth: beyond what a summary keeps
_TABLE_TITLES = ("phase ", "device ", "rank ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_session(parser)
    add_directories(parser)
    parser.add_argument("--depth", type=whole(_MOST), metavar="N", help="show at most N levels of phases")
    parser.add_argument("--sort", choices=FIGURES, metavar="FIGURE", help=f"the largest first: {', '.join(FIGURES)}")
    parser.add_argument("--limit", type=whole(_MOST), metavar="N", help="show the first N phases")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table, with all phases")


def run(arguments: argparse.Namespace) -> int:
    from phasescope.analysis.diagnosis.verdict import verdict
    from phasescope.cli._failed_ranks import failed_ranks, meant
    from phasescope.views.missing_phases import missing_in

    with (
        opened_among(arguments.target, arguments.dir) as newest,
        meant(newest, [] if arguments.target else failed_ranks(newest), arguments.target) as reader,
    ):
        condition = health(reader)
        answer = reader.explain()
        summed, ending = answer.evidence.summary, answer.evidence.ending
        missing = missing_in(reader, summed, is_over=ending.is_over, ended_well=ending.is_good)
        looked = _Looked(reader, condition, summed, ending, verdict(answer), missing, _job(reader, arguments.dir))
        if arguments.json:
            Terminal().line(json_text(_data(looked), indent=2))
        else:
            _show(looked, ShownPhases(arguments.depth, arguments.sort, arguments.limit))
    return OK


class _Looked(NamedTuple):
    """All that is known of the session."""

    reader: Reader
    condition: SessionHealth
    summed: Summary
    ending: Ending
    verdict: Verdict
    missing: list[str]
    job: Job | None


def _job(reader: Reader, directories: Sequence[str]) -> Job | None:
    if reader.path is None or (number(reader.constants.get("world_size")) or 1) < 2:
        return None
    from phasescope.views.catalogue import Catalogue, key_of
    from phasescope.views.job_loader import gather

    return gather(Catalogue(directories, [reader.path]), key_of(reader.path))


def _data(looked: _Looked) -> dict[str, Any]:
    reader, condition = looked.reader, looked.condition
    constants: Mapping[str, Any] = reader.constants
    of_session = ("command", "python", "version", "core", "job_id", "started_ns", "sampling_interval_ms", "backends")
    return {
        "state": condition.state,
        "silent_ns": condition.silent_ns,
        "heartbeat_ns": condition.heartbeat_ns,
        "ending": looked.ending.to_dict(),
        "verdict": looked.verdict.to_dict(),
        "path": str(reader.path),
        **{key: constants.get(key) for key in of_session},
        "events_dropped": reader.dropped,
        "problems": [str(problem) for problem in reader.problems],
        **looked.summed.to_dict(),
        "missing_phases": looked.missing,
        "job": None if looked.job is None else looked.job.to_dict(),
    }


def _show(looked: _Looked, chosen: ShownPhases) -> None:
    out, reader = Terminal(), looked.reader
    command = what_runs(reader.constants)
    if command:  # other tools' recordings do not say
        out.line(elide(command, out.width or _LONGEST_COMMAND), "bold")
    style = {"running": "green", "dead": "red"}.get(looked.condition.state, "")
    out.line(_state_line(looked), style if looked.ending.is_good else "red")
    out.line(looked.verdict.text, "green" if looked.verdict.is_good else "red")
    if reader.dropped:
        out.line(f"{plural(reader.dropped, 'event')} could not be written", "yellow")
    tables = report(looked.summed, out.width, looked.missing, chosen)
    if looked.job is not None:
        tables += "\n\n" + job_report(looked.job, out.width)
    for line in tables.splitlines():
        out.line(line, "bold" if line.startswith(_TABLE_TITLES) else "")
    for problem in reader.problems[:_MOST_PROBLEMS]:
        out.line(printable(str(problem)), "yellow")


def _state_line(looked: _Looked) -> str:
    condition, ending, last_ns = looked.condition, looked.ending, looked.summed.last_timestamp_ns
    ago = "" if last_ns is None else f"{_clock(last_ns)}, {duration_text(max(0, time.time_ns() - last_ns))} ago"
    if condition.state == "dead":
        pid = number(looked.reader.constants.get("pid"))
        how = disappeared_text(pid) if ending.kind == "killed" else ending.text
        return how + (f"; last event {ago}" if ago else "")
    if condition.state == "stopped":
        stopped = "stopped" + (f" {ago}" if ago else "")
        is_next = looked.verdict.text.startswith(ending.text[:_SAME])  # the verdict stands below
        return stopped if ending.is_good or is_next else f"{ending.text}; {stopped}"
    if condition.state == "unknown":
        return "recorded up to" + (f" {ago}" if ago else " an unknown time") + "; how the session ended is not in it"
    if condition.silent_ns is not None:
        return silent_text(condition.silent_ns)
    return f"running for {duration_text(condition.age_ns)}"


def _clock(time_ns: int) -> str:
    return local_time(time_ns, "%Y-%m-%d %H:%M:%S") or f"at {time_ns} ns"
