"""Text for people: units, harmless names, aligned tables. One style everywhere, and no dependency.

Numbers carry three significant digits and a unit (`1.23 ms`, `45.6 MiB`); an unknown figure is a dash, never
0.
"""

from __future__ import annotations

import time
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNKNOWN = "–"
_ELLIPSIS = "…"
_NARROWEST = 8  # a name is not elided below this: then the line gets longer instead

# Each unit with how many of it make one of the next.
_TIMES = (("ns", 1000), ("µs", 1000), ("ms", 1000), ("s", 60), ("min", 60), ("h", 24), ("d", 0))
_SIZES = (("B", 1024), ("KiB", 1024), ("MiB", 1024), ("GiB", 1024), ("TiB", 1024), ("PiB", 0))


def duration_text(duration_ns: int | None) -> str:
    """Format a duration: `832 ns`, `12.3 µs`, `4.56 s`, `2.50 min`, `1.20 h`; a dash for None."""
    return UNKNOWN if duration_ns is None else _in_units(duration_ns, _TIMES)


def size_text(size_bytes: int | None) -> str:
    """Format a size: `512 B`, `1.50 KiB`, `12.3 GiB`; a dash for None."""
    return UNKNOWN if size_bytes is None else _in_units(size_bytes, _SIZES)


def change_text(change_bytes: int | None) -> str:
    """Return a difference of sizes, always with its sign: `+1.50 KiB`, `-512 B`, `0 B`; a dash for None."""
    sign = "+" if change_bytes is not None and change_bytes > 0 else ""
    return sign + size_text(change_bytes)


def share_text(share: float | None) -> str:
    """Return a fraction as per cent: `100%`, `34%`, `4.2%`, `<0.1%`, `0%`; a dash for None."""
    if share is None:
        return UNKNOWN
    percent = share * 100
    if percent >= 9.95:
        return f"{percent:,.0f}%"
    if percent >= 0.1:
        return f"{percent:.1f}%"
    return "<0.1%" if percent > 0 else "0%"


def count_text(count: int) -> str:
    """Format a count: `12,345`."""
    return f"{count:,}"


def local_time(time_ns: int, pattern: str) -> str | None:
    """Format a local time as `time.strftime` does; None for one that no calendar has."""
    try:
        return time.strftime(pattern, time.localtime(time_ns // 1_000_000_000))
    except (OverflowError, ValueError, OSError):
        return None


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: `1 event`, `1,200 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def times_text(count: int) -> str:
    """Format how often: `once`, `1,200 times`."""
    return "once" if count == 1 else f"{count_text(count)} times"


def printable(value: object) -> str:
    """Return a value from outside as text on one line that no terminal obeys.

    Control characters, escapes, line separators and marks that turn the direction of writing become `\\x1b` and
    the like. Applied twice it changes nothing more. A value that is not a JSON scalar is named by its type.
    """
    if isinstance(value, str):
        return value if value.isprintable() else "".join(map(_harmless, value))
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return f"<{type(value).__name__}>"


def path_text(path: Sequence[str]) -> str:
    """Format a phase path on one line: `epoch/forward`."""
    return "/".join(map(printable, path))


def text_width(text: str) -> int:
    """Return the columns that a terminal uses for a text: wide characters take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def elide(text: str, width: int) -> str:
    """Return the text, with its middle cut out if it is wider than `width` columns."""
    if text_width(text) <= width and len(text) <= 4 * width:
        return text
    room = max(0, width - 1)
    tail = _fitting(reversed(text), room // 2, 2 * room)[::-1]
    return _fitting(text, room - text_width(tail), 2 * room) + _ELLIPSIS + tail


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return the text filled up with spaces to `width` columns; `right` puts it at the right."""
    spaces = " " * (width - text_width(text))
    return spaces + text if right else text + spaces


class Column(NamedTuple):
    """A table's column. `flexible` ones are elided if the table would be wider than it may; if it still is, those with
    the largest `spare` are left out first, and those with 0 never."""

    title: str
    right: bool = True
    flexible: bool = False
    spare: int = 0


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None = None) -> list[str]:
    """Return the lines of a table, titles first, at most `width` columns wide if possible (None: no
    limit)."""
    cells = [[column.title for column in columns], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(text_width, column)) for column in zip(*cells, strict=True)]
    gap = "  "
    if width is not None:
        kept = _kept(columns, widths, width)
        columns, widths = [columns[index] for index in kept], [widths[index] for index in kept]
        cells = [[row[index] for index in kept] for row in cells]
        if sum(widths) + 2 * (len(widths) - 1) > width:
            gap = " "
        _narrow(columns, widths, sum(widths) + len(gap) * (len(widths) - 1) - width)
    return [_line(columns, row, widths, gap) for row in cells]


def _kept(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Return which columns fit into `width` with names as short as they may be: without the spare ones if need be."""
    kept = list(range(len(columns)))
    least = [_least(column, wide) if column.flexible else wide for column, wide in zip(columns, widths, strict=True)]
    while sum(least[index] + 1 for index in kept) - 1 > width:
        spare = max(kept, key=lambda index: columns[index].spare)
        if not columns[spare].spare:
            break
        kept.remove(spare)
    return kept


def _least(column: Column, width: int) -> int:
    return min(width, max(_NARROWEST, text_width(column.title)))


def _narrow(columns: Sequence[Column], widths: list[int], excess: int) -> None:
    for index, column in enumerate(columns):
        if column.flexible and excess > 0:
            narrowest = _least(column, widths[index])
            cut = min(excess, widths[index] - narrowest)
            widths[index] -= cut
            excess -= cut


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], gap: str) -> str:
    padded = (
        pad(elide(cell, width) if column.flexible else cell, width, right=column.right)
        for column, cell, width in zip(columns, row, widths, strict=True)
    )
    return gap.join(padded).rstrip()


def _in_units(value: int, units: Sequence[tuple[str, int]]) -> str:
    sign = "-" if value < 0 else ""
    smallest, per_next = units[0]
    if abs(value) < per_next:
        return f"{sign}{abs(value)} {smallest}"
    number = float(abs(value))
    for unit, per_next in units:
        # Not `60.0 s` nor `1000 µs`: a figure that rounds up to the next unit is written in it.
        if not per_next or number < per_next - (0.05 if per_next < 100 else 0.5):
            decimals = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{sign}{number:.{decimals}f} {unit}"
        number /= per_next
    raise AssertionError("the last unit takes all")


def _harmless(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fitting(characters: Iterable[str], width: int, most: int) -> str:
    """Return the first characters that fit in `width` columns, at most `width`: combining marks take no column at
    all."""
    taken: list[str] = []
    used = 0
    for character in characters:
        used += _columns(character)
        if used > width or len(taken) >= most:
            break
        taken.append(character)
    return "".join(taken)
