"""Who holds each device's memory, one bar a device, and what the parts of the chosen one are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import (
    UNKNOWN,
    elide,
    pad,
    printable,
    size_text,
    text_width,
)
from phasescope.views.top.styled_line import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.breakdown import Part
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
    "unattributed": "untold",
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
    "unattributed": "not told apart",
}
"""Their names where there is little room."""

_SHORTEST_BAR = 10
_LONGEST_LABEL = 14


def bars(rows: Sequence[DeviceRow], chosen: str | None, width: int, palette: Palette) -> list[Line]:
    """A line a device: its name, its bar, and how much of how much is in use."""
    label_width = min(_LONGEST_LABEL, max((text_width(printable(row.label)) for row in rows), default=0))
    figures = [_figures(row) for row in rows]
    figure_width = max(map(text_width, figures), default=0)
    room = max(_SHORTEST_BAR, width - label_width - figure_width - 6)
    lines = []
    for row, figure in zip(rows, figures, strict=True):
        is_chosen = row.label == chosen
        line = Line(("▸ " if is_chosen else "  ", "title"))
        name = pad(elide(printable(row.label), label_width), label_width)
        line.add(name, "strong" if is_chosen else "text").add("  ")
        line.parts += _bar(row, room, palette)
        lines.append(line.add("  ").add(pad(figure, figure_width, right=True), "text" if is_chosen else "dim"))
    return lines


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
        role = ROLES.get(part.name, "untold")
        pieces.append((palette.sign(role) * columns, role))
    return pieces


def shares(sizes: Sequence[int], room: int) -> list[int]:
    """So many of `room` columns for each size, all together exactly `room`; what is not nothing has one at least, as
    long as there are enough."""
    whole = sum(sizes)
    if not whole or room <= 0:
        return [0] * len(sizes)
    exact = [size * room / whole for size in sizes]
    columns = [max(1, int(share)) if size else 0 for share, size in zip(exact, sizes, strict=True)]
    order = sorted(range(len(sizes)), key=lambda at: exact[at] - columns[at], reverse=True)
    for at in order[: max(0, room - sum(columns))]:
        columns[at] += 1
    while sum(columns) > room:
        columns[max(range(len(columns)), key=columns.__getitem__)] -= 1
    while sum(columns) < room:
        columns[max(range(len(columns)), key=exact.__getitem__)] += 1
    return columns


def legend(row: DeviceRow, width: int, palette: Palette, most: int) -> list[Line]:
    """The parts of one device that hold anything, with their signs, on at most so many lines: by their full names,
    where that needs more lines by short ones."""
    found = row.breakdown
    if found is None:
        return [Line(("    who holds it is not known here", "dim"))]
    parts = [part for part in found.parts if part.size_bytes]
    lines = _flowing([_entry(part, found.fragmented_bytes, palette) for part in parts], width)
    if len(lines) > most:
        lines = _flowing([_short_entry(part, palette) for part in parts if part.name != "free"], width)
    return lines[:most]


def _flowing(entries: Sequence[Line], width: int) -> list[Line]:
    lines: list[Line] = []
    for entry in entries:
        if lines and lines[-1].width + entry.width + 3 <= width:
            lines[-1].add("   ").parts += entry.parts
        else:
            lines.append(Line(("  ", "text"), *entry.parts))
    return lines


def _entry(part: Part, fragmented_bytes: int | None, palette: Palette) -> Line:
    role = ROLES.get(part.name, "untold")
    line = Line((palette.sign(role), role), (f" {part.label} ", "dim"), (size_text(part.size_bytes), "text"))
    if part.name == "slack" and fragmented_bytes:
        line.add(f" ({size_text(fragmented_bytes)} fragmented)", "dim")
    return line


def _short_entry(part: Part, palette: Palette) -> Line:
    role, name = ROLES.get(part.name, "untold"), SHORT.get(part.name, part.name)
    return Line((palette.sign(role), role), (f" {name} ", "dim"), (size_text(part.size_bytes), "text"))
