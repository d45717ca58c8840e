"""Memory that grows from step to step: on which device, how fast, until when it lasts, and in which phase.

A step is one entry of the outermost phase that is entered often enough to tell. A device that no phase speaks of (the
host beside a GPU) is followed by its samples instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .devices import device_label, device_row
from .spans import Scope, int_or_none, scope_of, size_or_none, unavailable
from .trend import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .trend import Trend

_MAX_PATHS = 256  # per session: two series each
_MAX_DEVICES = 64
_NS_PER_HOUR = 3.6e12
_EXPLAINS = 0.3  # phases account for a growth where what they keep is within this share of it

WORKERS = "workers"
"""The device name of the process's children, DataLoader workers for the most part."""


@dataclass(frozen=True)
class Growth:
    """How one device's memory developed. Sizes in bytes; None is: not known.

    `grows` is the verdict; the rates are the best estimate with its bounds either way. `per` is the phase of which
    one entry is a step, None where `steps` counts samples. `phases` are those in which the memory stays, by path: one,
    or several in a row where one frees what another allocates and only together they keep something. `retained_bytes`
    says for each phase what it keeps per step, less what those inside it keep. `hours_until_full` is from the last
    event on, at the estimated rate.

    On the host the phases are those in which the resident set grows: memory that was freed is used again, so what one
    phase keeps can show as growth of the next.
    """

    device: str
    grows: bool
    per: tuple[str, ...] | None
    steps: int
    bytes_per_step: float
    low_bytes_per_step: float
    high_bytes_per_step: float
    bytes_per_hour: float | None
    hours_until_full: float | None
    phases: tuple[tuple[str, ...], ...]
    retained_bytes: tuple[tuple[tuple[str, ...], float], ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **asdict(self),
            "per": None if self.per is None else list(self.per),
            "phases": [list(path) for path in self.phases],
            "retained_bytes": [{"path": list(path), "bytes_per_step": kept} for path, kept in self.retained_bytes],
        }


def growth(events: Iterable[Mapping[str, Any]]) -> list[Growth]:
    """What can be said of each device of one session, oldest event first; those that grow come first."""
    fold = GrowthFold()
    for event in events:
        fold.add(event)
    return fold.result()


