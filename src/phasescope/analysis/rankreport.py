"""The ranks of a job as text for a person: each rank, each phase in all of them, and what stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.text.job_text import missing_ranks, rank_cells

from .formatting import (
    UNKNOWN,
    Column,
    change_text,
    count_text,
    duration_text,
    elide,
    path_text,
    plural,
    printable,
    size_text,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.analysis.jobs.imbalance import Imbalance, Outlier, Ranks
    from phasescope.analysis.jobs.job import RankRow

_RANKS = (
    Column("rank"),
    Column("host", right=False, flexible=True),
    Column("pid"),
    Column("state", right=False),
    Column("phase", right=False, flexible=True),
    Column("steps"),
    Column("a step"),
    Column("device", right=False),
    Column("allocated"),
    Column("peak"),
)
_PHASES = (
    Column("phase of all ranks", right=False, flexible=True),
    Column("time"),
    Column("slowest"),
    Column("by"),
    Column("peak"),
    Column("fattest"),
    Column("by"),
)
_LONGEST_PATH = 60
_MAX_TOLD = 5


class RankReport(NamedTuple):
    """The lines: two tables, titles first, and the remarks."""

    ranks: list[str]
    phases: list[str]
    remarks: list[str]


def rank_report(ranks: Ranks, width: int | None = None) -> RankReport:
    """Lines of the tables stay within `width` columns where that is possible (None: no limit)."""
    return RankReport(
        table(_RANKS, _rank_cells(ranks), width),
        table(_PHASES, map(_phase_cells, ranks.phases), width),
        list(_remarks(ranks)),
    )


def _rank_cells(ranks: Ranks) -> Iterator[list[str]]:
    for row, step_ns in zip(ranks.job.ranks, ranks.step_ns, strict=True):
        who = [
            *rank_cells(row),
            UNKNOWN if row.steps is None else count_text(row.steps),
            duration_text(step_ns),
        ]
        yield from _device_cells(row, who)


def _device_cells(row: RankRow, who: list[str]) -> Iterator[list[str]]:
    """A line for each device; who it is stands in the first."""
    if not row.devices:
        yield [*who, UNKNOWN, UNKNOWN, UNKNOWN]
    for device in row.devices:
        yield [*who, device.label, size_text(device.allocated_bytes), size_text(device.peak_allocated_bytes)]
        who = [""] * len(who)


def _phase_cells(phase: Imbalance) -> list[str]:
    slow, fat = phase.slowest, phase.fattest
    return [
        "  " * (len(phase.path) - 1) + elide(printable(phase.path[-1]), _LONGEST_PATH),
        duration_text(phase.usual_ns),
        _rank(slow),
        "" if slow is None else "+" + duration_text(slow.difference),
        size_text(phase.usual_bytes),
        _rank(fat),
        "" if fat is None else change_text(fat.difference),
    ]


def _rank(outlier: Outlier | None) -> str:
    return "" if outlier is None else UNKNOWN if outlier.rank is None else str(outlier.rank)


def _remarks(ranks: Ranks) -> Iterator[str]:
    job = ranks.job
    yield from missing_ranks(job)
    if job.behind is not None and job.step_path is not None:
        row = job.ranks[job.behind]
        steps = plural(row.steps_behind or 0, "round")
        yield f"rank {row.rank} is {steps} of {elide(path_text(job.step_path), _LONGEST_PATH)} behind"
    elif job.step_path is None:
        yield "which rank is behind is not known: events of some are lost, or they have no phase in common"
    if ranks.is_balanced:
        yield "no imbalance beyond the noise"
    yield from _slow(ranks)
    yield from _fat(ranks)
    if len(job.hosts) > 1:
        yield job.clocks.text


def _slow(ranks: Ranks) -> Iterator[str]:
    found = _innermost([(phase.path, phase.slowest) for phase in ranks.phases if phase.slowest is not None])
    for path, slow in found[:_MAX_TOLD]:
        yield (
            f"rank {slow.rank} is slow in {_name(path)}: {duration_text(slow.value)}, the others "
            f"{duration_text(slow.usual)} (noise {duration_text(slow.noise)})"
        )
    waited = _innermost([(phase.path, phase.quickest) for phase in ranks.phases if phase.quickest is not None])
    for path, quick in waited[:_MAX_TOLD]:
        yield (
            f"in {_name(path)} the others wait for rank {quick.rank}, or have more to do: "
            f"{duration_text(quick.usual)}, rank {quick.rank} {duration_text(quick.value)}"
        )
    if len(ranks.job.ranks) == 2 and len({slow.at for _, slow in found}) == 2:
        yield "of two ranks that are slow in different phases, one may only wait for the other there"


def _fat(ranks: Ranks) -> Iterator[str]:
    """One line a rank: what it holds, it holds in many phases."""
    found = _innermost([(phase.path, phase.fattest) for phase in ranks.phases if phase.fattest is not None])
    for at in dict.fromkeys(outlier.at for _, outlier in found):
        path, fat = next(entry for entry in found if entry[1].at == at)
        more = sum(outlier.at == at for _, outlier in found) - 1
        where = _name(path) + (f" and {plural(more, 'more phase')}" if more else "")
        yield (
            f"rank {fat.rank} uses the most in {where}: "
            f"{size_text(fat.value)}, the others {size_text(fat.usual)} (noise {size_text(fat.noise)})"
        )


def _innermost(found: list[tuple[tuple[str, ...], Outlier]]) -> list[tuple[tuple[str, ...], Outlier]]:
    """Without those phases inside which the same rank stands out again; the largest differences first."""
    kept = [
        (path, outlier)
        for path, outlier in found
        if not any(
            inner.at == outlier.at and len(other) > len(path) and other[: len(path)] == path for other, inner in found
        )
    ]
    return sorted(kept, key=lambda entry: -abs(entry[1].difference))


def _name(path: tuple[str, ...]) -> str:
    return elide(path_text(path), _LONGEST_PATH)
