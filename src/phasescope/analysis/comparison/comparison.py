"""Two sessions side by side, phase by phase: changes by more than chance, in time and in memory.

It works on the data of summaries (`Summary.to_dict()`), so that saved sessions can be compared as well as live ones.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.statistics.confidence import least_time_noise_ns, memory_noise_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA_VERSION = 1
"""Of `Comparison.to_dict()`; a key may be added without a new version."""

WORSE, BETTER, SAME, NEW, GONE, UNKNOWN = "worse", "better", "same", "new", "gone", "unknown"

JUDGED = (WORSE, BETTER, SAME)
"""Verdicts that compare two figures."""

_MAX_PHASES = 4096


@dataclass(frozen=True)
class Metric:
    """One figure of a phase. `key` is that of the summary's row; times in ns, sizes in bytes, more is worse."""

    name: str
    key: str
    unit: str


METRICS = (
    Metric("time", "p50_ns", "ns"),
    Metric("mean_time", "mean_ns", "ns"),
    Metric("p95_time", "p95_ns", "ns"),
    Metric("device_time", "device_time_ns", "ns"),
    Metric("peak_allocated", "peak_allocated_bytes", "bytes"),
    Metric("allocated_delta", "allocated_delta_mean_bytes", "bytes"),
)
"""The metrics compared. `time` is the median of a phase's entries, `allocated_delta` what one leaves on average."""


@dataclass(frozen=True)
class Change:
    """One metric of one phase before and after. `noise` is how much may be chance, in the metric's unit.

    `ratio` is after over before, None if before is not above 0. `verdict` is `worse`, `better` or `same`; `new` and
    `gone` if only one side has the phase, `unknown` if a figure is not known.
    """

    path: tuple[str, ...]
    metric: str
    unit: str
    before: int | None
    after: int | None
    noise: int | None
    ratio: float | None
    verdict: str

    @property
    def difference(self) -> int | None:
        """After less before."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """All changes, in the order of the phases; `counts` is how often each phase was entered, before and after."""

    changes: tuple[Change, ...]
    counts: tuple[tuple[tuple[str, ...], int | None, int | None], ...]

    def of(self, path: tuple[str, ...]) -> dict[str, Change]:
        """Return the changes of one phase by metric."""
        return {change.metric: change for change in self.changes if change.path == path}

    @property
    def is_comparable(self) -> bool:
        """Whether any figure of any phase is known on both sides."""
        return any(change.verdict in JUDGED for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON types; docs/explain.md has the schema."""
        return {
            "schema_version": SCHEMA_VERSION,
            "comparable": self.is_comparable,
            "phases": [
                {
                    "path": list(path),
                    "count_before": before,
                    "count_after": after,
                    "changes": [
                        {**_without_path(change), "difference": change.difference} for change in self.of(path).values()
                    ],
                }
                for path, before, after in self.counts
            ],
        }


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Compare two summaries as data. Raises ValueError if one is not a summary."""
    old, new = _rows(before, "the first"), _rows(after, "the second")
    paths = list(dict.fromkeys([*new, *old]))
    return Comparison(
        changes=tuple(change for path in paths for change in _changes(path, old.get(path), new.get(path))),
        counts=tuple((path, _count(old.get(path)), _count(new.get(path))) for path in paths),
    )


def _rows(summary: Mapping[str, Any], which: str) -> dict[tuple[str, ...], Mapping[str, Any]]:
    phases = summary.get("phases")
    if not isinstance(phases, list):
        raise ValueError(f"{which} is not a summary: it has no list `phases`")
    rows = {}
    for row in phases[:_MAX_PHASES]:
        path = row.get("path") if isinstance(row, dict) else None
        if not isinstance(path, list) or not all(isinstance(name, str) for name in path):
            raise ValueError(f"{which} is not a summary: a phase in it has no `path`")
        if path:
            rows[tuple(path)] = row
    return rows


def _changes(path: tuple[str, ...], old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[Change]:
    for metric in METRICS:
        before, after = _figure(old, metric), _figure(new, metric)
        if before is None and after is None:
            continue
        noise = _noise(metric, old, new) if old is not None and new is not None else None
        ratio = after / before if before is not None and after is not None and before > 0 else None
        verdict = _verdict(old, new, before, after, noise)
        yield Change(path, metric.name, metric.unit, before, after, noise, ratio, verdict)


def _figure(row: Mapping[str, Any] | None, metric: Metric) -> int | None:
    if row is None:
        return None
    value = int_or_none(row.get(metric.key))
    if metric.name == "device_time" and value is not None:
        timed = _timed(row)
        return value // timed if timed else None  # the row has the sum of them
    return value


def _verdict(old: object, new: object, before: int | None, after: int | None, noise: int | None) -> str:
    if old is None:
        return NEW
    if new is None:
        return GONE
    if before is None or after is None or noise is None:
        return UNKNOWN
    if abs(after - before) <= noise:
        return SAME
    return WORSE if after > before else BETTER


def _noise(metric: Metric, old: Mapping[str, Any], new: Mapping[str, Any]) -> int | None:
    before, after = _figure(old, metric), _figure(new, metric)
    if before is None or after is None:
        return None
    if metric.unit == "bytes":
        return memory_noise_bytes(before, on_host="host" in (*_devices(old), *_devices(new)))
    return _time_noise(metric, old, new, before, after)


def _time_noise(metric: Metric, old: Mapping[str, Any], new: Mapping[str, Any], before: int, after: int) -> int | None:
    """Return how far apart the two may lie by chance, each moved towards the other as far as its entries allow."""
    rises = after >= before
    before_off, after_off = _off(metric, old, before, above=rises), _off(metric, new, after, above=not rises)
    if before_off is None or after_off is None:
        return None
    counted = _timed if metric.name == "device_time" else _count
    entries = min(counted(old) or 0, counted(new) or 0)
    if metric.name == "p95_time":
        entries //= 20  # as many lie above it
    return max(least_time_noise_ns(before, entries), round(math.hypot(before_off, after_off)))


def _off(metric: Metric, row: Mapping[str, Any], figure: int, *, above: bool) -> float | None:
    """Return how far above the figure, or below it, the true one may lie; None if the row does not say."""
    side = "high" if above else "low"
    if metric.name != "device_time":
        bound = int_or_none(row.get(f"{metric.key.removesuffix('_ns')}_{side}_ns"))
        return None if bound is None else abs(bound - figure)
    # The device's times are known as a sum alone: they are taken to scatter as those of the phase do.
    mean, bound = int_or_none(row.get("mean_ns")), int_or_none(row.get(f"mean_{side}_ns"))
    return None if not mean or bound is None else abs(bound - mean) / mean * figure


def _devices(row: Mapping[str, Any]) -> list[Any]:
    devices = row.get("devices")
    return devices if isinstance(devices, list) else []


def _count(row: Mapping[str, Any] | None) -> int | None:
    value = None if row is None else row.get("count")
    return int_or_none(value)


def _timed(row: Mapping[str, Any] | None) -> int | None:
    """Return the number of entries of which the device's time is known."""
    return None if row is None else int_or_none(row.get("device_timed"))


def _without_path(change: Change) -> dict[str, Any]:
    return {key: value for key, value in asdict(change).items() if key != "path"}
