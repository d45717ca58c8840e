"""A session's figures as OpenTelemetry metrics, by the semantic conventions where they have a name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from phasescope.analysis.event_fields import is_host
from phasescope.exporters.label_text import text_label
from phasescope.exporters.otlp_values import SCOPE, resource_of
from phasescope.exporters.session_figures import BOUNDS_NS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from phasescope.analysis.devices import DeviceRow
    from phasescope.exporters.live_sessions import LiveSession
    from phasescope.exporters.session_figures import Figures

GAUGE, UP_DOWN, COUNTER, HISTOGRAM = "gauge", "up-down counter", "counter", "histogram"

NAMES = {
    "process.memory.usage": (UP_DOWN, "By"),
    "hw.gpu.memory.usage": (UP_DOWN, "By"),
    "hw.gpu.memory.limit": (UP_DOWN, "By"),
    "phasescope.device.memory.allocated": (GAUGE, "By"),
    "phasescope.device.memory.reserved": (GAUGE, "By"),
    "phasescope.device.memory.used": (GAUGE, "By"),
    "phasescope.device.memory.used_by_others": (GAUGE, "By"),
    "phasescope.device.memory.free": (GAUGE, "By"),
    "phasescope.device.memory.limit": (GAUGE, "By"),
    "phasescope.device.memory.allocated_peak": (GAUGE, "By"),
    "phasescope.device.memory.reserved_peak": (GAUGE, "By"),
    "phasescope.device.memory.used_peak": (GAUGE, "By"),
    "phasescope.phase.duration": (HISTOGRAM, "s"),
    "phasescope.phase.memory.allocated_peak": (GAUGE, "By"),
    "phasescope.phase.open": (GAUGE, "{entry}"),
    "phasescope.phase.errors": (COUNTER, "{entry}"),
    "phasescope.session.running": (GAUGE, "1"),
    "phasescope.session.events": (COUNTER, "{event}"),
    "phasescope.session.events_missed": (COUNTER, "{event}"),
    "phasescope.session.events_damaged": (COUNTER, "{event}"),
    "phasescope.session.events_dropped": (COUNTER, "{event}"),
    "phasescope.exporter.dropped": (COUNTER, "{item}"),
    "phasescope.exporter.failures": (COUNTER, "{request}"),
}
"""Every metric with its kind and its unit, in UCUM."""

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_BOUNDS_S = [bound / 1e9 for bound in BOUNDS_NS]


class MetricBatch:
    """The metrics of one resource at one time. `start_ns` is when its counters began."""

    def __init__(self, start_ns: int, now_ns: int) -> None:
        self._start_ns = start_ns
        self._now_ns = now_ns
        self._points: dict[str, list[NumberDataPoint | HistogramDataPoint]] = {}

    def number(self, name: str, value: float | None, **attributes: str) -> None:
        """Add a figure; None is: not known, and left out. `__` in an attribute's name is a dot."""
        if value is not None:
            named = {key.replace("__", "."): text for key, text in attributes.items()}
            self._add(name, NumberDataPoint(named, self._start_ns, self._now_ns, value))

    def histogram(self, name: str, counts: list[int], total_ns: int, range_ns: tuple[int, int], phase: str) -> None:
        """Add the durations of one phase."""
        low_s, high_s = range_ns[0] / 1e9, range_ns[1] / 1e9
        attributes = {"phasescope.phase": phase}
        point = HistogramDataPoint(
            attributes, self._start_ns, self._now_ns, sum(counts), total_ns / 1e9, counts, _BOUNDS_S, low_s, high_s
        )
        self._add(name, point)

    def metrics(self, resource: Resource) -> ResourceMetrics:
        """Return them all."""
        made = [self._metric(name, points) for name, points in self._points.items()]
        return ResourceMetrics(resource, [ScopeMetrics(SCOPE, made, "")], "")

    def _add(self, name: str, point: NumberDataPoint | HistogramDataPoint) -> None:
        self._points.setdefault(name, []).append(point)

    def _metric(self, name: str, points: list[NumberDataPoint | HistogramDataPoint]) -> Metric:
        kind, unit = NAMES[name]
        if kind == GAUGE:
            return Metric(name, "", unit, Gauge(points))
        if kind == HISTOGRAM:
            return Metric(name, "", unit, Histogram(points, _CUMULATIVE))
        return Metric(name, "", unit, Sum(points, _CUMULATIVE, is_monotonic=kind == COUNTER))


