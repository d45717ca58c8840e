"""A summary as text for a person."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.breakdown import held_by
from phasescope.analysis.categories import made_of
from phasescope.analysis.formatting import (
    Column,
    change_text,
    count_text,
    duration_text,
    elide,
    path_text,
    plural,
    printable,
    share_text,
    size_text,
    table,
)
from phasescope.analysis.missing_phases import missing_phases
from phasescope.analysis.summary.allocator_remarks import allocator_remarks

from . import allocator_table
from .shown_phases import ALL_PHASES, ShownPhases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from phasescope.analysis.breakdown import Breakdown
    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.summary.phase_tree import Row
    from phasescope.analysis.summary.summary import Summary

NET_PER_ENTRY = "net/entry"
"""What an entry of a phase leaves behind: by how much allocated memory has changed, as the mean of all entries."""

_PHASES = (
    Column("phase", right=False, flexible=True),
    Column("count", spare=3),
    Column("total", spare=4),
    Column("mean"),
    Column("p50", spare=5),
    Column("p95", spare=1),
    Column(NET_PER_ENTRY),
    Column("peak"),
    Column("share", spare=2),
)
_ON_DEVICE = Column("on device")  # only on request
_DEVICES = (
    Column("device", right=False, flexible=True),
    Column("allocated"),
    Column("reserved", spare=1),
    Column("by others", spare=2),
    Column("used"),
    Column("free"),
    Column("total"),
)
_MAX_INDENT = 12
_MAX_NAMED = 3  # a line of remarks names as many phases and counts the others
_LONGEST_NAME, _LONGEST_CELL = 40, 120
_NARROWEST = 40
_MORE_PHASES = "(more phases)"


class SummaryParts(NamedTuple):
    """A summary as texts, for whoever lays them out. Names are harmless on a terminal, but no HTML yet."""

    header: list[str]
    columns: tuple[Column, ...]
    phases: list[list[str]]
    remarks: list[str]
    allocator: list[list[str]]
    device_columns: tuple[Column, ...]
    devices: list[list[str]]


def parts(summary: Summary, chosen: ShownPhases = ALL_PHASES) -> SummaryParts:
    """Return a report's contents, cell by cell. A phase's name is indented by its depth; if sorted, it has its path."""
    timed = any(row.device_time_ns is not None for row in summary.rows)
    columns = (*_PHASES, _ON_DEVICE) if timed else _PHASES
    return SummaryParts(
        list(_header(summary)),
        columns,
        [_phase_cells(row, _title(row, chosen))[: len(columns)] for row in chosen.of(summary.rows)],
        [*_remarks(summary.rows, chosen), *allocator_remarks(summary.rows)],
        allocator_table.cells(summary.rows),
        _DEVICES,
        [_device_cells(device) for device in summary.devices],
    )


def report(
    summary: Summary,
    width: int | None,
    missing: Sequence[str] | None = None,
    chosen: ShownPhases = ALL_PHASES,
) -> str:
    """Return the whole summary; lines stay within `width` columns if possible.

    `missing` are the remarks on missing phases, by default the summary's own, and `chosen` the phases that are shown.
    """
    shown = parts(summary, chosen)
    missing = missing_from(summary) if missing is None else missing
    lines = [*_fitted(shown.header, width), ""]
    if shown.phases:
        lines += table(shown.columns, shown.phases, width)
        lines += _fitted(shown.remarks, width)
        lines += ["", *table(allocator_table.COLUMNS, shown.allocator, width)] if shown.allocator else []
        lines += ["", *missing] if missing else []
    else:
        lines += missing
    if shown.devices:
        lines += ["", *table(shown.device_columns, shown.devices, width)]
        held_by = list(holders(((row.label, row.breakdown) for row in summary.devices), width))
        lines += ["", *held_by] if held_by else []
        made = list(wrapped(made_of(summary.devices), width))
        lines += ["", *made] if made else []
    return "\n".join(lines)


def missing_from(summary: Summary) -> list[str]:
    """Return the remarks on missing phases if nothing is known but the events."""
    return missing_phases(summary.rows, is_over="stop" in summary.events_by_type, missed=summary.missed)


def holders(devices: Iterable[tuple[str, Breakdown | None]], width: int | None) -> Iterator[str]:
    """Yield the holders of each device's memory, a paragraph a device."""
    yield from wrapped((text for label, whole in devices if (text := held_by(label, whole))), width)


