"""Memory that grows from step to step: on which device, how fast, until when it lasts, and in which phase.

A step is what `step_of` says. A device that no phase speaks of (the host beside a GPU) is followed by its samples, from
the first step on. Where there are no steps, or too few, nothing is judged: what a program loads and imports before it
begins is no growth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.devices import device_label, device_row
from phasescope.analysis.formatting import count_text, path_text
from phasescope.analysis.spans import (
    Scope,
    int_or_none,
    scope_of,
    size_or_none,
    unavailable,
)
from phasescope.analysis.statistics.trend import MIN_STEPS

from .child_processes import Crews
from .kept_memory import accounting_for, is_outside
from .phase_ends import Phases, Timed
from .reclaimable import (
    End,
    Files,
    Held,
    Own,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.statistics.trend import Trend

    from .few_looks import Unjudged
    from .phase_ends import Path

_MAX_DEVICES = 64
_SEEN_BY_SAMPLES = 0.25  # of what the ends of phases say, the samples must see so much

HOST = "host"
WORKERS = "workers"
"""The device name of the process's children, whatever they are."""


@dataclass(frozen=True)
class Children:
    """The child processes: how many are `alive`, whether those that are spoken of are a DataLoader's, the pids of those
    that grow, and where they were `left_behind`: none ended of those that were started at `starts` different times."""

    alive: int
    are_data_workers: bool
    growing: tuple[int, ...]
    left_behind: bool
    starts: int


