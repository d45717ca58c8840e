"""Memory that grows from step to step: on which device, how fast, until when it lasts, and in which phase.

`step_of` defines a step. A device that no phase speaks of (the host beside a GPU) is followed by its samples, from
the first step on. If there are no steps, or too few, nothing is judged: imports and loading before it
begins are not growth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.devices import device_row
from phasescope.analysis.event_fields import (
    Scope,
    device_label,
    device_of,
    int_or_none,
    scope_of,
    size_or_none,
    unavailable,
)
from phasescope.analysis.statistics.trend import SURE_STEPS

from .child_processes import Crews
from .kept_memory import accounting_for, is_outside
from .phase_ends import Phases, Timed
from .rare_growth import by_entries, by_few_entries
from .reclaimable import (
    Files,
    Held,
    Own,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phasescope.analysis.statistics.trend import Trend

    from .end_batches import EndsOfPath
    from .few_looks import Unjudged
    from .phase_ends import Path

_MAX_DEVICES = 64
_LITTLE_BYTES, _SHORT_HOURS = 16 << 20, 1 / 60  # less than this in less than that
_SOME_BYTES, _MOMENT_HOURS = 64 << 20, 1 / 3600  # the same in a loop so fast that a cache fills between a few samples
_MOST_WAITING = 0.25  # of the ends of phases: may come after the last sample
_SEEN_BY_SAMPLES = 0.25  # of the rise at the ends of phases: the samples must see this share

HOST = "host"
WORKERS = "workers"
"""The device name of the process's children, whatever they are."""


@dataclass(frozen=True)
class Children:
    """The child processes.

    `alive` is how many there are, `are_data_workers` whether those meant are a DataLoader's, `growing` the pids of
    those that grow. `left_behind`: none ended of those that were started at `starts` different times. `copy_pages`: the
    growth is copies of pages that they had shared with this process: reading Python objects makes them, since it counts
    references. `new_memory`: it is not one of these, but memory that they took themselves.
    """

    alive: int
    are_data_workers: bool
    growing: tuple[int, ...]
    left_behind: bool
    starts: int
    copy_pages: bool = False
    new_memory: bool = False


@dataclass(frozen=True)
class Growth:
    """How one device's memory developed. Sizes in bytes; None if unknown.

    `grows` is the verdict; the rates are the best estimate with its bounds either way, by the last `recent_steps` of
    all `steps`. `per` is the phase of which one entry is a step, None if samples are counted. If it is `rare`, it grows
    at the entries of a phase that ended more seldom than the steps, an evaluation or an epoch: then `per` is that
    phase, and its entries are counted, each of which has `steps_per_entry` of the usual steps. `phases` are those in
    which the memory stays, by path: one, or several in a row if one frees what another allocates and only together
    they keep something. `retained_bytes` says for each phase what it keeps per step, less what those inside it keep;
    `outside`: it is between the phases that the memory stays. `hours_until_full` is from the last event on, at the
    estimated rate.

    `children` is set if the device is `WORKERS`. `unclear`: it may grow, and varies too much to tell, or, if it is
    `little` as well, rose by too little in too short a time, or if it is `few` as well, over fewer than `SURE_STEPS`,
    or if it is `rare` as well, at too few entries, or if it is `trained` as well, of gradients and an optimizer's state
    alone. What is `few` or `little` and still `grows` is for `few_steps.judged` to decide.

    On the host the phases are those in which the resident set grows: freed memory is used again, so what one
    phase keeps can show as growth of the next.
    """

    device: str
    grows: bool
    per: tuple[str, ...] | None
    steps: int
    recent_steps: int
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
    little: bool = False
    rare: bool = False
    few: bool = False
    trained: bool = False
    steps_per_entry: float = 1.0

    @property
    def bytes_per_usual_step(self) -> float:
        """The rate by the usual steps, also if it grows at the entries of a rarer phase."""
        return self.bytes_per_step / self.steps_per_entry

    def to_dict(self) -> dict[str, Any]:
        """Return the growth as JSON types."""
        return {
            **asdict(self),
            "per": None if self.per is None else list(self.per),
            "phases": [list(path) for path in self.phases],
            "retained_bytes": [{"path": list(path), "bytes_per_step": kept} for path, kept in self.retained_bytes],
            "children": None if self.children is None else asdict(self.children),
        }


def _is_little(levels: Timed) -> bool:
    """Return whether the C library's heap may do that by settling.

    In the first seconds of a training it creeps on by some pages a step, steadily, and then stops.
    """
    risen, hours = levels.series.risen, levels.hours
    return (risen < _LITTLE_BYTES and hours < _SHORT_HOURS) or (risen < _SOME_BYTES and hours < _MOMENT_HOURS)


def growth(events: Iterable[Mapping[str, Any]]) -> list[Growth]:
    """Return the growth of each device of one session, oldest event first; those that grow come first."""
    fold = GrowthFold()
    for event in events:
        fold.add(event)
    return fold.result()


