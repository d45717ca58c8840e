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
from phasescope.analysis.text.summary_text import NET_PER_ENTRY
from phasescope.views.top.step_shares import step_shares
from phasescope.views.top.styled_line import StyledLine, which

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.analysis.summary.phase_tree import Row

_MAX_INDENT = 12
_MORE_PHASES = "(more phases)"
_NARROWEST_NAME = 10
_ROOMY = 60
_GAP = "  "


class _Figure(NamedTuple):
    """A figure of the table. `width` is that of the widest text that it can have; `wide` ones need a wide screen."""

    title: str
    width: int
    key: Callable[[Row], float | None]
    text: Callable[[Row], str]
    wide: bool = False


def _mean_delta(row: Row) -> int | None:
    return row.allocated_delta_mean_bytes


_COLUMNS = (
    _Figure("count", 9, lambda row: row.count, lambda row: count_text(row.count)),
    _Figure("total", 8, lambda row: row.total_ns, lambda row: duration_text(row.total_ns), wide=True),
    _Figure("mean", 8, lambda row: row.mean_ns, lambda row: duration_text(row.mean_ns)),
    _Figure("p50", 8, lambda row: row.p50_ns, lambda row: duration_text(row.p50_ns), wide=True),
    _Figure("p95", 8, lambda row: row.p95_ns, lambda row: duration_text(row.p95_ns)),
    _Figure(NET_PER_ENTRY, 10, _mean_delta, lambda row: change_text(_mean_delta(row))),
    _Figure("peak", 10, lambda row: row.peak_allocated_bytes, lambda row: _peak(row)),
)
_SHARE = "of step"
SORTS = ("tree", "mean", "p95", NET_PER_ENTRY, "peak", "count", "total")
"""The possible orders: that of the tree, and by a figure, the largest first."""


def _peak(row: Row) -> str:
    """Format a peak, with `≥` if it is the largest that was seen, and not measured."""
    is_least = row.peak_allocated_bytes is not None and not row.peak_is_exact
    return ("≥" if is_least else "") + size_text(row.peak_allocated_bytes)


def ordered(rows: Sequence[Row], sort: str) -> list[Row]:
    """Return the rows in one of the orders of `SORTS`; unknown figures stand last."""
    column = next((column for column in _COLUMNS if column.title == sort), None)
    if column is None:
        return list(rows)

    def rank(row: Row) -> tuple[bool, float]:
        value = column.key(row)
        return value is None, -(value or 0)

    return sorted(rows, key=rank)


def table(
    rows: Sequence[Row], steps: Sequence[tuple[str, ...]], sort: str, scroll: int, width: int, height: int
) -> list[StyledLine]:
    """Return the titles, and as many rows as fit from row `scroll` on. `steps` as of `step_shares`."""
    columns = [column for column in _COLUMNS if width >= 104 or not column.wide or column.title == sort]
    room = width - sum(column.width + len(_GAP) for column in columns) - len(_SHARE) - len(_GAP)
    while room < _NARROWEST_NAME and columns:
        room += columns.pop(0).width + len(_GAP)
    # No wider than the longest name: the eye has to find its way from there to the figures.
    room = min(room, max(_ROOMY, max(map(_name_width, rows), default=0)))
    shares = step_shares(rows, steps)
    shown = ordered(rows, sort)[scroll : scroll + max(0, height - 1)]
    lines = [_titles(columns, sort, room, which(scroll, len(shown), len(rows)))]
    for row in shown:
        line = _name(row, sort == "tree", room)
        for column in columns:
            line.add(_GAP + pad(column.text(row), column.width, right=True), _role(row, column))
        share = shares.get(row.path)
        line.add(_GAP + pad("" if share is None else share_text(share), len(_SHARE), right=True))
        lines.append(line)
    return lines


def _titles(columns: Sequence[_Figure], sort: str, room: int, hidden: str) -> StyledLine:
    line = StyledLine(("phase", "title" if sort == "tree" else "dim"), (elide(hidden, max(0, room - 5)), "dim"))
    line.add(" " * (room - line.width))
    for column in columns:
        is_sorted = column.title == sort
        title = f"▾{column.title}" if is_sorted else column.title
        line.add(_GAP + pad(title, column.width, right=True), "title" if is_sorted else "dim")
    return line.add(_GAP + pad(_SHARE, len(_SHARE), right=True), "dim")


def _name(row: Row, as_tree: bool, room: int) -> StyledLine:
    sign = "●" if row.open else " "
    if not row.path:
        text = _MORE_PHASES
    elif as_tree:
        text = " " * min(2 * (row.depth - 1), _MAX_INDENT) + printable(row.path[-1])
    else:
        text = path_text(row.path)
    failed = f" ✗{count_text(row.errors)}" if row.errors else ""
    again = f" ↻{count_text(row.alloc_retries)}" if row.alloc_retries else ""
    name_room = max(1, room - 2 - len(failed) - len(again))
    line = StyledLine((sign + " ", "good"), (elide(text, name_room), "strong" if row.open else "text"))
    line.add(again, "warn").add(failed, "bad")
    return line.add(" " * (room - line.width))


def _name_width(row: Row) -> int:
    """Return an upper bound of what a row's name takes, in whatever order the rows are."""
    return 4 + len(path_text(row.path)) + _MAX_INDENT * (row.depth > 1) + 8 * bool(row.errors or row.alloc_retries)


def _role(row: Row, column: _Figure) -> str:
    value = column.key(row)
    return "dim" if value is None or (value == 0 and column.title == NET_PER_ENTRY) else "text"
