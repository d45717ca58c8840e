"""Which sessions are the ranks of one job, by what they said of themselves when they began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.spans import int_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NO_JOB = ("none", "")
"""torchrun's run id where it was given none."""

_START_APART_NS = 600_000_000_000


def group(sessions: Iterable[Mapping[str, Any]]) -> list[list[int]]:
    """Which sessions are one job, by their constants: lists of positions, by rank. A session alone is a list of one.

    A job is one job id and world size, on however many hosts; without a job id it is one host's. A new run of the job
    has begun where a rank comes again, or without a job id where one starts ten minutes after the others. The job that
    started last is first.
    """
    known = list(sessions)
    runs: list[list[int]] = []
    running: dict[tuple[Any, ...], list[int]] = {}
    for at in sorted(range(len(known)), key=lambda at: (_started(known[at]), at)):
        key = _key(known[at])
        run = running.get(key) if key is not None else None
        if run is None or _begins_anew(known, run, at):
            run = []
            runs.append(run)
            if key is not None:
                running[key] = run
        run.append(at)
    for run in runs:
        run.sort(key=lambda at: (rank_of(known[at]), at))
    return sorted(runs, key=lambda run: min(_started(known[at]) for at in run), reverse=True)


def _key(constants: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Equal for sessions that may be one job; None: it is alone."""
    world_size = int_or_none(constants.get("world_size"))
    if world_size is None or world_size < 2:
        return None
    job_id = constants.get("job_id")
    if isinstance(job_id, str) and job_id not in NO_JOB:
        return (job_id, world_size)
    host = constants.get("host")
    return (None, world_size, host if isinstance(host, str) else None)


def _begins_anew(known: Sequence[Mapping[str, Any]], run: Sequence[int], at: int) -> bool:
    if any(rank_of(known[other]) == rank_of(known[at]) for other in run):
        return True
    # A job id says it better than clocks, which may be those of several hosts.
    of_one_host = _key(known[at])[0] is None  # type: ignore[index]
    return of_one_host and _started(known[at]) - _started(known[run[-1]]) > _START_APART_NS


def rank_of(constants: Mapping[str, Any]) -> int:
    """A session's rank; 0 where it names none."""
    return int_or_none(constants.get("rank")) or 0


def _started(constants: Mapping[str, Any]) -> int:
    return int_or_none(constants.get("started_ns")) or 0
