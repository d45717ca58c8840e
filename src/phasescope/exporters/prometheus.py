"""Live sessions as a page of metrics that Prometheus scrapes, in its text format or in OpenMetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from phasescope.analysis.event_fields import device_label
from phasescope.exporters.label_text import text_label
from phasescope.exporters.session_figures import BOUNDS_NS

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from phasescope.exporters.live_sessions import LiveSession, LiveSessions
    from phasescope.exporters.session_figures import Durations, Figures

SESSION_LABELS = ("session_id", "job_id", "host", "pid", "rank")
"""The labels of every metric of a session; a missing value is empty."""

STATES = ("running", "stopped", "dead")

_GAUGES = {
    "device_allocated_bytes": "Memory of live tensors; on the host this process's resident set.",
    "device_reserved_bytes": "Memory that the allocator of the process holds; on the host its resident set.",
    "device_used_bytes": "Memory in use on the device, by any process.",
    "device_used_by_others_bytes": "Memory in use on the device beyond the process's allocator.",
    "device_free_bytes": "Memory free on the device.",
    "device_total_bytes": "Memory of the device, or the limit of the container.",
    "device_allocated_peak_bytes": "The largest allocated figure seen; exact if the session measures peaks.",
    "device_reserved_peak_bytes": "The largest reserved figure seen.",
    "device_used_peak_bytes": "The largest used figure seen.",
    "phase_peak_allocated_bytes": "The peak of allocated memory in the phase; a lower bound if not exact.",
    "phase_peak_is_exact": "1 if every entry of the phase measured its peak, else 0.",
    "phase_open": "Entries of the phase that are open now.",
    "session_state": "1 for the state that the session is in, else 0.",
    "session_start_timestamp_seconds": "The time at which the session began.",
    "session_heartbeat_timestamp_seconds": "The time at which the session's sampler last ran.",
    "session_phases_in_other": "Distinct phase paths counted together as (other).",
}
_COUNTERS = {
    "phase_errors": "Entries of the phase that ended with an exception.",
    "session_events": "Events read, by type.",
    "session_events_missed": "Events overwritten before they could be read.",
    "session_events_damaged": "Places of the ring that hold no valid event.",
    "session_events_dropped": "Events that the session could not write.",
}
_MORE_LABELS: dict[str, tuple[str, ...]] = {
    "device": ("device",),
    "phase": ("phase",),
    "session_state": ("state",),
    "session_events": ("event_type",),
}
_HISTOGRAM = "phasescope_phase_duration_seconds"


class SessionCollector:
    """Makes the metrics whenever the page is asked for. `lock` guards the sessions."""

    def __init__(self, sessions: LiveSessions, lock: threading.Lock) -> None:
        self._sessions = sessions
        self._lock = lock

    def collect(self) -> Iterator[Metric]:
        """Read what is new, and give every metric."""
        page = _Page()
        with self._lock:
            self._sessions.poll()
            for session in self._sessions:
                page.add_session(session)
            page.add_exporter(len(self._sessions), self._sessions.left_out)
        return page.metrics()


def registry_of(sessions: LiveSessions, lock: threading.Lock) -> CollectorRegistry:
    """Return a registry with these sessions, and nothing of the exporter's own process."""
    registry = CollectorRegistry()
    registry.register(SessionCollector(sessions, lock))
    return registry


def every_metric() -> Iterator[Metric]:
    """Yield each metric that a page may have, without samples."""
    page = _Page()
    page.add_exporter(0, 0)
    yield from page.families()


