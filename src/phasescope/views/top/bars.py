"""The holders of each device's memory, one bar a device, and the parts of the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.categories import in_short
from phasescope.analysis.formatting import (
    UNKNOWN,
    elide,
    pad,
    printable,
    size_text,
    text_width,
)
from phasescope.views.top.styled_line import StyledLine, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.breakdown import Part
    from phasescope.analysis.categories import Categories
    from phasescope.analysis.devices import DeviceRow
    from phasescope.views.top.palette import Palette

ROLES = {
    "live": "live",
    "process": "live",
    "slack": "slack",
    "process_outside": "outside",
    "children": "children",
    "other_processes": "others",
    "driver": "driver",
    "unattributed": "unattributed",
    "free": "free",
}
"""How the parts of a breakdown are shown."""

SHORT = {
    "live": "live",
    "slack": "slack",
    "process": "this process",
    "process_outside": "context",
    "children": "children",
    "other_processes": "others",
    "driver": "driver",
    "unattributed": "unattributed",
}
"""Their names if there is little room."""

_SHORTEST_BAR = 10
_LONGEST_LABEL = 14
_WIDTH_WITH_WORK = 72


def bars(rows: Sequence[DeviceRow], chosen: str | None, width: int, palette: Palette) -> list[StyledLine]:
    """Return a line for each device: its name, its bar, and how much of how much is in use."""
    label_width = min(_LONGEST_LABEL, max((text_width(printable(row.label)) for row in rows), default=0))
    figures = [_figures(row) for row in rows]
    figure_width = max(map(text_width, figures), default=0)
    work = _work(rows) if width >= _WIDTH_WITH_WORK else [""] * len(rows)
    work_width = max(map(text_width, work), default=0)
    room = max(_SHORTEST_BAR, width - label_width - figure_width - 6 - (work_width + 2 if work_width else 0))
    lines = []
    for row, figure, at_work in zip(rows, figures, work, strict=True):
        is_chosen = row.label == chosen
        line = StyledLine(("▸ " if is_chosen else "  ", "title"))
        name = pad(elide(printable(row.label), label_width), label_width)
        line.add(name, "strong" if is_chosen else "text").add("  ")
        line.parts += _bar(row, room, palette)
        line.add("  ").add(pad(figure, figure_width, right=True), "text" if is_chosen else "dim")
        if work_width:
            line.add("  " + pad(at_work, work_width), "text" if is_chosen else "dim")
        lines.append(line)
    return lines


def _work(rows: Sequence[DeviceRow]) -> list[str]:
    """Return how busy and warm each accelerator is and what it draws; of the host nothing, and if none says, of
    none."""
    figures = [(row.utilization_percent, row.temperature_celsius, row.power_milliwatts) for row in rows]
    if all(figure is None for each in figures for figure in each):
        return [""] * len(rows)
    return [
        ""
        if row.label == "host"
        else f"{_amount(busy, '% busy'):>9}  {_amount(warm, ' °C'):>6}  "
        f"{_amount(None if power is None else round(power / 1000), ' W'):>5}"
        for row, (busy, warm, power) in zip(rows, figures, strict=True)
    ]


def _amount(figure: int | None, unit: str) -> str:
    return UNKNOWN if figure is None else f"{figure}{unit}"


def _figures(row: DeviceRow) -> str:
    if row.used_bytes is None:
        return f"{size_text(row.reserved_bytes)} reserved"
    if row.total_bytes is None:
        return f"{size_text(row.used_bytes)} in use"
    return f"{size_text(row.used_bytes)} of {size_text(row.total_bytes)}"


def _bar(row: DeviceRow, room: int, palette: Palette) -> list[tuple[str, str]]:
    parts = row.breakdown.parts if row.breakdown is not None else ()
    if not parts or not sum(part.size_bytes for part in parts):
        return [(pad(UNKNOWN, room), "dim")]
    pieces: list[tuple[str, str]] = []
    for part, columns in zip(parts, shares([part.size_bytes for part in parts], room), strict=True):
        role = ROLES.get(part.name, "unattributed")
        pieces.append((palette.sign(role) * columns, role))
    return pieces


def shares(sizes: Sequence[int], room: int) -> list[int]:
    """Return each size's share of `room` columns, all together exactly `room`.

    A size that is not 0 has one at least, as long as there are enough.
    """
    whole = sum(sizes)
    if not whole or room <= 0:
        return [0] * len(sizes)
    exact = [size * room / whole for size in sizes]
    columns = [max(1, int(share)) if size else 0 for share, size in zip(exact, sizes, strict=True)]
    order = sorted(range(len(sizes)), key=lambda index: exact[index] - columns[index], reverse=True)
    for index in order[: max(0, room - sum(columns))]:
        columns[index] += 1
    while sum(columns) > room:
        columns[max(range(len(columns)), key=columns.__getitem__)] -= 1
    while sum(columns) < room:
        columns[max(range(len(columns)), key=exact.__getitem__)] += 1
    return columns


def legend(row: DeviceRow, width: int, palette: Palette, most: int) -> list[StyledLine]:
    """Return the parts of one device that hold anything, with their signs, on at most `most` lines.

    By their full names or, if that needs more lines, by short ones.
    """
    breakdown = row.breakdown
    if breakdown is None:
        return [StyledLine(("    who holds it is not known here", "dim"))]
    made = [] if row.categories is None or most < 2 else [_made_of(row.categories, width)]
    most -= len(made)
    parts = [part for part in breakdown.parts if part.size_bytes]
    lines = _flowing([_entry(part, breakdown.fragmented_bytes, palette) for part in parts], width)
    if len(lines) > most:
        lines = _flowing([_short_entry(part, palette) for part in parts if part.name != "free"], width)
    return [*lines[:most], *made]


def _made_of(look: Categories, width: int) -> StyledLine:
    return cut(StyledLine(("  of ", "dim"), (in_short(look), "text")), width)


def _flowing(entries: Sequence[StyledLine], width: int) -> list[StyledLine]:
    lines: list[StyledLine] = []
    for entry in entries:
        if lines and lines[-1].width + entry.width + 3 <= width:
            lines[-1].add("   ").parts += entry.parts
        else:
            lines.append(StyledLine(("  ", "text"), *entry.parts))
    return lines


def _entry(part: Part, fragmented_bytes: int | None, palette: Palette) -> StyledLine:
    role = ROLES.get(part.name, "unattributed")
    line = StyledLine((palette.sign(role), role), (f" {part.label} ", "dim"), (size_text(part.size_bytes), "text"))
    if part.name == "slack" and fragmented_bytes:
        line.add(f" ({size_text(fragmented_bytes)} fragmented)", "dim")
    return line


def _short_entry(part: Part, palette: Palette) -> StyledLine:
    role, name = ROLES.get(part.name, "unattributed"), SHORT.get(part.name, part.name)
    return StyledLine((palette.sign(role), role), (f" {name} ", "dim"), (size_text(part.size_bytes), "text"))
