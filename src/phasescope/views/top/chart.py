"""A device's memory over time, drawn with blocks.

At the bottom the allocated memory, above it the reserved memory, above that the memory that everybody uses. A column
shows the most that its time saw, so no peak is lost; the lighter part of the allocated memory came and went meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import local_time, size_text
from phasescope.views.top.styled_line import StyledLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phasescope.analysis.timeline.time_series import Point
    from phasescope.analysis.timeline.timeline import Mark
    from phasescope.views.top.palette import Palette

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LABEL = 10  # columns for `99.9 GiB ` and the axis
_ROUND = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_FAR_ABOVE = 2
_NEWEST = 8
_BAD = ("critical", "error")
_QUIET = ("start", "stop", "collector_recovered")

OWN, DEVICE, FIT = "own", "device", "fit"
SCALES = (OWN, DEVICE, FIT)
"""The meaning of the height: this process's memory (and the memory in use, if that is not far above it), the whole
device, or only from the least to the most that was seen."""


class Window(NamedTuple):
    """The time that is shown, wall clock."""

    begin_ns: int
    end_ns: int


def aligned(window: Window, count: int) -> Window:
    """Return the window moved a little, by less than a column: so columns stand for the same time while the window
    moves on, and do not flicker."""
    width_ns = max(1, (window.end_ns - window.begin_ns) // count)
    end_ns = -(-window.end_ns // width_ns) * width_ns
    return Window(end_ns - width_ns * count, end_ns)


class ColumnLevel(NamedTuple):
    """The figures of one column, in bytes; None if unknown then. `least` is the least that was allocated in its time,
    the other figures are the most."""

    least: int | None
    allocated: int | None
    reserved: int | None
    used: int | None


_NO_SIGN = (" ", "text")
_NOTHING = ColumnLevel(None, None, None, None)
_LAYERS = ("live", "swing", "slack", "others")
"""The roles of a level's figures, from the bottom."""


