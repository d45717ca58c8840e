"""The lines that name the session, device and moment of the rest of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.diagnosis.verdict import verdict
from phasescope.analysis.formatting import (
    UNKNOWN,
    count_text,
    duration_text,
    elide,
    path_text,
    plural,
    printable,
    size_text,
    text_width,
)
from phasescope.analysis.text.commands import what_runs
from phasescope.analysis.text.state_word import state_word
from phasescope.views.top.chart import clock
from phasescope.views.top.panels import clipped, state_sign
from phasescope.views.top.styled_line import StyledLine, cut, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.spans import Span
    from phasescope.analysis.timeline.bands import Band
    from phasescope.views.top.chart import ColumnLevel, Window
    from phasescope.views.top.frame import Frame
    from phasescope.views.top.palette import Palette

_NS_PER_S = 1_000_000_000
_NARROW = 70


def head(frame: Frame, width: int) -> StyledLine:
    """Return the line that names the session and its state."""
    constants = frame.entry.constants
    sign, role = state_sign(frame.ending.kind)
    right = StyledLine(*((f"{word}  ", "dim") for word in _identity(frame, width)))
    right.add(sign + " ", role).add(_fares(frame), role)
    command = what_runs(constants) or printable(constants.get("session_id"))
    room = width - right.width - 4
    left = StyledLine((" ", "text"), (clipped(command, room), "strong"), base="bar")
    return spread(left, right.add(" "), width)


def _identity(frame: Frame, width: int) -> list[str]:
    constants = frame.entry.constants
    words = [f"pid {printable(constants.get('pid'))}"]
    world_size = constants.get("world_size")
    if type(world_size) is int and world_size > 1:
        words.append(f"rank {printable(constants.get('rank'))} of {world_size}")
    return words if width >= _NARROW else words[-1:]


def _fares(frame: Frame) -> str:
    age_ns = max(0, frame.now_ns - frame.began_ns)
    word = state_word(frame.ending)
    if frame.ending.kind in ("silent", "unknown"):
        return word
    return f"{word} after {duration_text(age_ns)}" if frame.ending.is_over else f"{word} {duration_text(age_ns)}"


def verdict_line(frame: Frame, width: int) -> StyledLine:
    """Return the answer in one line, and when its memory will be full; of one that is not yet read "–"."""
    answer = frame.answer
    if answer is None:
        return StyledLine((f" {UNKNOWN}", "dim"))
    answer_line = verdict(answer)
    line = StyledLine(
        (" ", "text"),
        (printable(answer_line.text), "dim" if answer_line.is_good else "warn" if _runs(frame) else "bad"),
    )
    growth = answer.cause.growth
    if growth is not None and growth.hours_until_full is not None and _runs(frame):
        full = f"; full in {duration_text(int(min(growth.hours_until_full, 1e6) * 3.6e12))}"
        if line.width + text_width(full) <= width:
            line.add(full, "warn")
    return cut(line, width)


def _runs(frame: Frame) -> bool:
    return not frame.ending.is_over


def status(frame: Frame, bands: Sequence[Band] | None, window: Window, width: int) -> StyledLine:
    """Return the open phases, now or at the moment that is looked back at; for a session that is over its ending."""
    if bands is not None:
        return cut(_then(bands, window), width)
    ending = frame.ending
    sign, role = state_sign(ending.kind)
    if ending.is_over:
        line = StyledLine((f" {sign} ", role), (ending.text, role))
        open_phases = [phase for phase in ending.open_phases if phase.path]
        if open_phases:
            inner = max(open_phases, key=lambda phase: len(phase.path))
            took = "" if inner.open_ns is None else f", for {duration_text(inner.open_ns)}"
            line.add(f"; open: {elide(path_text(inner.path), 48)}{took}", "text")
        return cut(line, width)
    if ending.kind == "silent":
        line = StyledLine((f" {sign} {ending.text}", role))
        return cut(line.add(f", in {_names(frame.current)}" if frame.current else "", "text"), width)
    if not frame.current and frame.reading:
        return StyledLine((f" {UNKNOWN}", "dim"))
    if not frame.current:
        return StyledLine((" ○ ", "dim"), ("no phase is open", "dim"))
    line = StyledLine((" ● ", "good"))
    for index, span in enumerate(reversed(frame.current)):
        line.add("   " if index else "").add(elide(path_text(span.path), 60), "strong" if not index else "text")
        if span.start_ns is not None:
            line.add(f"  {duration_text(max(0, frame.now_ns - span.start_ns))}", "dim")
    return cut(line, width)


def _names(spans: Sequence[Span]) -> str:
    return ", ".join(elide(path_text(span.path), 48) for span in reversed(spans))


def _then(bands: Sequence[Band], window: Window) -> StyledLine:
    """Return the innermost phases at the right edge of the window, as far as they are kept."""
    at_ns = window.end_ns
    over = [band for band in bands if band.start_ns <= at_ns and (band.end_ns is None or band.end_ns >= at_ns)]
    inner: dict[int | None, Band] = {}
    for band in over:
        innermost = inner.get(band.thread_id)
        if innermost is None or len(band.path) > len(innermost.path):
            inner[band.thread_id] = band
    names = ", ".join(elide(path_text(band.path), 48) for band in inner.values()) or "which phase is not kept"
    return StyledLine((f" ◂ at {clock(at_ns)}  ", "warn"), (names, "text"))


def chart_title(
    frame: Frame,
    label: str | None,
    level: ColumnLevel | None,
    window: Window,
    width: int,
    palette: Palette,
    which_of: str = "",
) -> StyledLine:
    """Return the device, `which_of` several if not all have a bar, its figures at the right edge of the window, and its
    peak."""
    left = StyledLine((f" {elide(printable(label or 'no device'), 14)} ", "title"))
    left.add(f" {which_of} " if which_of else "", "dim")
    if level is not None:
        # Of the host both are the process's resident set.
        names = ("this process", "", "used by all") if label == "host" else ("allocated", "reserved", "used")
        for name, value, role in zip(names, level[1:], ("live", "slack", "others"), strict=True):
            if name and value is not None:
                left.add(f"  {palette.sign(role)} ", role).add(f"{name} ", "dim").add(size_text(value))
    line = frame.line(label)
    span = f"{duration_text(max(0, window.end_ns - window.begin_ns))} "
    peak = "" if line is None or line.peak is None else f"peak {size_text(line.peak.allocated_bytes)}"
    right = StyledLine(
        (f"{peak}   " if peak and left.width + text_width(peak + span) + 7 < width else "", "text"), (span, "dim")
    )
    return spread(left, right, width)


def losses(frame: Frame) -> StyledLine:
    """Return the remarks on missing figures; empty if nothing is missing."""
    line = StyledLine()
    if frame.problem is not None:
        line.add(f"cannot be read any more: {printable(frame.problem)}  ", "bad")
    elif frame.is_gone:
        line.add("its file is gone; this is all that was read  ", "warn")
    if frame.lost:
        line.add(f"{plural(frame.lost, 'event')} lost  ", "bad")
    if frame.dropped:
        line.add(f"{count_text(frame.dropped)} could not be written  ", "bad")
    if frame.damaged:
        line.add(f"{plural(frame.damaged, 'damaged place')}  ", "bad")
    if frame.reading:
        line.add(f"reading, {plural(frame.events, 'event')} so far  ", "warn")
    elif frame.is_late:
        line.add(f"behind: this is how it was at {clock(frame.now_ns)}  ", "warn")
    elif frame.older:
        line.add(f"{plural(frame.older, 'older event')} overwritten  ", "dim")
    return line
