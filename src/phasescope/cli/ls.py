"""List this user's sessions, live and dead, the newest first.

The phase is the innermost one open, for a dead session when it died; the memory is what its device had
allocated and reserved at the last event. "silent" is a session whose process lives and holds it but has not
been heard of for more than ten sampling intervals. "dead" is one whose process is gone without having stopped
it: it was killed or crashed, and `phasescope summary` reads what it left. Under "session" is how its id begins, which
other commands take as well as the pid.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

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
from phasescope.cli import NOT_FOUND, OK
from phasescope.cli._output import Terminal, errors, json_text
from phasescope.cli._session_args import (
    add_directory,
    command_line,
    health,
    number,
    state_text,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LAST_EVENTS = 256
_ID_SHOWN = 8
_LONGEST_TEXT = 200
_COLUMNS = (
    Column("pid"),
    Column("session", right=False),
    Column("state", right=False),
    Column("age"),
    Column("rank"),
    Column("phase", right=False, flexible=True),
    Column("allocated"),
    Column("reserved"),
    Column("command", right=False, flexible=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array instead of the table")
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.wire import ring_files

    found = [describe(path) for path in ring_files.find(arguments.dir)]
    if arguments.json:
        Terminal().line(json_text([_data(session) for session in found], indent=2))
    elif found:
        _show(found)
    else:
        places = ", ".join(ring_files.places(arguments.dir))
        Terminal().line(f"no sessions in {printable(places)}; `phasescope.start()` begins one")
    for reason in ring_files.not_looked_into(arguments.dir):
        errors().line(f"not looked into: {printable(reason)}", "yellow")
    return OK if found else NOT_FOUND


def describe(path: Path) -> dict[str, Any]:
    """One ring file as the JSON output shows it, and for the table `health`; a file that can not be read:
    `error`."""
    from phasescope._attach import attach
    from phasescope.wire.ring import RingError

    try:
        with attach(path) as reader:
            return {"path": str(path), **_of_session(reader)}
    except (OSError, RingError) as error:
        return {"path": str(path), "error": str(error)}


def _of_session(reader: Any) -> dict[str, Any]:
    constants = reader.constants
    fares = health(reader, time.time_ns())
    events = reader.events(last=_LAST_EVENTS)
    return {
        "session_id": constants.get("session_id"),
        "pid": constants.get("pid"),
        "host": constants.get("host"),
        "state": fares.state,
        "silent_ns": fares.silent_ns,
        "started_ns": constants.get("started_ns"),
        "age_ns": fares.age_ns,
        "heartbeat_ns": fares.heartbeat_ns,
        "rank": constants.get("rank"),
        "local_rank": constants.get("local_rank"),
        "world_size": constants.get("world_size"),
        **_last_seen(events),
        "events_written": reader.written,
        "command": constants.get("command"),
        "health": fares,
    }


def _last_seen(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The open phase, and the newest figures of the device that the phases speak of."""
    from phasescope.analysis.current import current_phase
    from phasescope.analysis.devices import Devices

    phase = current_phase(events)
    last = Devices()
    boundary = None
    for event in events:
        label, _ = last.see(event)
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
    return {key: value for key, value in session.items() if key != "health"}


def _show(found: Sequence[dict[str, Any]]) -> None:
    out = Terminal()
    readable = [session for session in found if "error" not in session]
    if readable:
        title, *lines = table(_COLUMNS, map(_cells, readable), out.width)
        out.line(title, "bold")
        for session, line in zip(readable, lines, strict=True):
            out.line(line, _style(session))
    for session in found:
        if "error" in session:
            out.line(f"{printable(session['path'])}: {printable(session['error'])}", "yellow")


def _style(session: dict[str, Any]) -> str:
    if session["state"] == "running":
        return "yellow" if session["silent_ns"] is not None else ""
    return "red" if session["state"] == "dead" else "dim"


def _cells(session: dict[str, Any]) -> list[str]:
    rank, world_size = number(session["rank"]), number(session["world_size"])
    return [
        UNKNOWN if number(session["pid"]) is None else str(session["pid"]),
        _short_id(session["session_id"]),
        state_text(session["health"]),
        duration_text(session["age_ns"]),
        UNKNOWN if rank is None or world_size is None else f"{rank}/{world_size}",
        UNKNOWN if session["phase"] is None else elide(path_text(session["phase"]), _LONGEST_TEXT),
        size_text(session["allocated_bytes"]),
        size_text(session["reserved_bytes"]),
        elide(command_line(session), _LONGEST_TEXT),
    ]


def _short_id(session_id: object) -> str:
    return printable(session_id[:_ID_SHOWN]) if isinstance(session_id, str) and session_id else UNKNOWN
