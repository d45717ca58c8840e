"""Which phases a table shows: all of them as a tree, or those that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.summary.phase_tree import Row

FIGURES = {
    "count": "count",
    "total": "total_ns",
    "mean": "mean_ns",
    "p50": "p50_ns",
    "p95": "p95_ns",
    "net": "allocated_delta_mean_bytes",
    "peak": "peak_allocated_bytes",
    "share": "share",
}
"""The figures that phases can be sorted by, as the columns call them."""


class ShownPhases(NamedTuple):
    """Phases of at most `depth` names, by the `figure` with the largest first, the first `limit` of them.

    None stands for any depth, for the order of the tree, and for all.
    """

    depth: int | None = None
    figure: str | None = None
    limit: int | None = None

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that are shown. Those of which the figure is not known come last."""
        shown = [row for row in rows if self.depth is None or row.depth <= self.depth]
        if self.figure is not None:
            key = FIGURES[self.figure]
            shown.sort(key=lambda row: (getattr(row, key) is not None, getattr(row, key) or 0), reverse=True)
        return shown[: self.limit]

    def remark(self, rows: Sequence[Row]) -> str | None:
        """Return how many are shown, if not all are."""
        shown = len(self.of(rows))
        return None if shown == len(rows) else f"{shown} of {len(rows)} phases shown"


ALL_PHASES = ShownPhases()
