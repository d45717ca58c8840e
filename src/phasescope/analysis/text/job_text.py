"""The ranks of a job as text for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import (
    UNKNOWN,
    Column,
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

    from phasescope.analysis.jobs.job import Job, PhaseByRank, RankRow

_COLUMNS = (
    Column("rank"),
    Column("host", right=False, flexible=True),
    Column("pid"),
    Column("state", right=False),
    Column("phase", right=False, flexible=True),
    Column("allocated"),
    Column("peak"),
    Column("steps"),
)
_SLOW = 1.1
_MAX_SLOW = 3
_MAX_MISSING = 8
_LONGEST_PATH = 60


def job_report(job: Job, width: int | None) -> str:
    """The ranks' table, and below it what stands out; lines of the table stay within `width` where that is possible."""
    return "\n".join([*table(_COLUMNS, map(_cells, job.ranks), width), *_remarks(job)])


def _cells(row: RankRow) -> list[str]:
    device = next((each for each in row.devices if each.label != "host"), next(iter(row.devices), None))
    steps = UNKNOWN if row.steps is None else count_text(row.steps)
    return [
        *rank_cells(row),
        size_text(None if device is None else device.allocated_bytes),
        size_text(row.peak_allocated_bytes),
        steps,
    ]


def rank_cells(row: RankRow) -> list[str]:
    """Who a rank is and how it fares: rank, host, pid, state and phase."""
    return [
        UNKNOWN if row.rank is None else str(row.rank),
        UNKNOWN if row.host is None else printable(row.host),
        UNKNOWN if row.pid is None else str(row.pid),
        row.ending.kind.replace("_", " "),
        UNKNOWN if row.phase is None else elide(path_text(row.phase), _LONGEST_PATH),
    ]


def missing_ranks(job: Job) -> Iterator[str]:
    """A line that names the ranks of which there is no session, where there are such."""
    if job.missing:
        named = ", ".join(map(str, job.missing[:_MAX_MISSING])) + (", …" if len(job.missing) > _MAX_MISSING else "")
        yield f"no session of {'rank' if len(job.missing) == 1 else 'ranks'} {named}"


def _remarks(job: Job) -> Iterator[str]:
    yield from missing_ranks(job)
    if job.fattest is not None:
        row = job.ranks[job.fattest]
        yield f"rank {row.rank} uses the most: {size_text(row.peak_allocated_bytes)}"
    if job.behind is not None and job.step_path is not None:
        row = job.ranks[job.behind]
        steps = f"{plural(row.steps_behind or 0, 'round')} of {elide(path_text(job.step_path), _LONGEST_PATH)}"
        yield f"rank {row.rank} ended {steps} short" if row.ending.is_over else f"rank {row.rank} is {steps} behind"
    yield from map(_slow, sorted(filter(_is_slow, job.phases), key=_slowdown, reverse=True)[:_MAX_SLOW])
    if len(job.hosts) > 1:
        yield job.clocks.text


def _is_slow(phase: PhaseByRank) -> bool:
    return _slowdown(phase) > _SLOW


def _slowdown(phase: PhaseByRank) -> float:
    return phase.slowdown or 0.0


def _slow(phase: PhaseByRank) -> str:
    at = phase.slowest or 0
    cell = phase.cells[at]
    mean_ns = None if cell is None else cell.mean_ns
    name = elide(path_text(phase.path), _LONGEST_PATH)
    return f"{name} is slowest in rank {phase.ranks[at]}: {duration_text(mean_ns)}, {_slowdown(phase):.1f} × the median"
