"""How the ranks of a job differ in each phase, by more than chance: the slowest, the fattest, and who is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.statistics.confidence import median_error_ns, memory_noise_bytes, time_noise_ns

from .job import job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.analysis.summary.phase_tree import Row

    from .job import Job, Member

SCHEMA_VERSION = 1
"""Of `Ranks.to_dict()`; a key may be added without a new version."""

_SPREADS = 3
_FEWEST_ENTRIES = 3
_TELLS_WAITING = 3  # of two ranks, one that is quick and one that is slow are the same thing


class Outlier(NamedTuple):
    """A rank whose figure lies apart from the others': `at` is its position in the job's ranks, `usual` the median of
    the others, `noise` how much may be chance. In ns or bytes, as the figure is."""

    at: int
    rank: int | None
    value: int
    usual: int
    noise: int

    @property
    def difference(self) -> int:
        """How far above the others it is, or below them."""
        return self.value - self.usual

    def to_dict(self) -> dict[str, Any]:
        """Return the outlier as JSON types."""
        return {**self._asdict(), "difference": self.difference}


@dataclass(frozen=True)
class Imbalance:
    """One phase in all ranks. Each of the outliers is None if no rank lies apart by more than chance.

    `slowest` and `quickest` are by the median time of the phase's entries, `fattest` is by the peak of allocated
    memory. `quickest` is set for three ranks and more, and only if none is slow: then the others wait there for
    that rank, or have more to do. `usual_ns` and `usual_bytes` are the medians of all ranks.
    """

    path: tuple[str, ...]
    usual_ns: int | None
    usual_bytes: int | None
    slowest: Outlier | None
    quickest: Outlier | None
    fattest: Outlier | None

    @property
    def is_balanced(self) -> bool:
        """Whether all ranks are alike here."""
        return self.slowest is None and self.quickest is None and self.fattest is None

    def to_dict(self) -> dict[str, Any]:
        """Return the phase as JSON types."""
        outliers = {
            name: None if outlier is None else outlier.to_dict()
            for name, outlier in (("slowest", self.slowest), ("quickest", self.quickest), ("fattest", self.fattest))
        }
        return {"path": list(self.path), "usual_ns": self.usual_ns, "usual_bytes": self.usual_bytes, **outliers}


@dataclass(frozen=True)
class Ranks:
    """A job and its imbalances, in the order of its phases. `step_ns` is each rank's median time of a step."""

    job: Job
    step_ns: tuple[int | None, ...]
    phases: tuple[Imbalance, ...]

    @property
    def is_balanced(self) -> bool:
        """Whether no phase shows a difference beyond chance."""
        return all(phase.is_balanced for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Return the ranks as JSON types; docs/cli.md has the schema."""
        return {
            "schema_version": SCHEMA_VERSION,
            **self.job.to_dict(),
            "step_ns": list(self.step_ns),
            "balanced": self.is_balanced,
            "imbalances": [phase.to_dict() for phase in self.phases],
        }


def ranks(members: Sequence[Member]) -> Ranks:
    """Return the ranks of one job. Raises ValueError without any."""
    made = job(members)
    by_id = {member.constants.get("session_id"): member.summary for member in members}
    tables = [{row.path: row for row in by_id[rank.session_id].rows} for rank in made.ranks]
    named = [rank.rank for rank in made.ranks]
    steps = [None if made.step_path is None else table.get(made.step_path) for table in tables]
    return Ranks(
        made,
        tuple(None if row is None else row.p50_ns for row in steps),
        tuple(_imbalance(phase.path, [table.get(phase.path) for table in tables], named) for phase in made.phases),
    )


def _imbalance(path: tuple[str, ...], rows: Sequence[Row | None], named: Sequence[int | None]) -> Imbalance:
    times = [None if row is None or row.count < _FEWEST_ENTRIES else row.p50_ns for row in rows]
    peaks = [None if row is None else row.peak_allocated_bytes for row in rows]
    errors = [0.0 if row is None else median_error_ns(row.p25_ns, row.p75_ns, row.count) for row in rows]
    on_host = any("host" in row.devices for row in rows if row is not None)

    def time_noise(index: int, others: Sequence[int], usual: int) -> int:
        return time_noise_ns(usual, errors[index], median(errors[other] for other in others))

    def memory_noise(index: int, others: Sequence[int], usual: int) -> int:
        return memory_noise_bytes(usual, on_host=on_host)

    slowest = _outlier(times, named, time_noise)
    tells_waiting = slowest is None and len(_known(times)) >= _TELLS_WAITING
    return Imbalance(
        path,
        _middle(times),
        _middle(peaks),
        slowest,
        _outlier(times, named, time_noise, lowest=True) if tells_waiting else None,
        _outlier(peaks, named, memory_noise),
    )


def _outlier(
    values: Sequence[int | None],
    named: Sequence[int | None],
    noise_of: Callable[[int, Sequence[int], int], int],
    *,
    lowest: bool = False,
) -> Outlier | None:
    """Return the rank with the highest (or lowest) figure, if it is further from the others than they are
    scattered."""
    figures = _known(values)
    if len(figures) < 2:
        return None
    index = min(figures, key=figures.__getitem__) if lowest else max(figures, key=figures.__getitem__)
    others = [other for other in figures if other != index]
    usual = round(median(figures[other] for other in others))
    spread = median(abs(figures[other] - usual) for other in others)
    noise = max(noise_of(index, others, usual), round(_SPREADS * spread))
    return Outlier(index, named[index], figures[index], usual, noise) if abs(figures[index] - usual) > noise else None


def _known(values: Sequence[int | None]) -> dict[int, int]:
    return {index: value for index, value in enumerate(values) if value is not None}


def _middle(values: Sequence[int | None]) -> int | None:
    figures = _known(values)
    return round(median(figures.values())) if figures else None
