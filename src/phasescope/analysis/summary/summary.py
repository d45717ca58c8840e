"""A session in one table: the time and memory of each phase, and the latest figures of each device.

`summarize` is one pass over the events in bounded memory; `Summary` is the result as plain data, and its
`str()` is the table for a person.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.devices import DeviceRow, Devices
from phasescope.analysis.event_fields import device_times, int_or_none, scope_of, size_or_none
from phasescope.analysis.spans import SpanBuilder

from .allocator_counts import NONE, AllocatorCounts, Counts, phase_of
from .outside_memory import OutsideMemory
from .phase_tree import PhaseTree, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

__all__ = ["DeviceRow", "Row", "Summary", "SummaryFold", "summarize"]

SCHEMA_VERSION = 1
"""Of `Summary.to_dict()`; a key may be added without a new version."""

_MAX_TYPES = 64
_OTHER_TYPES = "(other)"


@dataclass(frozen=True)
class Summary:
    """One session, summed up from its events. Times in ns, memory in bytes; None means: not known.

    `rows` are in tree order, children below their parents. `events` is the number of events that were read; `missed`
    events were overwritten before that, and `damaged` places of the file hold no event. `errors` counts the phases
    that ended with an exception, `abandoned` those that were open when the session stopped, and `open` those that
    are open now.
    """

    session_id: str | None
    pid: int | None
    host: str | None
    rank: int | None
    world_size: int | None
    first_timestamp_ns: int | None
    last_timestamp_ns: int | None
    events: int
    events_by_type: Mapping[str, int]
    missed: int
    damaged: int
    errors: int
    abandoned: int
    open: int
    rows: tuple[Row, ...]
    devices: tuple[DeviceRow, ...]

    @property
    def observed_ns(self) -> int | None:
        """The wall-clock time from the first event to the last."""
        return _observed_ns(self.first_timestamp_ns, self.last_timestamp_ns)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types, as `phasescope summary --json` prints it."""
        return {
            "schema_version": SCHEMA_VERSION,
            **_members(self, leave_out=("rows", "devices")),
            "observed_ns": self.observed_ns,
            "phases": [{**_members(row), "path": list(row.path), "devices": list(row.devices)} for row in self.rows],
            "devices": [asdict(device) for device in self.devices],
        }

    def table(self, width: int | None = 80, missing: Sequence[str] | None = None) -> str:
        """Return the table as text, at most `width` columns wide if possible, or of any width if that is None.

        `missing` replaces the lines about phases that are missing, which by default come from the events alone.
        """
        from phasescope.analysis.text.summary_text import report

        return report(self, width, missing)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """Return the HTML for a notebook."""
        from phasescope.analysis.text.summary_html import summary_html

        return summary_html(self)


def summarize(events: Iterable[Mapping[str, Any]], *, missed: int = 0, damaged: int = 0) -> Summary:
    """Return the summary of one session's events, oldest first: TelemetryEvent v3 mappings, however few are left of
    them.

    `missed` and `damaged` are the reader's counts. Raises nothing for an odd event: it is left out, or a
    figure is.
    """
    fold = SummaryFold()
    for event in events:
        fold.add(event)
    return fold.summary(missed, damaged)


