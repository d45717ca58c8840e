"""The phase table: a tree with live figures, or the same rows sorted by one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import (
    change_text,
    count_text,
    duration_text,
    elide,
    pad,
    path_text,
    printable,
    share_text,
    size_text,
)
from phasescope.views.top.step_shares import step_shares
from phasescope.views.top.styled_line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.analysis.summary.phase_tree import Row

_MAX_INDENT = 12
_MORE_PHASES = "(more phases)"
_NARROWEST_NAME = 10


class _Column(NamedTuple):
    """A figure of the table. `width` is that of the widest text that it can have; `wide` ones need a wide screen."""

    title: str
    width: int
    key: Callable[[Row], float | None]
    text: Callable[[Row], str]
    wide: bool = False


def _mean_delta(row: Row) -> int | None:
    return row.allocated_delta_mean_bytes


_COLUMNS = (
    _Column("count", 9, lambda row: row.count, lambda row: count_text(row.count)),
    _Column("total", 8, lambda row: row.total_ns, lambda row: duration_text(row.total_ns), wide=True),
    _Column("mean", 8, lambda row: row.mean_ns, lambda row: duration_text(row.mean_ns)),
    _Column("p50", 8, lambda row: row.p50_ns, lambda row: duration_text(row.p50_ns), wide=True),
    _Column("p95", 8, lambda row: row.p95_ns, lambda row: duration_text(row.p95_ns)),
    _Column("delta", 9, _mean_delta, lambda row: change_text(_mean_delta(row))),
    _Column("net", 9, lambda row: row.allocated_delta_bytes, lambda row: change_text(row.allocated_delta_bytes), True),
    _Column("peak", 10, lambda row: row.peak_allocated_bytes, lambda row: _peak(row)),
)
_SHARE = "of step"
SORTS = ("tree", "mean", "p95", "delta", "peak", "count", "total")
"""The orders that there are: that of the tree, and by a figure, the largest first."""


def _peak(row: Row) -> str:
    """`≥` where it is the largest that was seen, and not measured."""
    known = row.peak_allocated_bytes is not None and not row.peak_is_exact
    return ("≥" if known else "") + size_text(row.peak_allocated_bytes)


def ordered(rows: Sequence[Row], sort: str) -> list[Row]:
    """The rows in one of the orders of `SORTS`; what is not known stands last."""
    column = next((column for column in _COLUMNS if column.title == sort), None)
    if column is None:
        return list(rows)

    def rank(row: Row) -> tuple[bool, float]:
        value = column.key(row)
        return value is None, -(value or 0)

    return sorted(rows, key=rank)


def table(rows: Sequence[Row], sort: str, scroll: int, width: int, height: int) -> list[Line]:
    """The titles, and as many rows as fit from row `scroll` on."""
    columns = [column for column in _COLUMNS if width >= 104 or not column.wide or column.title == sort]
    room = width - sum(column.width + 1 for column in columns) - len(_SHARE) - 1
    while room < _NARROWEST_NAME and columns:
        room += columns.pop(0).width + 1
    shares = step_shares(rows)
    lines = [_titles(columns, sort, room)]
    for row in ordered(rows, sort)[scroll : scroll + max(0, height - 1)]:
        line = _name(row, sort == "tree", room)
        for column in columns:
            line.add(" " + pad(column.text(row), column.width, right=True), _role(row, column))
        share = shares.get(row.path)
        line.add(" " + pad("" if share is None else share_text(share), len(_SHARE), right=True))
        lines.append(line)
    return lines


def _titles(columns: Sequence[_Column], sort: str, room: int) -> Line:
    line = Line((pad("phase", room), "title" if sort == "tree" else "dim"))
    for column in columns:
        is_sorted = column.title == sort
        title = f"▾{column.title}" if is_sorted else column.title
        line.add(" " + pad(title, column.width, right=True), "title" if is_sorted else "dim")
    return line.add(" " + pad(_SHARE, len(_SHARE), right=True), "dim")


def _name(row: Row, as_tree: bool, room: int) -> Line:
    sign = "●" if row.open else " "
    if not row.path:
        text = _MORE_PHASES
    elif as_tree:
        text = " " * min(2 * (row.depth - 1), _MAX_INDENT) + printable(row.path[-1])
    else:
        text = path_text(row.path)
    failed = f" ✗{count_text(row.errors)}" if row.errors else ""
    name_room = max(1, room - 2 - len(failed))
    line = Line((sign + " ", "good"), (elide(text, name_room), "strong" if row.open else "text"), (failed, "bad"))
    return line.add(" " * (room - line.width))


def _role(row: Row, column: _Column) -> str:
    value = column.key(row)
    return "dim" if value is None or (value == 0 and column.title in ("delta", "net")) else "text"
