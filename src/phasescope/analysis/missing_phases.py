"""The phases that a finished session lacks, the reason as far as it is known, and the line that adds them.

A session whose phases have names of the script's own is left alone: its author wanted them so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .formatting import plural
from .origin import command_under_run, job_of_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from phasescope.analysis.summary.phase_tree import Row

_OF_LOOPS = frozenset({"epoch", "step", "data", "forward", "backward", "optimizer", "evaluate"})
_LINE_FOR_JAX = (
    '  with JAX: `with phasescope.phase("step"): state, loss = jax.block_until_ready(train_step(state, batch))`'
)


def missing_phases(
    rows: Sequence[Row],
    *,
    is_over: bool,
    ended_well: bool = True,
    missed: int = 0,
    constants: Mapping[str, Any] | None = None,
    children: int = 0,
) -> list[str]:
    """Return lines for a person; none if nothing is missing, or nothing is known to be.

    `children` are processes that this one started and that have sessions of their own; `missed` events were
    overwritten, so phases that are not there may have been.
    """
    command = command_under_run(constants or {})
    if not any(row.path for row in rows):
        return list(_no_phases(is_over, ended_well, missed, command, children))
    if not is_over or missed or command is None:
        return []
    names = {row.path[-1].partition(" (")[0] for row in rows if row.path}
    return list(_lacking(names)) if names <= _OF_LOOPS else []


def children_of(constants: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> int:
    """Return how many of the other sessions are of processes that this one's `phasescope run` brought forth."""
    job, session_id = job_of_run(constants), constants.get("session_id")
    return sum(other.get("job_id") == job and other.get("session_id") != session_id for other in others)


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
        yield 'put `with phasescope.phase("step"):` around the part that it repeats, or start it by `phasescope run`'
    elif "--no-instrument" in command:
        yield "no phases: the script marks none, and --no-instrument leaves out what `run` would mark"
    else:
        yield "no phases: `run` saw no model, gradient or optimizer of torch or TensorFlow here, and no other trainer"
        yield 'put `with phasescope.phase("step"):` around the part that the script repeats'
        yield _LINE_FOR_JAX


def _lacking(names: set[str]) -> Iterator[str]:
    """Yield the phases of a loop that are missing, by the others that were seen."""
    trains = "backward" in names or "optimizer" in names
    if "step" in names and not trains:  # the script's own, around what cannot be marked
        return
    if "forward" not in names and not trains:
        yield "no forward: batches were fetched, but no model of torch or Keras was called in this process"
        yield _line("forward", "the work on a batch")
        yield _LINE_FOR_JAX
    elif "forward" not in names:
        yield "no forward: no model of torch or Keras was called (a function, or a scripted model?)"
        yield _line("forward", "the model's call")
    if "optimizer" in names and "backward" not in names:
        yield "no backward: the gradients come from elsewhere than torch's autograd or TensorFlow's tape"
        yield _line("backward", "the code that makes them")
    if "backward" in names and "optimizer" not in names:
        yield "no optimizer: nothing stepped that looks like one"
        yield _line("optimizer", "the code that changes the parameters")


def _line(name: str, where: str) -> str:
    return f'  put `with phasescope.phase("{name}"):` around {where}'
