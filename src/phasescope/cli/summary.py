"""Sum up a session: each phase's time and memory, then the devices.

Works while the session runs, after it ended, and over what a killed process left: then the first lines say
so, and "still open" names the phase in which it died. On a terminal the table is fitted to its width.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from phasescope.analysis.text import duration_text, elide, plural, printable
from phasescope.cli import OK
from phasescope.cli.target import add_target, command_line, health, number, opened
from phasescope.cli.terminal import Terminal, json_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from phasescope.analysis.summary import Summary
    from phasescope.cli.target import Health
    from phasescope.reader import Reader

_LONGEST_COMMAND = 120
_MOST_PROBLEMS = 10
_TABLE_TITLES = ("phase ", "device ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")


def run(arguments: argparse.Namespace) -> int:
    with opened(arguments.target, arguments.dir) as reader:
        fares = health(reader)
        summed = reader.summary()
        if arguments.json:
            Terminal().line(json_text(_data(reader, fares, summed), indent=2))
        else:
            _show(reader, fares, summed)
    return OK


def _data(reader: Reader, fares: Health, summed: Summary) -> dict[str, Any]:
    constants: Mapping[str, Any] = reader.constants
    of_session = ("command", "python", "version", "job_id", "started_ns", "sampling_interval_ms", "backends")
    return {
        "state": fares.state,
        "silent_ns": fares.silent_ns,
        "heartbeat_ns": fares.heartbeat_ns,
        "path": str(reader.path),
        **{key: constants.get(key) for key in of_session},
        "events_dropped": reader.dropped,
        "problems": [str(problem) for problem in reader.problems],
        **summed.to_dict(),
    }


def _show(reader: Reader, fares: Health, summed: Summary) -> None:
    out = Terminal()
    command = command_line(reader.constants)
    if command:  # other tools' recordings do not say
        out.line(elide(command, out.width or _LONGEST_COMMAND), "bold")
    out.line(_state_line(reader, fares, summed), {"running": "green", "dead": "red"}.get(fares.state, ""))
    if reader.dropped:
        out.line(f"{plural(reader.dropped, 'event')} could not be written", "yellow")
    for line in summed.table(out.width).splitlines():
        out.line(line, "bold" if line.startswith(_TABLE_TITLES) else "")
    for problem in reader.problems[:_MOST_PROBLEMS]:
        out.line(printable(str(problem)), "yellow")


def _state_line(reader: Reader, fares: Health, summed: Summary) -> str:
    last_ns = summed.last_timestamp_ns
    ago = "" if last_ns is None else f"{_clock(last_ns)}, {duration_text(max(0, time.time_ns() - last_ns))} ago"
    if fares.state == "dead":
        pid = number(reader.constants.get("pid"))
        return f"killed or crashed: process {pid} is gone without a stop" + (f"; last event {ago}" if ago else "")
    if fares.state == "stopped":
        return "stopped" + (f" {ago}" if ago else "")
    if fares.state == "unknown":
        return "recorded up to" + (f" {ago}" if ago else " an unknown time") + "; how the session ended is not in it"
    if fares.silent_ns is not None:
        return f"running, but silent for {duration_text(fares.silent_ns)}"
    return f"running for {duration_text(fares.age_ns)}"


def _clock(time_ns: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns // 1_000_000_000))
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return f"at {time_ns} ns"