class _Page:
    """The metrics of one page; one without samples is left out."""

    def __init__(self) -> None:
        self._gauges = {name: self._family(GaugeMetricFamily, name, text) for name, text in _GAUGES.items()}
        self._counters = {name: self._family(CounterMetricFamily, name, text) for name, text in _COUNTERS.items()}
        self._durations = HistogramMetricFamily(
            _HISTOGRAM, "The time from entering the phase to leaving it.", labels=(*SESSION_LABELS, "phase")
        )
        self._own: list[Metric] = []

    def metrics(self) -> Iterator[Metric]:
        return (family for family in self.families() if family.samples)

    def families(self) -> Iterator[Metric]:
        yield from (*self._gauges.values(), self._durations, *self._counters.values(), *self._own)

    def add_session(self, session: LiveSession) -> None:
        labels = tuple(text_label(session.constants.get(name)) for name in SESSION_LABELS)
        figures = session.summed()
        self._add_state(session, labels, figures)
        self._add_devices(session, labels, figures)
        self._add_phases(session, labels, figures)

    def add_exporter(self, exported: int, left_out: int) -> None:
        for name, text, count in (
            ("sessions", "Sessions exported now.", exported),
            ("sessions_left_out", "Rings beyond the limit of sessions, not looked at.", left_out),
        ):
            self._own.append(GaugeMetricFamily(f"phasescope_exporter_{name}", text, value=count))

    def _add_state(self, session: LiveSession, labels: tuple[str, ...], figures: Figures) -> None:
        for state in STATES:
            self._gauge("session_state", (*labels, state), int(session.state == state))
        started_ns, heartbeat_ns = session.constants.get("started_ns"), session.heartbeat_ns
        self._gauge("session_start_timestamp_seconds", labels, started_ns / 1e9 if type(started_ns) is int else None)
        self._gauge("session_heartbeat_timestamp_seconds", labels, None if heartbeat_ns is None else heartbeat_ns / 1e9)
        others = figures.phases.get(session.figures.labels.other)
        self._gauge("session_phases_in_other", labels, 0 if others is None else others.paths)
        for event_type, count in figures.summary.events_by_type.items():
            self._counter("session_events", (*labels, text_label(event_type)), count)
        self._counter("session_events_missed", labels, figures.summary.missed)
        self._counter("session_events_damaged", labels, figures.summary.damaged)
        self._counter("session_events_dropped", labels, session.dropped)

    def _add_devices(self, session: LiveSession, labels: tuple[str, ...], figures: Figures) -> None:
        for row in figures.summary.devices:
            of_device = (*labels, text_label(device_label(row.backend, row.device_id)))
            for name in ("allocated", "reserved", "used", "used_by_others", "free", "total"):
                self._gauge(f"device_{name}_bytes", of_device, getattr(row, f"{name}_bytes"))
        for device, peaks in session.figures.peaks.items():
            for name, size_bytes in peaks.largest.items():
                self._gauge(f"device_{name}_peak_bytes", (*labels, text_label(device)), size_bytes)

    def _add_phases(self, session: LiveSession, labels: tuple[str, ...], figures: Figures) -> None:
        for phase, durations in session.figures.durations.items():
            self._durations.add_metric((*labels, phase), _buckets(durations), durations.total_ns / 1e9)
        for phase, those in figures.phases.items():
            of_phase = (*labels, phase)
            self._gauge("phase_peak_allocated_bytes", of_phase, those.peak_allocated_bytes)
            if those.peak_allocated_bytes is not None:
                self._gauge("phase_peak_is_exact", of_phase, int(those.peak_is_exact))
            self._gauge("phase_open", of_phase, those.open)
            self._counter("phase_errors", of_phase, those.errors)

    def _gauge(self, name: str, labels: tuple[str, ...], value: float | None) -> None:
        if value is not None:
            self._gauges[name].add_metric(labels, value)

    def _counter(self, name: str, labels: tuple[str, ...], value: float) -> None:
        self._counters[name].add_metric(labels, value)

    @staticmethod
    def _family(kind: type[Metric], name: str, text: str) -> Metric:
        more = _MORE_LABELS.get(name) or _MORE_LABELS.get(name.partition("_")[0], ())
        return kind(f"phasescope_{name}", text, labels=(*SESSION_LABELS, *more))


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Return the counts as Prometheus has them: each bucket includes those below it."""
    buckets, below = [], 0
    for bound, count in zip((*(bound / 1e9 for bound in BOUNDS_NS), "+Inf"), durations.counts, strict=True):
        below += count
        buckets.append((str(bound), float(below)))
    return buckets
