"""The ranks of a job as text for a person: beside a summary, and compared by phase, with the outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import (
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

from .state_word import state_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.analysis.jobs.imbalance import Imbalance, Outlier, Ranks
    from phasescope.analysis.jobs.job import Job, PhaseByRank, RankRow

_RANK = (
    Column("rank"),
    Column("host", right=False, flexible=True),
    Column("pid"),
    Column("state", right=False),
    Column("phase", right=False, flexible=True),
)
_COLUMNS = (
    *_RANK,
    Column("allocated"),
    Column("peak"),
    Column("steps"),
)
_COMPARED = (
    *_RANK,
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
_SLOW = 1.1
_MAX_SLOW = 3
_MAX_MISSING = 8
_LONGEST_PATH = 60
_MAX_TOLD = 5


def job_report(job: Job, width: int | None) -> str:
    """Return the ranks' table, and below it the outliers; lines of the table stay within `width` if possible."""
    return "\n".join([*table(_COLUMNS, map(_cells, job.ranks), width), *_remarks(job)])


def _cells(row: RankRow) -> list[str]:
    device = next((each for each in row.devices if each.label != "host"), next(iter(row.devices), None))
    return [
        *_rank_cells(row),
        size_text(None if device is None else device.allocated_bytes),
        size_text(row.peak_allocated_bytes),
        _steps_cell(row),
    ]


def _rank_cells(row: RankRow) -> list[str]:
    """Return the cells of a rank: rank, host, pid, state and phase."""
    return [
        UNKNOWN if row.rank is None else str(row.rank),
        UNKNOWN if row.host is None else printable(row.host),
        UNKNOWN if row.pid is None else str(row.pid),
        state_word(row.ending),
        UNKNOWN if row.phase is None else _name(row.phase),
    ]


def _steps_cell(row: RankRow) -> str:
    return UNKNOWN if row.steps is None else count_text(row.steps)


def behind(job: Job) -> Iterator[str]:
    """Yield a line that names the rank that is behind, if there is one."""
    if job.behind is not None and job.step_path is not None:
        row = job.ranks[job.behind]
        steps = f"{plural(row.steps_behind or 0, 'round')} of {_name(job.step_path)}"
        yield f"rank {row.rank} ended {steps} short" if row.ending.is_over else f"rank {row.rank} is {steps} behind"


def missing_ranks(job: Job) -> Iterator[str]:
    """Yield a line that names the ranks that have no session, if there are any."""
    if job.missing:
        named = ", ".join(map(str, job.missing[:_MAX_MISSING])) + (", …" if len(job.missing) > _MAX_MISSING else "")
        yield f"no session of {'rank' if len(job.missing) == 1 else 'ranks'} {named}"


def fattest(job: Job) -> Iterator[str]:
    """Yield a line that names the rank with the highest peak, if one stands out."""
    if job.fattest is not None:
        row = job.ranks[job.fattest]
        yield f"rank {row.rank} uses the most: {size_text(row.peak_allocated_bytes)}"


def _remarks(job: Job) -> Iterator[str]:
    yield from missing_ranks(job)
    yield from fattest(job)
    yield from behind(job)
    yield from map(_slow, sorted(filter(_is_slow, job.phases), key=_slowdown, reverse=True)[:_MAX_SLOW])
    if len(job.hosts) > 1:
        yield job.clocks.text


def _is_slow(phase: PhaseByRank) -> bool:
    return _slowdown(phase) > _SLOW


def _slowdown(phase: PhaseByRank) -> float:
    return phase.slowdown or 0.0


def _slow(phase: PhaseByRank) -> str:
    slowest = phase.slowest or 0
    cell = phase.cells[slowest]
    mean_ns = None if cell is None else cell.mean_ns
    took = f"{duration_text(mean_ns)}, {_slowdown(phase):.1f} × the median"
    return f"{_name(phase.path)} is slowest in rank {phase.ranks[slowest]}: {took}"


class RankReport(NamedTuple):
    """The lines: two tables, titles first, and the remarks."""

    ranks: list[str]
    phases: list[str]
    remarks: list[str]


def rank_report(ranks: Ranks, width: int | None = None) -> RankReport:
    """Return the report on a job. Lines of the tables stay within `width` columns if possible (None: no limit)."""
    return RankReport(
        table(_COMPARED, _compared_cells(ranks), width),
        table(_PHASES, map(_phase_cells, ranks.phases), width),
        rank_remarks(ranks),
    )


def rank_remarks(ranks: Ranks) -> list[str]:
    """Return what stands out among the ranks, a sentence a line."""
    return list(_compared(ranks))


def _compared_cells(ranks: Ranks) -> Iterator[list[str]]:
    for row, step_ns in zip(ranks.job.ranks, ranks.step_ns, strict=True):
        who = [*_rank_cells(row), _steps_cell(row), duration_text(step_ns)]
        yield from _device_cells(row, who)


def _device_cells(row: RankRow, who: list[str]) -> Iterator[list[str]]:
    """Yield a line for each device; the first one names the rank."""
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


def _compared(ranks: Ranks) -> Iterator[str]:
    job = ranks.job
    yield from missing_ranks(job)
    yield from behind(job)
    if job.step_path is None:
        yield "which rank is behind is not known: events of some are lost, or they have no phase in common"
    if ranks.is_balanced:
        yield "no imbalance beyond the noise"
    yield from _slow_ranks(ranks)
    yield from _fat(ranks)
    if len(job.hosts) > 1:
        yield job.clocks.text


def _slow_ranks(ranks: Ranks) -> Iterator[str]:
    slow_phases = _innermost([(phase.path, phase.slowest) for phase in ranks.phases if phase.slowest is not None])
    for path, slow in slow_phases[:_MAX_TOLD]:
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
    if len(ranks.job.ranks) == 2 and len({slow.at for _, slow in slow_phases}) == 2:
        yield "of two ranks that are slow in different phases, one may only wait for the other there"


def _fat(ranks: Ranks) -> Iterator[str]:
    """Yield one line for each rank that uses most: it holds the same memory in many phases."""
    fat_phases = _innermost([(phase.path, phase.fattest) for phase in ranks.phases if phase.fattest is not None])
    for place in dict.fromkeys(outlier.at for _, outlier in fat_phases):
        path, fat = next(entry for entry in fat_phases if entry[1].at == place)
        more = sum(outlier.at == place for _, outlier in fat_phases) - 1
        where = _name(path) + (f" and {plural(more, 'more phase')}" if more else "")
        yield (
            f"rank {fat.rank} uses the most in {where}: "
            f"{size_text(fat.value)}, the others {size_text(fat.usual)} (noise {size_text(fat.noise)})"
        )


def _innermost(outliers: list[tuple[tuple[str, ...], Outlier]]) -> list[tuple[tuple[str, ...], Outlier]]:
    """Leave out phases inside which the same rank stands out again; the largest differences come first."""

    def is_around(path: tuple[str, ...], outlier: Outlier) -> bool:
        inner = (other for other, each in outliers if each.at == outlier.at and len(other) > len(path))
        return any(other[: len(path)] == path for other in inner)

    kept = [(path, outlier) for path, outlier in outliers if not is_around(path, outlier)]
    return sorted(kept, key=lambda entry: -abs(entry[1].difference))


def _name(path: tuple[str, ...]) -> str:
    return elide(path_text(path), _LONGEST_PATH)
