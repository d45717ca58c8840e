"""Follow a session, one line an event, until the session ends or Ctrl-C.

A line has: local time, event type, phase, duration, allocated memory on the phase's device, its change, then
a status other than ok, attributes and remarks. With --json each line is the TelemetryEvent v3 itself,
and remarks go to standard error. A session that is over is printed to its end, with how it ended.
Events that were overwritten before they could be read are counted in a line of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.devices import device_row
from phasescope.analysis.event_fields import int_or_none, scope_of, size_or_none
from phasescope.analysis.formatting import (
    change_text,
    duration_text,
    elide,
    local_time,
    pad,
    path_text,
    plural,
    printable,
    size_text,
)
from phasescope.analysis.liveness import disappeared_text
from phasescope.analysis.text.commands import what_runs
from phasescope.cli import OK
from phasescope.cli._output import Terminal, complain, errors
from phasescope.cli._session_args import (
    add_target,
    number,
    opened,
)
from phasescope.wire.event import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from phasescope.readers.reader import Reader

_SHORTEST_PATH, _PATH_WIDTH, _LONGEST_PATH = 16, 20, 40
_LONGEST_REMARK = 200
_STYLES = {
    "error": "red",
    "critical": "red",
    "warning": "yellow",
    "collector_degraded": "yellow",
    "collector_recovered": "green",
    "sample": "dim",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "-n", "--last", type=_count, default=10, metavar="N", help="begin with the last N events (default 10)"
    )
    parser.add_argument("--all", action="store_true", help="begin with the oldest event kept")
    parser.add_argument("--types", type=_types, metavar="A,B", help="only these event types, e.g. phase_exit,error")
    parser.add_argument("--no-follow", action="store_true", help="print the events that are there, and end")
    parser.add_argument("--json", action="store_true", help="each line one TelemetryEvent v3 as JSON")


def run(arguments: argparse.Namespace) -> int:
    unknown = sorted((arguments.types or frozenset()).difference(EVENT_TYPES))
    if unknown:  # no mistake for certain: a recording of another tool may have it
        complain(f"there is no event type {', '.join(unknown)}; known are {', '.join(EVENT_TYPES)}")
    with opened(arguments.target, arguments.dir) as reader:
        printer = _JsonPrinter() if arguments.json else _LinePrinter()
        printer.begin(reader)
        for event in _events(reader, arguments, printer):
            if arguments.types is None or event["event_type"] in arguments.types:
                printer.event(event)
        printer.end(reader)
    return OK


def _events(reader: Reader, arguments: argparse.Namespace, printer: _LinePrinter) -> Iterator[dict[str, Any]]:
    if arguments.no_follow:
        yield from reader.iter_events() if arguments.all else _last(reader, arguments)
        if arguments.all:
            printer.missed(reader.missed)
    elif arguments.all:
        yield from _with_missed(reader, reader.follow(from_start=True), printer)
    else:
        # Following begins before the last ones are read, so that none is left out. Events written between the two
        # come again: at most as many as were written meanwhile, none of them newer than the last one shown.
        new = reader.follow()
        written = reader.written
        last = _last(reader, arguments)
        yield from last
        new = _without_repeats(new, last, reader.written - written)
        yield from _with_missed(reader, new, printer)


def _last(reader: Reader, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    if arguments.types is None or not arguments.last:
        return reader.events(last=arguments.last)
    wanted = (event for event in reader.iter_events() if event["event_type"] in arguments.types)
    return list(deque(wanted, maxlen=arguments.last))


def _without_repeats(
    new: Iterable[dict[str, Any]], shown: Sequence[dict[str, Any]], most: int
) -> Iterator[dict[str, Any]]:
    for event in new:
        if shown and most > 0:
            most -= 1
            if event["timestamp_ns"] <= shown[-1]["timestamp_ns"]:
                continue
        yield event


def _with_missed(reader: Reader, events: Iterable[dict[str, Any]], printer: _LinePrinter) -> Iterator[dict[str, Any]]:
    for event in events:
        yield event
        printer.missed(reader.missed)


class _LinePrinter:
    """Lines for a person."""

    def __init__(self) -> None:
        self._out = Terminal()
        self._path_width = _path_width(self._out.width)
        self._last_ns: int | None = None
        self._missed = 0

    def begin(self, reader: Reader) -> None:
        pid = number(reader.constants.get("pid"))
        self.remark(f"pid {pid}: {elide(what_runs(reader.constants), _LONGEST_REMARK)}")

    def remark(self, text: str) -> None:
        self._out.line(f"-- {text} --", "dim")

    def event(self, event: Mapping[str, Any]) -> None:
        self._last_ns = int_or_none(event.get("timestamp_ns"))
        event_type = event["event_type"]
        status = _fields(event).get("status", "ok")
        self._out.line(
            event_line(event, self._path_width, whole_paths=self._out.width is None),
            "red" if status == "error" else _STYLES.get(event_type, ""),
        )

    def missed(self, count: int) -> None:
        """Report how many were missed since the beginning, if more than before."""
        if count > self._missed:
            self.remark(f"{plural(count - self._missed, 'event')} overwritten before they could be read")
            self._missed = count

    def end(self, reader: Reader) -> None:
        state = reader.state
        last = f"; last event shown {clock_text(self._last_ns)}" if self._last_ns is not None else ""
        if state == "dead":
            pid = number(reader.constants.get("pid"))
            self.remark(disappeared_text(pid) + last)
        elif state == "stopped":
            self.remark(f"the session has stopped{last}")


class _JsonPrinter(_LinePrinter):
    """One event a line; remarks go elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._remarks = errors()

    def begin(self, reader: Reader) -> None:
        pass

    def remark(self, text: str) -> None:
        self._remarks.line(f"-- {text} --", "dim")

    def event(self, event: Mapping[str, Any]) -> None:
        self._last_ns = int_or_none(event.get("timestamp_ns"))
        self._out.line(json_text(event))


