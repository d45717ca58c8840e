"""List this user's sessions, live and dead, the newest first, the ranks of a job together, child processes below.

The phase is the innermost one that is open, for a dead session the one in which it died; memory is allocated and
reserved on its device at the last event. A "silent" session has a living process that gave no sign of life for ten
sampling intervals. One that is over says how it ended, as far as its last events tell: "finished", "failed" (by an
exception), "out of memory", "interrupted" (Ctrl-C), or "killed" (its process disappeared without stopping it). Under
"session" is the beginning of its id; other commands take that or the pid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.formatting import (
    UNKNOWN,
    Column,
    duration_text,
    elide,
    path_text,
    printable,
    size_text,
    table,
)
from phasescope.analysis.text.commands import what_runs
from phasescope.analysis.text.state_word import state_word
from phasescope.cli import NOT_FOUND, OK
from phasescope.cli._output import Terminal, errors
from phasescope.cli._session_args import (
    add_directory,
    health,
    number,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path


_ID_SHOWN = 8
_OF_TABLE = ("fared", "constants", "depth")
_BELOW = "└ "
_MOST_DEEP = 4
_LONGEST_TEXT = 200
_COLUMNS = (
    Column("pid"),
    Column("session", right=False, spare=2),
    Column("state", right=False),
    Column("age"),
    Column("rank", spare=3),
    Column("phase", right=False, flexible=True, spare=1),
    Column("allocated"),
    Column("reserved", spare=4),
    Column("command", right=False, flexible=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array instead of the table")
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.wire import ring_directories, ring_files

    sessions = _by_job([describe(path) for path in ring_files.find(arguments.dir)])
    if arguments.json:
        Terminal().line(json_text([_data(session) for session in sessions], indent=2))
    elif sessions:
        _show(sessions)
    else:
        places = ", ".join(ring_directories.places(arguments.dir))
        Terminal().line(f"no sessions in {printable(places)}; `phasescope.start()` begins one")
    for reason in ring_directories.not_looked_into(arguments.dir):
        errors().line(f"not looked into: {printable(reason)}", "yellow")
    return OK if sessions else NOT_FOUND


def describe(path: Path) -> dict[str, Any]:
    """Describe one ring file as the JSON output shows it, and for this command `fared` and `constants`.

    A file that cannot be read has `error`.
    """
    from phasescope._attach import attach
    from phasescope.wire.ring import RingError

    try:
        with attach(path) as reader:
            return {"path": str(path), **_of_session(reader)}
    except (OSError, RingError) as error:
        return {"path": str(path), "error": str(error)}


def _by_job(sessions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the ranks of a job next to each other, child processes below what started them.

    The job that was started last comes first.
    """
    from phasescope.analysis.jobs.families import in_order, over_since, parents
    from phasescope.analysis.jobs.grouping import group

    readable = [session for session in sessions if "error" not in session]
    constants = [session["constants"] for session in readable]
    over = [over_since(session["state"], session["heartbeat_ns"]) for session in readable]
    ordered = in_order(group(constants), parents(constants, over))
    return [
        *({**readable[index], "depth": depth} for run, depth in ordered for index in run),
        *(session for session in sessions if "error" in session),
    ]


def _of_session(reader: Any) -> dict[str, Any]:
    from phasescope.readers.diagnosis import LAST_EVENTS, Moment

    constants = reader.constants
    moment = Moment.of(reader)
    condition = health(reader, moment.now_ns)
    events = reader.events(last=LAST_EVENTS)
    ending = moment.ending_by(events)
    return {
        "session_id": constants.get("session_id"),
        "pid": constants.get("pid"),
        "host": constants.get("host"),
        "state": condition.state,
        "ending": ending.kind,
        "silent_ns": condition.silent_ns,
        "started_ns": constants.get("started_ns"),
        "age_ns": condition.age_ns,
        "heartbeat_ns": condition.heartbeat_ns,
        "rank": constants.get("rank"),
        "local_rank": constants.get("local_rank"),
        "world_size": constants.get("world_size"),
        **_last_seen(events),
        "events_written": reader.written,
        "command": constants.get("command"),
        "parent_pid": constants.get("parent_pid"),
        "process_name": constants.get("process_name"),
        "fared": ending,
        "constants": constants,
    }


def _last_seen(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the open phase, and the newest figures of the device that the phases speak of."""
    from phasescope.analysis.devices import Devices
    from phasescope.analysis.spans import current_phase

    phase = current_phase(events)
    last = Devices()
    boundary = None
    for event in events:
        label = last.see(event)[0]
        if event.get("event_type") in ("phase_enter", "phase_exit"):
            boundary = label
    rows = {row.label: row for row in last.rows()}
    row = rows.get(boundary or "") or next(iter(rows.values()), None)  # accelerators come before the host
    return {
        "phase": None if phase is None else list(phase),
        "device": None if row is None else row.label,
        "allocated_bytes": None if row is None else row.allocated_bytes,
        "reserved_bytes": None if row is None else row.reserved_bytes,
    }


def _data(session: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in session.items() if key not in _OF_TABLE}


def _show(sessions: Sequence[dict[str, Any]]) -> None:
    out = Terminal()
    readable = [session for session in sessions if "error" not in session]
    if readable:
        title, *lines = table(_COLUMNS, map(_cells, readable), out.width)
        out.line(title, "bold")
        for session, line in zip(readable, lines, strict=True):
            out.line(line, _style(session))
    for session in sessions:
        if "error" in session:
            out.line(f"{printable(session['path'])}: {printable(session['error'])}", "yellow")


def _style(session: dict[str, Any]) -> str:
    if session["state"] == "running":
        return "yellow" if session["silent_ns"] is not None else ""
    return "dim" if session["fared"].is_good else "red"


def _cells(session: dict[str, Any]) -> list[str]:
    rank, world_size = number(session["rank"]), number(session["world_size"])
    return [
        UNKNOWN if number(session["pid"]) is None else str(session["pid"]),
        _short_id(session["session_id"]),
        state_word(session["fared"]),
        duration_text(session["age_ns"]),
        UNKNOWN if rank is None or world_size is None else f"{rank}/{world_size}",
        UNKNOWN if session["phase"] is None else elide(path_text(session["phase"]), _LONGEST_TEXT),
        size_text(session["allocated_bytes"]),
        size_text(session["reserved_bytes"]),
        f"{_under(session['depth'])}{elide(what_runs(session), _LONGEST_TEXT)}",
    ]


def _under(depth: int) -> str:
    """Return the sign of a child process."""
    return "  " * (min(depth, _MOST_DEEP) - 1) + _BELOW if depth else ""


def _short_id(session_id: object) -> str:
    return printable(session_id[:_ID_SHOWN]) if isinstance(session_id, str) and session_id else UNKNOWN