class SessionMetrics:
    """Makes the metrics of one session, as often as asked."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._resource = resource_of(session.constants)
        self._start_ns: int | None = None

    def metrics(self) -> ResourceMetrics:
        """Return its metrics as of now."""
        session = self._session
        figures = session.summed()
        now_ns = time.time_ns()
        batch = MetricBatch(self._began_ns(figures, now_ns), now_ns)
        self._add_session(batch, figures)
        for row in figures.summary.devices:
            _add_device(batch, row)
        for device, peaks in session.figures.peaks.items():
            for name, size_bytes in peaks.largest.items():
                batch.number(f"phasescope.device.memory.{name}_peak", size_bytes, phasescope__device=text_label(device))
        _add_phases(batch, session, figures)
        return batch.metrics(self._resource)

    def _began_ns(self, figures: Figures, now_ns: int) -> int:
        """Return the session's start if the exporter has seen every event of it, else when it first looked."""
        if self._start_ns is None:
            started_ns = self._session.constants.get("started_ns")
            is_whole = type(started_ns) is int and figures.summary.missed == 0
            self._start_ns = min(started_ns, now_ns) if is_whole and type(started_ns) is int else now_ns
        return self._start_ns

    def _add_session(self, batch: MetricBatch, figures: Figures) -> None:
        batch.number("phasescope.session.running", int(self._session.state == "running"))
        for event_type, count in figures.summary.events_by_type.items():
            batch.number("phasescope.session.events", count, phasescope__event_type=text_label(event_type))
        batch.number("phasescope.session.events_missed", figures.summary.missed)
        batch.number("phasescope.session.events_damaged", figures.summary.damaged)
        batch.number("phasescope.session.events_dropped", self._session.dropped)


def exporter_metrics(
    resource: Resource, start_ns: int, dropped: Mapping[str, int], failures: Mapping[str, int]
) -> ResourceMetrics:
    """Return the exporter's own counts, by signal."""
    batch = MetricBatch(start_ns, time.time_ns())
    for name, counts in (("dropped", dropped), ("failures", failures)):
        for signal, count in counts.items():
            batch.number(f"phasescope.exporter.{name}", count, phasescope__signal=signal)
    return batch.metrics(resource)


def _add_device(batch: MetricBatch, row: DeviceRow) -> None:
    device = text_label(row.label)
    own = {"phasescope__device": device}
    if is_host(row.backend, row.device_id):
        batch.number("process.memory.usage", row.allocated_bytes)
        batch.number("phasescope.device.memory.used", row.used_bytes, **own)
        batch.number("phasescope.device.memory.limit", row.total_bytes, **own)
    else:
        batch.number("hw.gpu.memory.usage", row.used_bytes, hw__id=device)
        batch.number("hw.gpu.memory.limit", row.total_bytes, hw__id=device)
        batch.number("phasescope.device.memory.allocated", row.allocated_bytes, **own)
        batch.number("phasescope.device.memory.reserved", row.reserved_bytes, **own)
    batch.number("phasescope.device.memory.used_by_others", row.used_by_others_bytes, **own)
    batch.number("phasescope.device.memory.free", row.free_bytes, **own)


def _add_phases(batch: MetricBatch, session: LiveSession, figures: Figures) -> None:
    for phase, durations in session.figures.durations.items():
        range_ns = (durations.least_ns, durations.most_ns)
        batch.histogram("phasescope.phase.duration", [*durations.counts], durations.total_ns, range_ns, phase)
    for phase, those in figures.phases.items():
        own = {"phasescope__phase": phase}
        batch.number("phasescope.phase.memory.allocated_peak", those.peak_allocated_bytes, **own)
        batch.number("phasescope.phase.open", those.open, **own)
        batch.number("phasescope.phase.errors", those.errors, **own)
