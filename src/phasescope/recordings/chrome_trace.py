"""Chrome's trace events as JSON, which chrome://tracing, Perfetto and speedscope read.

Times are microseconds since the first event, with three decimals: since the epoch they would not fit a double.
"""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

from phasescope.recordings.trace_model import Begin, End, Instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from phasescope.recordings.trace_model import Item, Process, Track

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=str).encode


def write(items: Iterable[Item], file: BinaryIO) -> None:
    """Write the items as one JSON object. Raises OSError."""
    made = _Made()
    file.write(b'{"traceEvents":[\n')
    between = b""
    for item in items:
        for event in made.of(item):
            file.write(between + _encode(event).encode())
            between = b",\n"
    other = {"displayTimeUnit": "ms", "otherData": {"first_timestamp_ns": made.first_ns}}
    file.write(b"\n]," + _encode(other).encode()[1:] + b"\n")


class _Made:
    def __init__(self) -> None:
        self.first_ns: int | None = None
        self._named: set[int] = set()
        self._tids = count(1)
        self._tid_of: dict[int, int] = {}

    def of(self, item: Item) -> Iterator[dict[str, Any]]:
        self.first_ns = item.time_ns if self.first_ns is None else self.first_ns
        process = item.track.process if isinstance(item, (Begin, End)) else item.process
        yield from self._name_process(process)
        event: dict[str, Any] = {"pid": process.pid, "ts": (item.time_ns - self.first_ns) / 1000}
        if isinstance(item, (Begin, End)):
            yield from self._name_thread(item.track)
            event.update(tid=self._tid_of[item.track.key], ph="E", args=dict(item.arguments))
            if isinstance(item, Begin):
                event.update(ph="B", name=item.name, cat="phase")
        elif isinstance(item, Instant):
            event.update(tid=0, ph="i", s="p", name=item.name, cat="event", args=dict(item.arguments))
        else:
            event.update(ph="C", name=f"{item.device} {item.name}", args={"bytes": item.value_bytes})
        yield event

    def _name_process(self, process: Process) -> Iterator[dict[str, Any]]:
        if process.key not in self._named:
            self._named.add(process.key)
            yield {"ph": "M", "name": "process_name", "pid": process.pid, "args": {"name": process.name}}

    def _name_thread(self, track: Track) -> Iterator[dict[str, Any]]:
        if track.key not in self._tid_of:
            tid = self._tid_of[track.key] = next(self._tids)
            name = track.thread if not track.lane else f"{track.thread} ({track.lane + 1})"
            yield {"ph": "M", "name": "thread_name", "pid": track.process.pid, "tid": tid, "args": {"name": name}}