@dataclass(frozen=True)
class Growth:
    """How one device's memory developed. Sizes in bytes; None is: not known.

    `grows` is the verdict; the rates are the best estimate with its bounds either way. `per` is the phase of which
    one entry is a step, None where `steps` counts samples. `phases` are those in which the memory stays, by path: one,
    or several in a row where one frees what another allocates and only together they keep something. `retained_bytes`
    says for each phase what it keeps per step, less what those inside it keep; `outside`: it is between the phases that
    the memory stays. `hours_until_full` is from the last event on, at the estimated rate.

    `children` is there where the device is `WORKERS`. `unclear`: it may grow, and varies too much to tell.

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
    outside: bool = False
    children: Children | None = None
    unclear: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **asdict(self),
            "per": None if self.per is None else list(self.per),
            "phases": [list(path) for path in self.phases],
            "retained_bytes": [{"path": list(path), "bytes_per_step": kept} for path, kept in self.retained_bytes],
            "children": None if self.children is None else asdict(self.children),
        }


def growth(events: Iterable[Mapping[str, Any]]) -> list[Growth]:
    """What can be said of each device of one session, oldest event first; those that grow come first."""
    fold = GrowthFold()
    for event in events:
        fold.add(event)
    return fold.result()


class GrowthFold:
    """Takes events one by one, in bounded memory. `mapped_bytes`: how much of the process's resident set were pages of
    mapped files at the last sample of the host; None where that is not known."""

    def __init__(self) -> None:
        self._phases: dict[str, Phases] = {}
        self._sampled: dict[str, Timed] = {}
        self._rooms: dict[str, int] = {}
        self._entered = False
        self._crews = Crews()
        self._files = Files()
        self._own = Own()
        self._held = Held(lambda end: self._ended(HOST, *end))
        self.mapped_bytes: int | None = None

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
        elif event_type == "phase_enter":
            self._entered = True

    def _exit(self, event: Mapping[str, Any], scope: Scope) -> None:
        label = _label(event)
        allocated = size_or_none(event.get("allocator_allocated_bytes"))
        if label is None or allocated is None or "allocator_allocated_bytes" in unavailable(event):
            return
        if event["metadata"].get("exhausted") is True:  # it only found that there are no more steps
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
        if label == HOST and self._held.is_known:
            self._held.add(End(path, allocated, delta or 0, time_ns, duration_ns or 0))
        else:
            self._ended(label, path, allocated, delta or 0, time_ns, duration_ns or 0)

    def _ended(self, label: str, path: Path, allocated: int, delta: int, time_ns: int | None, duration_ns: int) -> None:
        phases = self._phases.get(label)
        if phases is None:
            if len(self._phases) == _MAX_DEVICES:
                return
            phases = self._phases[label] = Phases()
        if phases.ended(path, allocated, delta, time_ns, duration_ns):
            self._sampled.clear()  # the steps begin here
            self._own.begin()

    def _sample(self, event: Mapping[str, Any]) -> None:
        label = _label(event)
        if label is None or (label not in self._sampled and len(self._sampled) >= _MAX_DEVICES):
            return
        row = device_row(event)
        time_ns = int_or_none(event.get("timestamp_ns"))
        off = self._to_take_off(event, time_ns) if label == HOST else 0
        if row.allocated_bytes is not None:
            if label == HOST:
                self._own.sample(row.allocated_bytes - off)
            self._sampled.setdefault(label, Timed()).add(max(0, row.allocated_bytes - off), time_ns)
        if row.free_bytes is not None:
            self._rooms[label] = row.free_bytes
        if label == HOST:
            self._crews.take(event)

    def _to_take_off(self, event: Mapping[str, Any], time_ns: int | None) -> int:
        """How many bytes of the resident set are no memory of the process's own, less those that it has elsewhere."""
        mapped = self._files.of(event)
        if mapped is None:
            return (self.mapped_bytes or 0) - self._files.swapped_bytes
        self.mapped_bytes = mapped
        self._held.sample(time_ns, mapped - self._files.swapped_bytes)
        return mapped - self._files.swapped_bytes

    def unjudged_workers(self) -> Unjudged | None:
        """Data workers that took much and of which it is not known whether they grow; None where none are."""
        return self._crews.unjudged()

    def result(self, *, is_over: bool = False) -> list[Growth]:
        """One for each device of which there is enough; those that grow first, the fastest before the others. Where
        the session is over, no more looks at its children will come, and fewer must do."""
        if not any(phases.judged() for phases in self._phases.values()):
            return []
        found = [self._by_step(label, phases) for label, phases in self._phases.items()]
        found += [self._by_time(label, timed) for label, timed in self._sampled.items() if label not in self._phases]
        found.append(self._of_children(is_over))
        known = [growth for growth in found if growth is not None]
        return sorted(known, key=lambda growth: (not growth.grows, -(growth.bytes_per_hour or 0)))

    def why_not_judged(self) -> str | None:
        """Why nothing can be said of any device, as the end of a sentence; None where something can."""
        if self.result():
            return None
        most = [found for phases in self._phases.values() if (found := phases.most()) is not None]
        if self._held.waiting >= MIN_STEPS:
            return "no sample of the host says how much of it is mapped from files"
        if not most:
            return "no phase has ended so far" if self._entered else "no phase was entered"
        path, ends = max(most, key=lambda found: (found[1].count, found[1].total_ns))
        if ends.count >= MIN_STEPS:
            return "what it holds was not measured"
        times = "once" if ends.count == 1 else f"{count_text(ends.count)} times"
        return f"{path_text(path)} ended {times}, and it takes {MIN_STEPS} steps to tell"

    def _by_step(self, label: str, phases: Phases) -> Growth | None:
        found = phases.judged()
        if found is None:
            return None
        step, ends = found
        trend = ends.levels.series.trend()
        if trend is not None and label == HOST and self._held.is_known:
            # Between two samples a file may be mapped, read and closed: what stays is there at the samples as well.
            stays = self._own.risen() >= _SEEN_BY_SAMPLES * trend.slope * trend.steps
            trend = trend._replace(grows=trend.grows and stays)
        return None if trend is None else self._growth(label, trend, ends.levels, step, phases)

    def _by_time(self, label: str, timed: Timed) -> Growth | None:
        trend = timed.series.trend()
        return None if trend is None else self._growth(label, trend, timed, None, None)

    def _of_children(self, is_over: bool) -> Growth | None:
        found = self._crews.grown(is_over=is_over)
        if found is None:
            return None
        children = Children(found.alive, found.are_data_workers, found.growing, found.left_behind, found.crews)
        return replace(self._growth(WORKERS, found.trend, found.timed, None, None), children=children)

    def _growth(self, label: str, trend: Trend, timed: Timed, step: Path | None, phases: Phases | None) -> Growth:
        hours = timed.hours
        per_hour = trend.slope * timed.series.steps / hours if hours else None
        room = self._rooms.get("host" if label == WORKERS else label)
        rates = None if phases is None else phases.rates()
        retained = () if phases is None or rates is None else tuple(phases.retained(rates))
        level = trend.slope if rates is None else rates.level
        return Growth(
            device=label,
            grows=trend.grows,
            unclear=trend.unclear,
            per=step,
            steps=timed.series.steps,
            bytes_per_step=trend.slope,
            low_bytes_per_step=trend.low,
            high_bytes_per_step=trend.high,
            bytes_per_hour=per_hour,
            hours_until_full=room / per_hour if trend.grows and room is not None and per_hour else None,
            phases=accounting_for(level, retained) if trend.grows else (),
            retained_bytes=retained,
            outside=trend.grows and bool(retained) and is_outside(level, retained),
        )


def _label(event: Mapping[str, Any]) -> str | None:
    metadata, device_id = event.get("metadata"), int_or_none(event.get("device_id"))
    backend = metadata.get("backend") if isinstance(metadata, dict) else None
    return None if device_id is None or not isinstance(backend, str) else device_label(backend, device_id)
