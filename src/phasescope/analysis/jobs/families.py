"""Sessions of processes that started each other, by the constants that they stated when they began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


_BETWEEN_SIGNS_NS = 5_000_000_000


def over_since(state: str, heartbeat_ns: int | None) -> int | None:
    """Return when a session was over; None if it runs, or that is not known. A dead one may have lived a little on."""
    if state == "running" or not heartbeat_ns:
        return None
    return heartbeat_ns if state == "stopped" else heartbeat_ns + _BETWEEN_SIGNS_NS


def parents(sessions: Iterable[Mapping[str, Any]], over: Sequence[int | None]) -> list[int | None]:
    """Return for each session the position of the one that its parent had when it began; None if that is not here.

    `over` says of each since when it is over. The parent's had begun before: so no session is above itself, whatever
    the files say.
    """
    constants = list(sessions)
    by_process: dict[tuple[object, int], list[int]] = {}
    for index, each in enumerate(constants):
        pid, host = int_or_none(each.get("pid")), each.get("host")
        if pid is not None and isinstance(host, str):
            by_process.setdefault((host, pid), []).append(index)
    return [_parent(constants, index, by_process, over) for index in range(len(constants))]


def _parent(
    constants: Sequence[Mapping[str, Any]],
    index: int,
    by_process: Mapping[tuple[object, int], Sequence[int]],
    over: Sequence[int | None],
) -> int | None:
    child = constants[index]
    pid, host = int_or_none(child.get("parent_pid")), child.get("host")
    if pid is None or not isinstance(host, str):
        return None
    begun = [
        other
        for other in by_process.get((host, pid), ())
        if started_ns(constants[other]) < started_ns(child) and _may_be_one_process(constants[other], child)
    ]
    begun = [other for other in begun if (since := over[other]) is None or since > started_ns(child)]
    return max(begun, key=lambda other: started_ns(constants[other]), default=None)


def _may_be_one_process(parent: Mapping[str, Any], child: Mapping[str, Any]) -> bool:
    """Return whether the parent is the process that the child names: its pid may be another's by now."""
    ticks, stated = int_or_none(parent.get("process_start_ticks")), int_or_none(child.get("parent_start_ticks"))
    return not ticks or not stated or ticks == stated


def started_ns(constants: Mapping[str, Any]) -> int:
    """Return when a session started; 0 if it does not say."""
    return int_or_none(constants.get("started_ns")) or 0


def above(index: int, of: Sequence[int | None]) -> list[int]:
    """Return the sessions above one, its parent first. `of` are the `parents`."""
    chain: list[int] = []
    parent = of[index]
    while parent is not None:
        chain.append(parent)
        parent = of[parent]
    return chain


def meant(newest: int, of: Sequence[int | None], fits: Callable[[int], bool], has_phases: Callable[[int], bool]) -> int:
    """Return the session that a person means by the newest one: the training, not a process that works for it.

    That is the outermost above it that `fits` and has phases. A launcher has none: then it is the newest one itself,
    or another below that launcher, if that has phases.
    """
    elders = [each for each in reversed(above(newest, of)) if fits(each)]
    if not elders:
        return newest
    family = [index for index in range(len(of)) if index != newest and elders[0] in above(index, of) and fits(index)]
    return next((each for each in (*elders, newest, *family) if has_phases(each)), elders[0])


def in_order(runs: Sequence[Sequence[int]], of: Sequence[int | None]) -> list[tuple[Sequence[int], int]]:
    """Return jobs with their depth: each below the one whose session started its own, else as they were."""
    run_of = {index: number for number, run in enumerate(runs) for index in run}
    below: dict[int | None, list[int]] = {}
    for number, run in enumerate(runs):
        elders = [run_of[each] for each in above(run[0], of) if run_of[each] != number]
        below.setdefault(elders[0] if elders else None, []).append(number)
    ordered: list[tuple[Sequence[int], int]] = []
    left = [(number, 0) for number in reversed(below.get(None, []))]
    seen: set[int] = set()
    while left:
        number, depth = left.pop()
        if number not in seen:
            seen.add(number)
            ordered.append((runs[number], depth))
            left += [(each, depth + 1) for each in below.get(number, ())]  # the one that started first comes first
    return ordered + [(run, 0) for number, run in enumerate(runs) if number not in seen]