class GrowthFold:
    """Takes events one by one, in bounded memory."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, tuple[str, ...]], _Path] = {}
        self._sampled: dict[str, _Timed] = {}
        self._rooms: dict[str, int] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        self.take(event, scope_of(event) if event.get("event_type") == "phase_exit" else None)

    def take(self, event: Mapping[str, Any], scope: Scope | None) -> None:
        """Take the next event with its `scope_of`."""
        event_type = event.get("event_type")
        if event_type == "phase_exit":
            if scope is not None:
                self._exit(event, scope)
        elif event_type == "sample":
            self._sample(event)

    def _exit(self, event: Mapping[str, Any], scope: Scope) -> None:
        label = _label(event)
        allocated = size_or_none(event.get("allocator_allocated_bytes"))
        if label is None or allocated is None or "allocator_allocated_bytes" in unavailable(event):
            return
        delta = int_or_none(scope.fields.get("allocated_delta_bytes"))
        time_ns = int_or_none(event.get("timestamp_ns"))
        self.ended(label, scope.path, allocated, delta, time_ns, size_or_none(scope.fields.get("duration_ns")))

    def ended(
        self,
        label: str,
        path: tuple[str, ...],
        allocated: int,
        delta: int | None,
        time_ns: int | None,
        duration_ns: int | None,
    ) -> None:
        """A phase has ended, on a device whose allocated bytes are known: what an exit event tells."""
        ends = self._paths.get((label, path))
        if ends is None:
            if len(self._paths) == _MAX_PATHS:
                return
            ends = self._paths[label, path] = _Path()
        ends.end(allocated, delta or 0, time_ns, duration_ns or 0)

    def _sample(self, event: Mapping[str, Any]) -> None:
        label = _label(event)
        if label is None or (label not in self._sampled and len(self._sampled) >= _MAX_DEVICES):
            return
        row = device_row(event)
        time_ns = int_or_none(event.get("timestamp_ns"))
        if row.allocated_bytes is not None:
            self._sampled.setdefault(label, _Timed()).add(row.allocated_bytes, time_ns)
        if row.free_bytes is not None:
            self._rooms[label] = row.free_bytes
        children = size_or_none(event["metadata"].get("children_resident_bytes"))
        if children:  # 0 is that there are none just now, between two epochs say, and nothing about those there are
            self._sampled.setdefault(WORKERS, _Timed()).add(children, time_ns)

    def result(self) -> list[Growth]:
        """One for each device of which there is enough; those that grow first, the fastest before the others."""
        found = [self._by_step(label) or self._by_time(label) for label in self._labels()]
        known = [growth for growth in found if growth is not None]
        return sorted(known, key=lambda growth: (not growth.grows, -(growth.bytes_per_hour or 0)))

    def _labels(self) -> list[str]:
        return list(dict.fromkeys([*(label for label, _ in self._paths), *self._sampled]))

    def _by_step(self, label: str) -> Growth | None:
        paths = {path: kept for (of, path), kept in self._paths.items() if of == label}
        trends = {path: found for path, kept in paths.items() if (found := kept.levels.series.trend()) is not None}
        if not trends:
            return None
        step = max(trends, key=lambda path: (paths[path].total_ns, -len(path)))
        retained = _retained(paths, paths[step].levels.series.steps)
        return self._growth(label, trends[step], paths[step].levels, step, retained)

    def _by_time(self, label: str) -> Growth | None:
        timed = self._sampled.get(label)
        trend = None if timed is None else timed.series.trend()
        return None if timed is None or trend is None else self._growth(label, trend, timed, None, [])

    def _growth(
        self,
        label: str,
        trend: Trend,
        timed: _Timed,
        step: tuple[str, ...] | None,
        retained: list[tuple[tuple[str, ...], float]],
    ) -> Growth:
        hours = timed.hours
        per_hour = trend.slope * timed.series.steps / hours if hours else None
        room = self._rooms.get("host" if label == WORKERS else label)
        return Growth(
            device=label,
            grows=trend.grows,
            per=step,
            steps=timed.series.steps,
            bytes_per_step=trend.slope,
            low_bytes_per_step=trend.low,
            high_bytes_per_step=trend.high,
            bytes_per_hour=per_hour,
            hours_until_full=room / per_hour if trend.grows and room is not None and per_hour else None,
            phases=accounting_for(trend.slope, retained) if trend.grows else (),
            retained_bytes=tuple(retained),
        )


class _Timed:
    """A series, and the time from its first figure to its last."""

    def __init__(self) -> None:
        self.series = Series()
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def add(self, value: int, time_ns: int | None) -> None:
        self.series.add(value)
        if time_ns is not None:
            if self._first_ns is None:
                self._first_ns = time_ns
            self._last_ns = time_ns

    @property
    def hours(self) -> float:
        return (
            0.0 if self._first_ns is None or self._last_ns is None else (self._last_ns - self._first_ns) / _NS_PER_HOUR
        )


class _Path:
    """What was allocated at each end of a phase, and all that it ever kept."""

    def __init__(self) -> None:
        self.levels = _Timed()
        self.kept = Series()
        self.total_ns = 0

    def end(self, allocated: int, delta: int, time_ns: int | None, duration_ns: int) -> None:
        self.levels.add(allocated, time_ns)
        self.kept.add(self.kept.last + delta)
        self.total_ns += duration_ns


def _retained(paths: Mapping[tuple[str, ...], _Path], steps: int) -> list[tuple[tuple[str, ...], float]]:
    """What each phase keeps per step by itself, in the order in which they first ended."""
    kept = {}
    for path, ends in paths.items():
        trend = ends.kept.trend()
        if trend is not None:
            kept[path] = trend.slope * ends.kept.steps / steps
    own = dict(kept)
    for path, per_step in kept.items():
        parent = path[:-1]
        if parent in own:
            own[parent] -= per_step
    return list(own.items())


def accounting_for(slope: float, retained: Sequence[tuple[tuple[str, ...], float]]) -> tuple[tuple[str, ...], ...]:
    """The fewest phases in a row that together keep as much per step as the memory grows, the nearest of them.

    Empty where none do: the memory is kept outside of phases, or by turns.
    """
    for length in range(1, len(retained) + 1):
        runs = [retained[at : at + length] for at in range(len(retained) - length + 1)]
        off = [abs(sum(kept for _, kept in run) - slope) for run in runs]
        nearest = min(range(len(runs)), key=off.__getitem__)
        if off[nearest] <= _EXPLAINS * abs(slope):
            return tuple(path for path, _ in runs[nearest])
    return ()


def _label(event: Mapping[str, Any]) -> str | None:
    metadata, device_id = event.get("metadata"), int_or_none(event.get("device_id"))
    backend = metadata.get("backend") if isinstance(metadata, dict) else None
    return None if device_id is None or not isinstance(backend, str) else device_label(backend, device_id)