class SummaryFold:
    """A summary that grows with the events: `add` them as they come, ask for the `summary` as often as needed."""

    def __init__(self, prefix: str = "") -> None:
        """Begin a summary, with `prefix` as for `SpanBuilder`."""
        self._identity: dict[str, Any] = {}
        self._events = 0
        self._by_type: dict[str, int] = {}
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._spans = SpanBuilder(prefix)
        self._tree = PhaseTree()
        self._devices = Devices()
        self._counts = AllocatorCounts()
        self._outside = OutsideMemory()

    def add(self, event: Mapping[str, Any]) -> tuple[Scope | None, Span | None]:
        """Take the next event. Return its phase, and the span that it ends, if any."""
        if not self._events:
            self._identity = _identity(event)
        self._events += 1
        event_type = event.get("event_type")
        self._count_type(event_type if isinstance(event_type, str) else "?")
        self._note_time(size_or_none(event.get("timestamp_ns")))
        device, allocated_bytes, reserved_bytes = self._devices.see(event)
        if event_type == "device_time":
            for path, duration_ns in device_times(event):
                self._tree.add_device_time(path, duration_ns)
        scope = scope_of(event)
        if device is not None:
            counts = self._counts.risen(device, event["metadata"])
            if counts is not NONE and any(counts):
                self._tree.count(phase_of(event_type, scope), counts)
            rise = self._outside.take(device, event, scope) if event_type == "sample" else None
            if rise is not None:
                self._tree.count(rise.path, Counts(outside_bytes=rise.size_bytes))
        if scope is None:
            return None, None
        span = self._spans.feed(event, scope)
        self._tree.see(scope.path, scope.action is not None, device, allocated_bytes, reserved_bytes)
        if span is not None:
            self._tree.end(span, device)
        return scope, span

    @property
    def events(self) -> int:
        """How many were added."""
        return self._events

    def relieved(self) -> dict[str, int]:
        """Return how often each device's allocator gave back its cache and then had room, since the process began."""
        return self._counts.relieved()

    def device_rows(self) -> tuple[DeviceRow, ...]:
        """Return how the devices stand."""
        return self._devices.rows()

    def open_spans(self) -> list[Span]:
        """Return the phases that are open now, the outer before the inner."""
        return self._spans.open_spans()

    def _count_type(self, event_type: str, count: int = 1) -> None:
        if event_type not in self._by_type and len(self._by_type) >= _MAX_TYPES:
            event_type = _OTHER_TYPES
        self._by_type[event_type] = self._by_type.get(event_type, 0) + count

    def _note_time(self, time_ns: int | None) -> None:
        """Widen the range of times: threads may be written a little out of order."""
        if time_ns is None:
            return
        if self._first_ns is None or self._last_ns is None:
            self._first_ns = self._last_ns = time_ns
        elif time_ns > self._last_ns:
            self._last_ns = time_ns
        elif time_ns < self._first_ns:
            self._first_ns = time_ns

    def summary(self, missed: int = 0, damaged: int = 0) -> Summary:
        """Return the summary so far, with the reader's counts."""
        open_spans = self._spans.open_spans()
        observed_ns = _observed_ns(self._first_ns, self._last_ns)
        rows = self._tree.rows(open_spans, self._last_ns, observed_ns, self._counts.knows)
        return summary_of(
            rows,
            self._devices.rows(),
            open_now=len(open_spans),
            times_ns=(self._first_ns, self._last_ns),
            events=self._events,
            events_by_type=dict(self._by_type),
            missed=missed,
            damaged=damaged,
            identity=self._identity,
        )


def _identity(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of the process that wrote these events; a missing key has the specification's value."""
    session_id, host = event.get("session_id"), event.get("host")
    return {
        "session_id": session_id if isinstance(session_id, str) else None,
        "host": host if isinstance(host, str) else None,
        "pid": int_or_none(event.get("pid")),
        "rank": int_or_none(event.get("rank", 0)),
        "world_size": int_or_none(event.get("world_size", 1)),
    }


def _observed_ns(first_ns: int | None, last_ns: int | None) -> int | None:
    return None if first_ns is None or last_ns is None else last_ns - first_ns


def _members(record: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__ if name not in leave_out}


def summary_of(
    rows: tuple[Row, ...],
    devices: tuple[DeviceRow, ...],
    *,
    open_now: int,
    times_ns: tuple[int | None, int | None],
    events: int,
    events_by_type: Mapping[str, int],
    missed: int,
    damaged: int,
    identity: Mapping[str, Any],
) -> Summary:
    """Return the summary with these rows, and what they come to."""
    return Summary(
        **{key: identity.get(key) for key in ("session_id", "pid", "host", "rank", "world_size")},
        first_timestamp_ns=times_ns[0],
        last_timestamp_ns=times_ns[1],
        events=events,
        events_by_type=events_by_type,
        missed=missed,
        damaged=damaged,
        errors=sum(row.errors for row in rows),
        abandoned=sum(row.abandoned for row in rows),
        open=open_now,
        rows=rows,
        devices=devices,
    )
