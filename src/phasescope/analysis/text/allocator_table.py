"""The table of what the allocators of devices did, phase by phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import Column, count_text, elide, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.summary.phase_tree import Row

COLUMNS = (
    Column("the allocator, by phase", right=False, flexible=True),
    Column("reserved"),
    Column("slack"),
    Column("from device"),
    Column("given back"),
    Column("retries"),
    Column("failures"),
)
"""Of `cells`: how often it took memory from the device and gave it back, tried again with success, and failed."""

_LONGEST_CELL = 120
_MAX_INDENT = 12
_MORE_PHASES = "(more phases)"
_COUNTS = ("device_allocs", "device_frees", "alloc_retries", "alloc_failures")


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of the phases in which an allocator went to the device; none if no allocator was ever short of
    memory, nor gave any back: then there is nothing to learn from it."""
    if not any(row.device_frees or row.alloc_retries or row.alloc_failures for row in rows):
        return []
    return [_cells(row) for row in rows if any(getattr(row, name) for name in _COUNTS)]


def _cells(row: Row) -> list[str]:
    name = elide(printable(row.path[-1]), _LONGEST_CELL) if row.path else _MORE_PHASES
    sizes = map(size_text, (row.reserved_bytes, row.slack_bytes))
    counts = (count_text(getattr(row, name) or 0) for name in _COUNTS)
    return [" " * min(2 * max(0, row.depth - 1), _MAX_INDENT) + name, *sizes, *counts]
