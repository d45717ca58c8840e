"""The table that a test run ends with: a line for each program that was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROPERTY = "program"  # under which a test's report carries its row
_COLUMNS = ("program", "exit", "output", "files", "tree", "verdict", "seconds")


def lines(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    ordered = sorted(rows, key=lambda row: row["program"])
    cells = [_COLUMNS, *(tuple(row[column] for column in _COLUMNS) for row in ordered)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(_COLUMNS))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