def levels(points: Iterable[Point], window: Window, count: int) -> list[ColumnLevel]:
    """Return the window in `count` columns.

    Between two points the last known figures hold on; after the last nothing is known.
    """
    columns: list[ColumnLevel | None] = [None] * count
    width_ns = max(1, (window.end_ns - window.begin_ns) / count)
    before, last = _NOTHING, -1
    for point in points:
        allocated = point.allocated_bytes
        level = ColumnLevel(allocated.min, allocated.max, point.reserved_bytes.max, point.used_bytes.max)
        column = int((point.timestamp_ns - window.begin_ns) // width_ns)
        if column < 0:
            before = _after(before, point)
        elif column < count:
            columns[column] = level if columns[column] is None else _most(columns[column] or level, level)
            last = max(last, column)
        else:
            last = count - 1
            break
    return _held(columns, before, last)


def last_level(points: Sequence[Point]) -> ColumnLevel | None:
    """Return the newest figures of a window; None if nothing is known of it."""
    newest = _NOTHING
    for point in points[-_NEWEST:]:
        newest = _after(newest, point)
    return None if newest == _NOTHING else newest


def _held(columns: Sequence[ColumnLevel | None], before: ColumnLevel, last: int) -> list[ColumnLevel]:
    held, now = [], before
    for column, level in enumerate(columns):
        now = level or now
        held.append(now if column <= last else _NOTHING)
    return held


def _after(before: ColumnLevel, point: Point) -> ColumnLevel:
    allocated = point.allocated_bytes.last
    figures = (allocated, allocated, point.reserved_bytes.last, point.used_bytes.last)
    return ColumnLevel(*(old if new is None else new for old, new in zip(before, figures, strict=True)))


def _most(first: ColumnLevel, second: ColumnLevel) -> ColumnLevel:
    most = (b if a is None else a if b is None else max(a, b) for a, b in zip(first, second, strict=True))
    least = min((level.least for level in (first, second) if level.least is not None), default=None)
    return ColumnLevel(*most)._replace(least=least)


def scale_of(shown: Sequence[ColumnLevel], total_bytes: int | None, scale: str = OWN) -> tuple[int, int]:
    """Return the bytes at the bottom and at the top of the drawing."""
    held = [value for level in shown for value in level[1:3] if value is not None]
    used = [level.used for level in shown if level.used is not None]
    most = max(held, default=0)
    if scale == DEVICE and total_bytes:
        return 0, total_bytes
    if used and (not held or max(used) <= _FAR_ABOVE * most):
        most = max(most, *used)
    if scale == FIT and held:
        least = min((level.least for level in shown if level.least is not None), default=0)
        top = max(held)
        margin = max(1, (top - least) // 10, top // 1000)
        return max(0, least - margin), top + margin
    return 0, rounded_up(most)


def rounded_up(value: int) -> int:
    """Return the next size that reads well: 1.5 GiB, 400 MiB."""
    unit = 1
    while value > unit * 1024:
        unit *= 1024
    while value > unit * 10:
        unit *= 10
    return next((int(unit * factor) for factor in _ROUND if unit * factor >= value), unit * 10) or 1


def drawing(shown: Sequence[ColumnLevel], bounds: tuple[int, int], height: int, palette: Palette) -> list[StyledLine]:
    """Return the columns as `height` lines, the axis with its labels at the left."""
    low, high = bounds
    per_row = max(1, high - low) / max(1, height)
    if all(level.used is None or level.used > high for level in shown):  # it would only fill all there is
        shown = [level._replace(used=None) for level in shown]
    lines = []
    for row in range(height):
        bottom = low + per_row * (height - 1 - row)
        label = _label(row, height, bounds) if high > 1 else f"{'':{_LABEL - 2}} │"
        line = StyledLine((label, "dim"))
        for cell in _runs(_cell(level, bottom, per_row, palette) for level in shown):
            line.add(*cell)
        lines.append(line)
    return lines


def _label(row: int, height: int, bounds: tuple[int, int]) -> str:
    low, high = bounds
    if row == 0:
        text, tick = size_text(high), "┤"
    elif row == height - 1:
        text, tick = ("0" if low == 0 else size_text(low)), "┴" if low == 0 else "┤"
    elif height >= 7 and row == height // 2:
        middle = low + (high - low) * (height - row) // height
        text, tick = size_text(middle), "┤"
    else:
        text, tick = "", "│"
    return f"{text:>{_LABEL - 2}} {tick}"


def _cell(level: ColumnLevel, bottom: float, per_row: float, palette: Palette) -> tuple[str, str]:
    """Return one column in one row: the layer that fills it, or the upper edge of one before the next."""
    tops = list(zip(level, _LAYERS, strict=True))
    for layer, (top, role) in enumerate(tops):
        if top is None or top <= bottom:
            continue
        if top >= bottom + per_row:
            return palette.sign(role), role
        above = next((over for more, over in tops[layer + 1 :] if more is not None and more > top), None)
        eighth = max(1, round((top - bottom) / per_row * 8))
        if not palette.coloured and role != "live":
            return (palette.sign(role) if eighth >= 4 else " "), role
        if above is None or eighth == 8:
            return _EIGHTHS[eighth], role
        return _EIGHTHS[eighth], f"{role}/{above}"
    return " ", "text"


def _runs(cells: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    text, role = "", ""
    for sign, its_role in cells:
        if its_role != role and text:
            yield text, role
            text = ""
        text, role = text + sign, its_role
    if text:
        yield text, role


def axis(window: Window, count: int, marks: Iterable[Mark], end_text: str) -> StyledLine:
    """Return the times below the drawing, and a sign at each warning and error."""
    signs = _signs(window, count, marks)
    begin, middle = clock(window.begin_ns), clock((window.begin_ns + window.end_ns) // 2)
    for start, text in ((0, begin), (count - len(end_text), end_text), (count // 2 - len(middle) // 2, middle)):
        places = range(start, start + len(text))
        # A time gives way to a mark, and to another time.
        if places.start >= 0 and places.stop <= count and all(signs[place] == _NO_SIGN for place in places):
            signs[places.start : places.stop] = [(sign, "dim") for sign in text]
    line = StyledLine((" " * _LABEL, "dim"))
    for run in _runs(signs):
        line.add(*run)
    return line


def _signs(window: Window, count: int, marks: Iterable[Mark]) -> list[tuple[str, str]]:
    signs = [_NO_SIGN] * count
    width_ns = max(1, window.end_ns - window.begin_ns)
    for mark in marks:
        column = int((mark.timestamp_ns - window.begin_ns) * count // width_ns)
        if 0 <= column < count and mark.event_type not in _QUIET:
            signs[column] = ("▲", "bad" if mark.event_type in _BAD else "warn")
    return signs


def columns_in(width: int) -> int:
    """Return how many columns of time fit into `width` columns of the terminal."""
    return max(1, width - _LABEL)


def clock(time_ns: int, *, day: bool = False) -> str:
    """Format a local time of day, with its date before it on request."""
    return local_time(time_ns, "%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S") or "??:??:??"
