"""The share of a step that each phase takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from phasescope.analysis.summary.phase_tree import Row

_Path = tuple[str, ...]


def step_shares(rows: Sequence[Row], steps: Collection[_Path]) -> dict[_Path, float]:
    """Return the share of a step's time for each phase that is a step or in one; others are not in it. `steps` are the
    phases, side by side, of which one entry each is a step."""
    whole_ns = sum(row.total_ns or 0 for row in rows if row.path in steps)
    if not whole_ns:
        return {}
    length = len(next(iter(steps)))
    return {row.path: row.total_ns / whole_ns for row in rows if row.path[:length] in steps and row.total_ns}
