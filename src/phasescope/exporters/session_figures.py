"""One session's cumulative figures, fed with its events: what any exporter of metrics sends."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import device_label, device_of, size_or_none, unavailable
from phasescope.analysis.summary.summary import SummaryFold
from phasescope.exporters.label_text import PhaseLabels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span
    from phasescope.analysis.summary.summary import Row, Summary

BOUNDS_NS = (
    *(100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000, 300_000_000),
    *(1_000_000_000, 3_000_000_000, 10_000_000_000, 30_000_000_000, 100_000_000_000, 300_000_000_000),
)
"""The upper bounds of the histograms' buckets: 100 µs to 300 s, two a decade."""

_MAX_DEVICES = 256
_COUNTERS = {
    "allocated": "allocator_allocated_bytes",
    "reserved": "allocator_reserved_bytes",
    "used": "device_used_bytes",
}


class Durations:
    """The durations of one phase's entries, counted in buckets; what lies above the last bound is in one more."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.total_ns = 0
        self.least_ns = self.most_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one entry."""
        is_first = not any(self.counts)
        self.least_ns = duration_ns if is_first else min(self.least_ns, duration_ns)
        self.most_ns = max(self.most_ns, duration_ns)
        self.counts[bisect_left(BOUNDS_NS, duration_ns)] += 1
        self.total_ns += duration_ns


@dataclass
class PhaseFigures:
    """All phases of one label. Memory in bytes; a peak of None is not known."""

    peak_allocated_bytes: int | None = None
    peak_is_exact: bool = True
    errors: int = 0
    open: int = 0
    paths: int = 0

    def take(self, row: Row) -> None:
        """Add one phase: sums of the counts, the maximum of the peaks."""
        self.errors += row.errors
        self.open += row.open
        self.paths += 1
        if row.peak_allocated_bytes is not None:
            self.peak_allocated_bytes = max(self.peak_allocated_bytes or 0, row.peak_allocated_bytes)
        self.peak_is_exact = self.peak_is_exact and row.peak_is_exact


class Figures(NamedTuple):
    """What a session's events came to so far. `phases` is by label value."""

    summary: Summary
    phases: Mapping[str, PhaseFigures]


@dataclass
class DevicePeaks:
    """The largest figures seen of one device, in bytes, by counter; one that was never measured is missing."""

    largest: dict[str, int] = field(default_factory=dict)

    def see(self, name: str, size_bytes: int | None) -> None:
        """Take a figure; None is: not known."""
        if size_bytes is not None and size_bytes > self.largest.get(name, -1):
            self.largest[name] = size_bytes


class SessionFigures:
    """Takes a session's events, oldest first, in bounded memory. `durations` is by label value, `peaks` by device."""

    def __init__(self, max_phases: int) -> None:
        self.labels = PhaseLabels(max_phases)
        self.durations: dict[str, Durations] = {}
        self.peaks: dict[str, DevicePeaks] = {}
        self._fold = SummaryFold()

    def add(self, event: Mapping[str, Any]) -> tuple[Scope | None, Span | None]:
        """Take the next event. What it says of a phase is returned, and the span that it ends, if any."""
        scope, span = self._fold.add(event)
        self._see_device(event, span)
        if scope is not None:
            label = self.labels.label(scope.path)
            if span is not None and span.duration_ns is not None and not span.exhausted:
                self.durations.setdefault(label, Durations()).add(span.duration_ns)
        return scope, span

    def figures(self, missed: int = 0, damaged: int = 0) -> Figures:
        """Return what came of the events so far. `missed` and `damaged` are the reader's counts."""
        summary = self._fold.summary(missed, damaged)
        phases: dict[str, PhaseFigures] = {}
        for row in summary.rows:
            phases.setdefault(self.labels.label(row.path), PhaseFigures()).take(row)
        return Figures(summary, phases)

    def _see_device(self, event: Mapping[str, Any], span: Span | None) -> None:
        key = device_of(event)
        if key is None:
            return
        device = device_label(*key)
        peaks = self.peaks.get(device)
        if peaks is None:
            if len(self.peaks) >= _MAX_DEVICES:
                return
            peaks = self.peaks[device] = DevicePeaks()
        unknown = unavailable(event)
        for name, counter in _COUNTERS.items():
            if counter not in unknown:
                peaks.see(name, size_or_none(event.get(counter)))
        if span is not None:
            peaks.see("allocated", span.peak_allocated_bytes)
