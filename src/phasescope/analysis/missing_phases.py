"""Which phases a session lacks that is over, why as far as that is known, and what line brings them.

Of a session whose phases have names of the script's own nothing is said: they are what its author wanted.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .formatting import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from phasescope.analysis.summary.phase_tree import Row

_OF_LOOPS = frozenset({"epoch", "step", "data", "forward", "backward", "optimizer", "evaluate"})
_JOB_OF_RUN = "run-"


def missing_phases(
    rows: Sequence[Row],
    *,
    is_over: bool,
    ended_well: bool = True,
    missed: int = 0,
    constants: Mapping[str, Any] | None = None,
    children: int = 0,
) -> list[str]:
    """Lines for a person; none where nothing is missing, or nothing is known to be.

    `children` are processes that this one started and that have sessions of their own; `missed` events were
    overwritten, so that what is not there may have been.
    """
    command = _of_run(constants or {})
    if not any(row.path for row in rows):
        return list(_no_phases(is_over, ended_well, missed, command, children))
    if not is_over or missed or command is None:
        return []
    names = {row.path[-1].partition(" (")[0] for row in rows if row.path}
    return list(_lacking(names)) if names <= _OF_LOOPS else []


def children_of(constants: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> int:
    """How many of the other sessions are of processes that this one's `phasescope run` brought forth."""
    job, session_id = job_of(constants), constants.get("session_id")
    return sum(other.get("job_id") == job and other.get("session_id") != session_id for other in others)


def job_of(constants: Mapping[str, Any]) -> str:
    """The job of the processes that a session's run starts."""
    return f"{_JOB_OF_RUN}{str(constants.get('session_id'))[:12]}"


def _of_run(constants: Mapping[str, Any]) -> list[str] | None:
    """The command line where it is `phasescope run`, or of a process that one started; else None."""
    given = constants.get("command")
    words = [word for word in given if isinstance(word, str)] if isinstance(given, list) else []
    for before, word in pairwise(words):
        if word == "run" and PurePath(before).stem == "phasescope":
            return words
    job = constants.get("job_id")
    return words if isinstance(job, str) and job.startswith(_JOB_OF_RUN) else None


def _no_phases(is_over: bool, ended_well: bool, missed: int, command: list[str] | None, children: int) -> Iterator[str]:
    if not is_over:
        yield "no phases yet"
    elif missed:
        yield "no phases in the events that are left"
    elif children:
        theirs = "another that has a session of its own" if children == 1 else "others that have sessions of their own"
        yield f"no phases in this process: it started {theirs} ({plural(children, 'session')})"
        yield "`phasescope ls` lists them, `phasescope ranks` compares those that are ranks"
    elif not ended_well:
        yield "no phases: none had begun when it ended"
    elif command is None:
        yield "no phases: the script marks none"
        yield 'put `with phasescope.phase("step"):` around what it repeats, or start it by `phasescope run`'
    elif "--no-instrument" in command:
        yield "no phases: the script marks none, and --no-instrument leaves out what `run` would mark"
    else:
        yield "no phases: `run` saw no model, backward pass or optimizer of torch in this process, and no other trainer"
        yield 'put `with phasescope.phase("step"):` around what the script repeats'


def _lacking(names: set[str]) -> Iterator[str]:
    """What of a loop is missing, by what else was seen."""
    trains = "backward" in names or "optimizer" in names
    if "forward" not in names and not trains:
        yield "no forward: batches were fetched, but no torch module with parameters was called in this process"
        yield _line("forward", "what is done with a batch")
    elif "forward" not in names:
        yield "no forward: no torch module with parameters was called (a function, or a scripted model?)"
        yield _line("forward", "the model's call")
    if "optimizer" in names and "backward" not in names:
        yield "no backward: the gradients come from elsewhere than torch's autograd"
        yield _line("backward", "where they are made")
    if "backward" in names and "optimizer" not in names:
        yield "no optimizer: nothing stepped that looks like one"
        yield _line("optimizer", "where the parameters change")


def _line(name: str, where: str) -> str:
    return f'  put `with phasescope.phase("{name}"):` around {where}'