def wrapped(texts: Iterable[str], width: int | None) -> Iterator[str]:
    """Yield the lines of texts, a paragraph a text."""
    for text in texts:
        yield from textwrap.wrap(text, max(width or _LONGEST_CELL, _NARROWEST), subsequent_indent="  ")


def _fitted(lines: Iterable[str], width: int | None) -> Iterable[str]:
    return lines if width is None else (elide(line, max(width, _NARROWEST)) for line in lines)


def _header(summary: Summary) -> Iterator[str]:
    if summary.events:
        yield f"session {printable(summary.session_id)}"
        yield ", ".join(_job_and_rank(summary))
    else:
        yield "no events"
    if summary.missed:
        yield f"{plural(summary.missed, 'older event')} overwritten, not in these figures"
    if summary.damaged:
        yield f"{plural(summary.damaged, 'damaged place')} in the data read: their events are lost"
    degraded = summary.events_by_type.get("collector_degraded", 0)
    if degraded:
        yield f"a source of counters stopped answering ({plural(degraded, 'time')})"


def _job_and_rank(summary: Summary) -> Iterator[str]:
    if summary.pid is not None and summary.pid >= 0:
        yield f"pid {summary.pid} on {elide(printable(summary.host), _LONGEST_NAME)}"
    if (summary.world_size or 1) > 1:
        yield f"rank {summary.rank} of {summary.world_size}"
    yield f"observed for {duration_text(summary.observed_ns)}"
    yield plural(summary.events, "event")


def _remarks(rows: Sequence[Row], chosen: ShownPhases) -> Iterator[str]:
    if shown := chosen.remark(rows):
        yield shown
    if any(row.peak_allocated_bytes is not None and not row.peak_is_exact for row in rows):
        yield "≥ lower bound: may be higher between samples"
    if any(map(_is_timed_in_part, rows)):
        yield "≥ on device: not of all entries, where its time is not known, or not yet"
    for title, named in (
        ("still open", [_open_phase(row) for row in rows if row.open]),
        ("ended in an exception", [f"{_name(row)} ({count_text(row.errors)})" for row in rows if row.errors]),
        (
            "open when the session stopped",
            [f"{_name(row)} ({count_text(row.abandoned)})" for row in rows if row.abandoned],
        ),
    ):
        if named:
            more = f" and {count_text(len(named) - _MAX_NAMED)} more" if len(named) > _MAX_NAMED else ""
            yield f"{title}: {', '.join(named[:_MAX_NAMED])}{more}"


def _open_phase(row: Row) -> str:
    times = f" ×{count_text(row.open)}" if row.open > 1 else ""
    return f"{_name(row)}{times}" + (f" for {duration_text(row.open_ns)}" if row.open_ns is not None else "")


def _name(row: Row) -> str:
    return elide(path_text(row.path), _LONGEST_NAME) or _MORE_PHASES


def _title(row: Row, chosen: ShownPhases) -> str:
    if not row.path:
        return _MORE_PHASES
    if chosen.figure is not None:
        return elide(path_text(row.path), _LONGEST_CELL)
    return " " * min(2 * (row.depth - 1), _MAX_INDENT) + elide(printable(row.path[-1]), _LONGEST_CELL)


def _phase_cells(row: Row, title: str) -> list[str]:
    mark = "" if row.peak_is_exact or row.peak_allocated_bytes is None else "≥"
    return [
        title,
        count_text(row.count),
        duration_text(row.total_ns),
        duration_text(row.mean_ns),
        duration_text(row.p50_ns),
        duration_text(row.p95_ns),
        change_text(row.allocated_delta_mean_bytes),
        mark + size_text(row.peak_allocated_bytes),
        share_text(row.share),
        ("≥" if _is_timed_in_part(row) else "") + duration_text(row.device_time_ns),
    ]


def _is_timed_in_part(row: Row) -> bool:
    return row.device_time_ns is not None and row.device_timed < row.count


def _device_cells(device: DeviceRow) -> list[str]:
    figures = (
        device.allocated_bytes,
        device.reserved_bytes,
        device.used_by_others_bytes,
        device.used_bytes,
        device.free_bytes,
        device.total_bytes,
    )
    return [elide(printable(device.label), _LONGEST_CELL), *map(size_text, figures)]
