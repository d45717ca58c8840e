"""The lines that say of which session, device and moment the rest of the screen speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import (
    count_text,
    duration_text,
    elide,
    path_text,
    plural,
    printable,
    size_text,
    text_width,
)
from phasescope.views.top.chart import clock
from phasescope.views.top.panels import clipped, command_of, state_sign
from phasescope.views.top.styled_line import Line, cut, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.spans import Span
    from phasescope.analysis.timeline.bands import Band
    from phasescope.views.top.chart import Level, Window
    from phasescope.views.top.frame import Frame
    from phasescope.views.top.palette import Palette

_NS_PER_S = 1_000_000_000
_NARROW = 70


def head(frame: Frame, width: int) -> Line:
    """Which session this is, and how it fares."""
    constants = frame.entry.constants
    sign, role = state_sign(frame.ending.kind)
    right = Line(*((f"{word}  ", "dim") for word in _identity(frame, width)))
    right.add(sign + " ", role).add(_fares(frame), role)
    command = command_of(constants) or printable(constants.get("session_id"))
    room = width - right.width - 4
    left = Line((" ", "text"), (clipped(command, room), "strong"), base="bar")
    return spread(left, right.add(" "), width)


def _identity(frame: Frame, width: int) -> list[str]:
    constants = frame.entry.constants
    words = [f"pid {printable(constants.get('pid'))}"]
    world_size = constants.get("world_size")
    if type(world_size) is int and world_size > 1:
        words.append(f"rank {printable(constants.get('rank'))} of {world_size}")
    return words if width >= _NARROW else words[-1:]


def _fares(frame: Frame) -> str:
    age_ns = max(0, frame.now_ns - frame.first_ns)
    words = {
        "running": f"running {duration_text(age_ns)}",
        "silent": f"silent {duration_text(frame.ending.silent_ns)}",
        "finished": f"finished after {duration_text(age_ns)}",
        "unknown": "recorded",
        "exception": f"failed after {duration_text(age_ns)}",
        "killed": f"killed after {duration_text(age_ns)}",
    }
    return words.get(frame.ending.kind, f"out of memory after {duration_text(age_ns)}")


def status(frame: Frame, bands: Sequence[Band] | None, window: Window, width: int) -> Line:
    """What is open now, or was at the moment that is looked back at; of a session that is over how it ended."""
    if bands is not None:
        return cut(_then(bands, window), width)
    ending = frame.ending
    sign, role = state_sign(ending.kind)
    if ending.is_over:
        line = Line((f" {sign} ", role), (ending.text, role))
        open_phases = [phase for phase in ending.open_phases if phase.path]
        if open_phases:
            inner = max(open_phases, key=lambda phase: len(phase.path))
            took = "" if inner.open_ns is None else f", for {duration_text(inner.open_ns)}"
            line.add(f"; open: {elide(path_text(inner.path), 48)}{took}", "text")
        return cut(line, width)
    if ending.kind == "silent":
        line = Line((f" {sign} {ending.text}", role))
        return cut(line.add(f", in {_names(frame.current)}" if frame.current else "", "text"), width)
    if not frame.current:
        return Line((" ○ ", "dim"), ("no phase is open", "dim"))
    line = Line((" ● ", "good"))
    for at, span in enumerate(reversed(frame.current)):
        line.add("   " if at else "").add(elide(path_text(span.path), 60), "strong" if not at else "text")
        if span.start_ns is not None:
            line.add(f"  {duration_text(max(0, frame.now_ns - span.start_ns))}", "dim")
    return cut(line, width)


def _names(spans: Sequence[Span]) -> str:
    return ", ".join(elide(path_text(span.path), 48) for span in reversed(spans))


def _then(bands: Sequence[Band], window: Window) -> Line:
    """The innermost phases at the right edge of the window, as far as they are kept."""
    at_ns = window.end_ns
    over = [band for band in bands if band.start_ns <= at_ns and (band.end_ns is None or band.end_ns >= at_ns)]
    inner: dict[int | None, Band] = {}
    for band in over:
        known = inner.get(band.thread_id)
        if known is None or len(band.path) > len(known.path):
            inner[band.thread_id] = band
    names = ", ".join(elide(path_text(band.path), 48) for band in inner.values()) or "which phase is not kept"
    return Line((f" ◂ at {clock(at_ns)}  ", "warn"), (names, "text"))


def chart_title(
    frame: Frame, label: str | None, level: Level | None, window: Window, width: int, palette: Palette
) -> Line:
    """The device, its figures at the right edge of the window, and its peak."""
    left = Line((f" {elide(printable(label or 'no device'), 14)} ", "title"))
    if level is not None:
        # Of the host both are the process's resident set.
        names = ("this process", "", "used by all") if label == "host" else ("allocated", "reserved", "used")
        for name, value, role in zip(names, level[1:], ("live", "slack", "others"), strict=True):
            if name and value is not None:
                left.add(f"  {palette.sign(role)} ", role).add(f"{name} ", "dim").add(size_text(value))
    line = frame.line(label)
    span = f"{duration_text(max(0, window.end_ns - window.begin_ns))} "
    peak = "" if line is None or line.peak is None else f"peak {size_text(line.peak.allocated_bytes)}"
    right = Line(
        (f"{peak}   " if peak and left.width + text_width(peak + span) + 7 < width else "", "text"), (span, "dim")
    )
    return spread(left, right, width)


def losses(frame: Frame) -> Line:
    """What is not in the figures; empty where nothing is missing."""
    line = Line()
    if frame.problem is not None:
        line.add(f"can not be read any more: {printable(frame.problem)}  ", "bad")
    elif frame.is_gone:
        line.add("its file is gone; this is what was read  ", "warn")
    if frame.lost:
        line.add(f"{plural(frame.lost, 'event')} lost  ", "bad")
    if frame.dropped:
        line.add(f"{count_text(frame.dropped)} could not be written  ", "bad")
    if frame.damaged:
        line.add(f"{plural(frame.damaged, 'damaged place')}  ", "bad")
    if frame.reading:
        line.add(f"reading, {plural(frame.events, 'event')} so far  ", "warn")
    elif frame.older:
        line.add(f"{plural(frame.older, 'older event')} overwritten  ", "dim")
    return line
