"""The sessions that are the ranks of one job, by the constants that they stated when they began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.jobs.families import started_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NO_JOB = ("none", "")
"""torchrun's run id if it was given none."""

_START_APART_NS = 600_000_000_000


def group(sessions: Iterable[Mapping[str, Any]]) -> list[list[int]]:
    """Group sessions into jobs, by their constants: lists of positions, by rank. A session alone is a list of one.

    A job is one job id and world size, on however many hosts; without a job id it is one host's. A new run of the job
    has begun if a rank comes again, or, without a job id, if one starts ten minutes after the others. The job that
    started last is first.
    """
    constants = list(sessions)
    runs: list[list[int]] = []
    running: dict[tuple[Any, ...], list[int]] = {}
    for index in sorted(range(len(constants)), key=lambda index: (started_ns(constants[index]), index)):
        key = _key(constants[index])
        run = running.get(key) if key is not None else None
        if run is None or _begins_anew(constants, run, index):
            run = []
            runs.append(run)
            if key is not None:
                running[key] = run
        run.append(index)
    for run in runs:
        run.sort(key=lambda index: (rank_of(constants[index]), index))
    return sorted(runs, key=lambda run: min(started_ns(constants[index]) for index in run), reverse=True)


def _key(constants: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return a key that is equal for sessions that may be one job; None if it is alone."""
    world_size = int_or_none(constants.get("world_size"))
    if world_size is None or world_size < 2:
        return None
    job_id = constants.get("job_id")
    if isinstance(job_id, str) and job_id not in NO_JOB:
        return (job_id, world_size)
    host = constants.get("host")
    return (None, world_size, host if isinstance(host, str) else None)


def _begins_anew(constants: Sequence[Mapping[str, Any]], run: Sequence[int], index: int) -> bool:
    if any(rank_of(constants[other]) == rank_of(constants[index]) for other in run):
        return True
    # A job id says it better than clocks, which may be those of several hosts.
    of_one_host = _key(constants[index])[0] is None  # type: ignore[index]
    return of_one_host and started_ns(constants[index]) - started_ns(constants[run[-1]]) > _START_APART_NS


def rank_of(constants: Mapping[str, Any]) -> int:
    """Return a session's rank; 0 if it names none."""
    return int_or_none(constants.get("rank")) or 0
