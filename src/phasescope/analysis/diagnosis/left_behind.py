"""The phases that leave most behind on the device whose memory ran out, by the mean of their entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phasescope.analysis.summary.phase_tree import Row

    from .evidence import LastShortage

_WORTH_NAMING = 0.01  # of what is allocated


def leaving_most(rows: Iterable[Row], shortage: LastShortage) -> list[Row]:
    """Return the phases that leave most behind, the one that leaves most first.

    Only those measured on that device: if nothing measures it, the phases have the host's figures, of other memory.
    """
    least = max(1, _WORTH_NAMING * (shortage.device.allocated_bytes or 0))
    leaving = [row for row in rows if row.path and _left(row) >= least and shortage.label in row.devices]
    return sorted(leaving, key=lambda row: -_left(row))


def left_text(row: Row) -> str:
    """Return how much the entries of a phase leave behind."""
    return f"{size_text(row.allocated_delta_mean_bytes)} behind, the mean per entry"


def _left(row: Row) -> int:
    return row.allocated_delta_mean_bytes or 0
