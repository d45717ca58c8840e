"""What part of a step each phase takes. A step is one entry of the phase around those that end most often; where
nothing is around them, it is one round of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.summary.phase_tree import Row

_Path = tuple[str, ...]


def step_shares(rows: Sequence[Row]) -> dict[_Path, float]:
    """The share of a step's time for each phase that is a step or in one; others are not in it."""
    steps = _steps(rows)
    whole_ns = sum(row.total_ns or 0 for row in steps)
    if not whole_ns:
        return {}
    prefixes = {row.path for row in steps}
    length = len(steps[0].path)
    return {row.path: row.total_ns / whole_ns for row in rows if row.path[:length] in prefixes and row.total_ns}


def _steps(rows: Sequence[Row]) -> list[Row]:
    """The outermost of the phases that ended at least half as often as the most frequent one: the one that has others
    within, or else all of them that stand side by side."""
    counted = [row for row in rows if row.path and row.count]
    most = max((row.count for row in counted), default=0)
    often = [row for row in counted if 2 * row.count > most]
    first = min(often, key=lambda row: len(row.path), default=None)
    if first is None:
        return []
    beside = [row for row in often if row.path[:-1] == first.path[:-1]]
    parents = {row.path[:-1] for row in counted}
    around = [row for row in beside if row.path in parents]
    return around[:1] if len(around) == 1 else beside