def _path_width(width: int | None) -> int:
    """Return the width that the other columns, 58 wide, leave to the path."""
    return _PATH_WIDTH if width is None else min(_LONGEST_PATH, max(_SHORTEST_PATH, width - 58))


def event_line(event: Mapping[str, Any], path_width: int, *, whole_paths: bool = False) -> str:
    """Format one event on one line. `whole_paths` shifts the columns after a longer path instead of cutting it."""
    scope = scope_of(event)
    path = "" if scope is None else path_text(scope.path)
    fields = _fields(event)
    duration_ns = size_or_none(fields.get("duration_ns"))
    columns = [
        clock_text(int_or_none(event.get("timestamp_ns"))),
        pad(printable(event["event_type"]), 11),
        pad(path if whole_paths else elide(path, path_width), path_width),
        pad("" if duration_ns is None else duration_text(duration_ns), 8, right=True),
        pad(size_text(device_row(event).allocated_bytes), 9, right=True),
        pad(_change(event, fields), 10, right=True),
        *_remarks(event, fields),
    ]
    return " ".join(columns).rstrip()


def clock_text(time_ns: int | None) -> str:
    """Format a local time of day with milliseconds."""
    text = local_time(time_ns or 0, "%H:%M:%S")
    return f"{time_ns} ns" if text is None else f"{text}.{(time_ns or 0) % 1_000_000_000 // 1_000_000:03}"


def _fields(event: Mapping[str, Any]) -> Mapping[str, Any]:
    scope = scope_of(event)
    return {} if scope is None else scope.fields


def _change(event: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """Format the change: for an exit the phase's, for any other event the one since the device's last event."""
    if device_row(event).allocated_bytes is None:
        return ""
    exits = event["event_type"] == "phase_exit"
    change = int_or_none(fields.get("allocated_delta_bytes") if exits else event.get("allocator_change_bytes"))
    return "" if change is None or (change == 0 and not exits) else change_text(change)


def _remarks(event: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterable[str]:
    if fields.get("action") is None:
        yield elide(printable(device_row(event).label), _LONGEST_REMARK)
    status = fields.get("status", "ok")
    if status != "ok":
        yield printable(status) + (f": {printable(fields['error_type'])}" if "error_type" in fields else "")
    attributes = fields.get("attributes")
    if isinstance(attributes, dict) and fields.get("action") == "enter":
        text = " ".join(f"{printable(key)}={printable(value)}" for key, value in attributes.items())
        yield elide(text, _LONGEST_REMARK)
    if event.get("context") is not None:
        yield elide(printable(event["context"]), _LONGEST_REMARK)


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = -1
    if not 0 <= count <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of events")
    return count


def _types(text: str) -> frozenset[str]:
    types = frozenset(name.strip() for name in text.split(",") if name.strip())
    if not types:
        raise argparse.ArgumentTypeError("no event type named")
    return types