class GrowthFold:
    """Takes events one by one, in bounded memory. `mapped_bytes`: how much of the process's resident set were pages of
    mapped files at the last sample of the host; None if that is not known."""

    def __init__(self) -> None:
        self._phases: dict[str, Phases] = {}
        self._sampled: dict[str, Timed] = {}
        self._rooms: dict[str, int] = {}
        self._crews = Crews()
        self._files = Files()
        self._own = Own()
        self._held = Held(lambda ended: self._ended(HOST, ended))
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

    def _exit(self, event: Mapping[str, Any], scope: Scope) -> None:
        label = _label(event)
        allocated = size_or_none(event.get("allocator_allocated_bytes"))
        if label is None or allocated is None or "allocator_allocated_bytes" in unavailable(event):
            return
        if event["metadata"].get("exhausted") is True:  # it only found the steps to be exhausted
            return
        delta = int_or_none(scope.fields.get("allocated_delta_bytes"))
        time_ns = int_or_none(event.get("timestamp_ns"))
        duration_ns = size_or_none(scope.fields.get("duration_ns")) or 0
        self.ended(label, [(scope.path, [(0, allocated, delta or 0, time_ns, duration_ns)])])

    def ended(self, label: str, ended: Sequence[EndsOfPath]) -> None:
        """Take ends of phases on a device whose allocated bytes are known, since the last event that was taken."""
        if label == HOST and self._held.is_known:
            self._held.add(ended)
        else:
            self._ended(label, ended)

    def _ended(self, label: str, ended: Sequence[EndsOfPath]) -> None:
        phases = self._phases.get(label)
        if phases is None:
            if len(self._phases) == _MAX_DEVICES:
                return
            phases = self._phases[label] = Phases()
        is_one = len(ended) == 1 and len(ended[0][1]) == 1
        if not is_one and phases.ended_many(ended):
            return
        in_order = sorted((end, path) for path, ends in ended for end in ends)
        for (_, allocated, change, time_ns, duration_ns), path in in_order:
            if phases.ended(path, allocated, change, time_ns, duration_ns):
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
        """Return how many bytes of the resident set are not the process's own, less those that it has elsewhere."""
        mapped = self._files.of(event)
        if mapped is None:
            return (self.mapped_bytes or 0) - self._files.swapped_bytes
        self.mapped_bytes = mapped
        self._held.sample(time_ns, mapped - self._files.swapped_bytes)
        return mapped - self._files.swapped_bytes

    def unjudged_workers(self) -> Unjudged | None:
        """Return children that took much and of which it is not known whether they grow; None if there are none."""
        return self._crews.unjudged()

    def result(self) -> list[Growth]:
        """Return the growth of each device with enough figures: those that grow first, of these the fastest."""
        if not any(phases.judged() for phases in self._phases.values()):
            return []
        growths = [self._by_step(label, phases) for label, phases in self._phases.items()]
        growths += [self._by_time(label, timed) for label, timed in self._sampled.items() if label not in self._phases]
        growths.append(self._of_children())
        judged = [growth for growth in growths if growth is not None]
        return sorted(judged, key=lambda growth: (not growth.grows, -(growth.bytes_per_hour or 0)))

    @property
    def waiting(self) -> int:
        """How many ends of phases cannot be judged by so far: no sample came after them."""
        return self._held.waiting

    def _by_step(self, label: str, phases: Phases) -> Growth | None:
        judged = phases.judged()
        if judged is None or (label == HOST and self._is_cut_short()):
            return None
        step, ends = judged
        trend = ends.levels.series.trend()
        if trend is not None and label == HOST and self._held.is_known:
            # Between two samples a file may be mapped, read and closed: memory that stays is there at the samples too.
            stays = self._own.risen() >= _SEEN_BY_SAMPLES * trend.slope * trend.steps
            trend = trend._replace(grows=trend.grows and stays)
        if trend is None:
            return None
        growth = self._growth(label, trend, ends.levels, step, phases)
        if trend.grows and label == HOST and _is_little(ends.levels):
            return replace(growth, little=True, few=False)
        return by_entries(by_few_entries(growth, phases), phases)

    def _is_cut_short(self) -> bool:
        """Return whether so much came after the last sample that what can be judged may be a start-up alone."""
        taken = sum(ends.count for ends in self._phases[HOST].ends.values())
        return self._held.waiting > _MOST_WAITING * (taken + self._held.waiting)

    def _by_time(self, label: str, timed: Timed) -> Growth | None:
        trend = timed.series.trend()
        return None if trend is None else self._growth(label, trend, timed, None, None)

    def _of_children(self) -> Growth | None:
        grown = self._crews.grown()
        if grown is None:
            return None
        children = Children(
            grown.alive,
            grown.are_data_workers,
            grown.growing,
            grown.left_behind,
            grown.crews,
            grown.copy_pages,
            grown.new_memory,
        )
        return replace(self._growth(WORKERS, grown.trend, grown.timed, None, None), children=children)

    def _growth(self, label: str, trend: Trend, timed: Timed, step: Path | None, phases: Phases | None) -> Growth:
        hours = timed.hours
        per_hour = trend.slope * timed.series.steps / hours if hours else None
        room = self._rooms.get("host" if label == WORKERS else label)
        rates = None if phases is None else phases.rates()
        retained = () if phases is None or rates is None else tuple(phases.retained(rates))
        level, rare = trend.slope if rates is None else rates.level, () if phases is None else phases.rare()
        return Growth(
            device=label,
            grows=trend.grows,
            unclear=trend.unclear,
            few=trend.grows and label != WORKERS and timed.series.steps < SURE_STEPS,
            per=step,
            steps=timed.series.steps,
            recent_steps=trend.recent_steps,
            bytes_per_step=trend.slope,
            low_bytes_per_step=trend.low,
            high_bytes_per_step=trend.high,
            bytes_per_hour=per_hour,
            hours_until_full=room / per_hour if trend.grows and room is not None and per_hour else None,
            phases=accounting_for(level, retained, rare) if trend.grows else (),
            retained_bytes=retained,
            outside=trend.grows and bool(retained) and is_outside(level, retained),
        )


def _label(event: Mapping[str, Any]) -> str | None:
    device = device_of(event)
    return None if device is None else device_label(*device)
