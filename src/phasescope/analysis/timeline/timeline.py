"""A session over time: the memory of each device, phases as bands, and notable events as marks.

Folded from events as they come, in bounded memory: see `series` and `bands` for the parts kept of a long session.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.categories import has_categories
from phasescope.analysis.event_fields import device_label, device_of, scope_of, size_or_none, unavailable
from phasescope.analysis.spans import SpanBuilder

from .bands import Bands
from .category_series import CategorySeries
from .time_series import (
    RECENT_BUCKETS,
    WHOLE_BUCKETS,
    DeviceSeries,
    columns,
    thinned,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

    from .bands import Band, Strip
    from .time_series import Point

__all__ = ["Mark", "Peak", "Timeline", "timeline"]

SCHEMA_VERSION = 1
"""Of `Timeline.to_dict()`; a key may be added without a new version."""

MARKED = frozenset(
    {"start", "stop", "warning", "critical", "error", "collector_degraded", "collector_recovered"},
)
MAX_MARKS = 256
MAX_DEVICES = 64
_LONGEST_CONTEXT = 500

_COUNTERS = (
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "device_used_bytes",
    "device_total_bytes",
)


class Mark(NamedTuple):
    """A notable event: a warning, an error, the session's start or stop, a source of counters that failed.

    `path` is the phase that it names; `error_type` and `out_of_memory` describe an error.
    """

    timestamp_ns: int
    event_type: str
    device: str
    context: str | None
    path: tuple[str, ...] | None
    error_type: str | None
    out_of_memory: bool


class Peak(NamedTuple):
    """The largest allocation seen on a device, with its time and phase."""

    timestamp_ns: int
    allocated_bytes: int
    path: tuple[str, ...] | None


class DeviceLine:
    """One device over time, named by `backend` and `device_id`. `Timeline.points()` returns its figures.

    `peak` is the largest allocation, and `categories` what the memory was made of over time; None means: not known.
    """

    __slots__ = ("backend", "categories", "device_id", "peak", "series")

    def __init__(self, backend: str, device_id: int, series: DeviceSeries) -> None:
        self.backend = backend
        self.device_id = device_id
        self.series = series
        self.peak: Peak | None = None
        self.categories: CategorySeries | None = None

    @property
    def label(self) -> str:
        """`cuda:0`, or `host`."""
        return device_label(self.backend, self.device_id)


class Timeline:
    """One session over time, in bounded memory. `Reader.timeline()` and `SessionView.timeline` have one.

    `first_ns` and `last_ns` are the wall-clock times of the first and last event, None if there is none; `marks` are
    the latest 256 notable events, oldest first.
    """

    def __init__(self, whole_buckets: int = WHOLE_BUCKETS, recent_buckets: int = RECENT_BUCKETS) -> None:
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.marks: deque[Mark] = deque(maxlen=MAX_MARKS)
        self.marked = 0
        self._sizes = whole_buckets, recent_buckets
        self._lines: dict[tuple[str, int], DeviceLine] = {}
        self._bands = Bands()
        self._spans = SpanBuilder()

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event; events come in the order in which they were written."""
        scope = scope_of(event)
        self.take(event, scope, self._spans.feed(event, scope))

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event with its `scope_of` and the span that it ends, from who has these already."""
        time_ns = size_or_none(event.get("timestamp_ns"))
        if time_ns is None:
            return
        if self.last_ns is None or self.first_ns is None:
            self.first_ns = self.last_ns = time_ns
        elif time_ns > self.last_ns:
            self.last_ns = time_ns
        elif time_ns < self.first_ns:
            self.first_ns = time_ns
        self._measure(event, time_ns, scope)
        if scope is not None:
            self._bands.see(scope, span)
        event_type = event.get("event_type")
        if isinstance(event_type, str) and event_type in MARKED:
            self.marked += 1
            self.marks.append(_mark(event, time_ns, scope))

    def _measure(self, event: Mapping[str, Any], time_ns: int, scope: Scope | None) -> None:
        line = self._line(event)
        if line is None:
            return
        figures = [size_or_none(event.get(counter)) for counter in _COUNTERS]
        if "unavailable" in event["metadata"]:
            unknown = unavailable(event)
            figures = [None if name in unknown else value for name, value in zip(_COUNTERS, figures, strict=True)]
        line.series.add(time_ns, figures)
        if has_categories(event["metadata"]):
            line.categories = line.categories or CategorySeries()
            line.categories.add(time_ns, event)
        allocated = figures[0]
        if allocated is not None and (line.peak is None or allocated > line.peak.allocated_bytes):
            line.peak = Peak(time_ns, allocated, None if scope is None else scope.path)

    def _line(self, event: Mapping[str, Any]) -> DeviceLine | None:
        device = device_of(event)
        if device is None:
            return None
        line = self._lines.get(device)
        if line is None and len(self._lines) < MAX_DEVICES:
            line = self._lines[device] = DeviceLine(*device, DeviceSeries(*self._sizes))
        return line

    @property
    def devices(self) -> list[DeviceLine]:
        """The devices: accelerators by name and number, the host last."""
        return [self._lines[key] for key in sorted(self._lines, key=lambda key: (key[1] == -1, key))]

    @property
    def threads(self) -> dict[int, str]:
        """The names of the threads in which phases ran."""
        return dict(self._bands.threads)

    @property
    def ended(self) -> int:
        """The number of phase entries that have ended."""
        return self._bands.ended

    @property
    def bands_dropped(self) -> int:
        """The number of bands that are not kept: neither among the longest nor among the latest."""
        return self._bands.dropped

    def bands(self, open_spans: Iterable[Span] | None = None, since_ns: int | None = None) -> list[Band]:
        """Return the phase entries that are kept, by their start, or those that were open at `since_ns` or later.

        `open_spans` is for this package alone.
        """
        return self._bands.bands(self._spans.open_spans() if open_spans is None else open_spans, since_ns)

    def strips(self) -> list[Strip]:
        """Return the phase that took longest in each stretch of time: it stands in for bands that are not kept."""
        return self._bands.strips()

    def points(self, device: DeviceLine, most: int | None = None) -> list[Point]:
        """Return a device's figures over time, at most `most` points; no peak is lost."""
        points = device.series.points()
        return points if most is None else thinned(points, most)

    def to_dict(self, most_points: int | None = None, open_spans: Iterable[Span] | None = None) -> dict[str, Any]:
        """Return everything as JSON types, with at most `most_points` points a device.

        Times are wall clock in ns, memory is in bytes, None means: not known. `open_spans` is for this package alone.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "first_timestamp_ns": self.first_ns,
            "last_timestamp_ns": self.last_ns,
            "devices": [self._device_dict(line, most_points) for line in self.devices],
            "threads": {str(number): name for number, name in self.threads.items()},
            "bands": [{**band._asdict(), "path": list(band.path)} for band in self.bands(open_spans)],
            "strips": [{**strip._asdict(), "path": list(strip.path)} for strip in self.strips()],
            "bands_dropped": self.bands_dropped,
            "marks": [_with_lists(mark) for mark in self.marks],
            "marks_dropped": self.marked - len(self.marks),
        }

    def _device_dict(self, line: DeviceLine, most_points: int | None) -> dict[str, Any]:
        return {
            "label": line.label,
            "backend": line.backend,
            "device_id": line.device_id,
            "peak": None if line.peak is None else _with_lists(line.peak),
            "categories": None if line.categories is None else line.categories.columns(),
            **columns(self.points(line, most_points)),
        }


def timeline(events: Iterable[Mapping[str, Any]]) -> Timeline:
    """Return one session's events over time, oldest first."""
    folded = Timeline()
    for event in events:
        folded.add(event)
    return folded


def _mark(event: Mapping[str, Any], time_ns: int, scope: Scope | None) -> Mark:
    metadata = event.get("metadata")
    details = metadata if isinstance(metadata, dict) else {}
    context, error_type = event.get("context"), details.get("error_type")
    device = device_of(event)
    return Mark(
        time_ns,
        event["event_type"],
        "" if device is None else device_label(*device),
        context[:_LONGEST_CONTEXT] if isinstance(context, str) else None,
        None if scope is None else scope.path,
        error_type[:_LONGEST_CONTEXT] if isinstance(error_type, str) else None,
        details.get("out_of_memory") is True,
    )


def _with_lists(record: Mark | Peak) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in record._asdict().items()}
