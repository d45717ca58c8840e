"""One picture of the chosen session. While the view is paused the picture stays, and nothing of it
moves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.analysis.diagnosis.ending import SILENT
from phasescope.analysis.steps import round_of
from phasescope.views.missing_phases import missing_in
from phasescope.views.top.chart import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.spans import Span
    from phasescope.analysis.summary.summary import Summary
    from phasescope.analysis.timeline.time_series import Point
    from phasescope.analysis.timeline.timeline import DeviceLine, Mark
    from phasescope.views.catalogue import Entry
    from phasescope.views.top.shown_session import Watched

_AUTOMATIC_S = (10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300)
SPANS_S = (15, 30, 60, 120, 300, 900, 3600, 4 * 3600, 12 * 3600, 48 * 3600)
"""The spans that the timeline can show, in seconds; the last is everything."""

_LATE_NS = 2_000_000_000
_QUIET = ("start", "stop")


@dataclass(frozen=True)
class Frame:
    """One session at one moment.

    `now_ns` is its time: now, or of a session that is over or not yet read to its end the last that is known.
    `until_ns` is the latest time to be shown: the same, or if it has been silent for longer than is shown by itself,
    its last event. `older`, `lost`, `damaged` and `dropped` count events that are not in it. `answer` is its
    explanation, None as long as that is not known. `reading` says that the older events are not all read yet,
    `is_late` that the newest events are not.
    """

    @property
    def began_ns(self) -> int:
        """When the session began, by its header; the events that are left may begin later."""
        started_ns = self.entry.constants.get("started_ns")
        return min(started_ns, self.first_ns) if type(started_ns) is int and started_ns > 0 else self.first_ns

    entry: Entry
    now_ns: int
    until_ns: int
    first_ns: int
    events: int
    reading: bool
    is_late: bool
    summary: Summary
    devices: tuple[DeviceRow, ...]
    lines: Sequence[DeviceLine]
    current: Sequence[Span]
    marks: Sequence[Mark]
    ending: Ending
    missing: Sequence[str]
    answer: Explanation | None
    older: int
    lost: int
    damaged: int
    dropped: int
    is_gone: bool
    problem: str | None
    round: tuple[tuple[str, ...], ...]

    @property
    def alerts(self) -> list[Mark]:
        """The warnings, errors and the like, oldest first."""
        return [mark for mark in self.marks if mark.event_type not in _QUIET]

    def line(self, label: str | None) -> DeviceLine | None:
        """Return the timeline of the device that is called so."""
        return next((line for line in self.lines if line.label == label), None)

    def device(self, label: str | None) -> DeviceRow | None:
        """Return the state of the device with this label."""
        return next((row for row in self.devices if row.label == label), None)


def frame_of(watched: Watched, now_ns: int | None = None) -> Frame:
    """Return the session as it stands now. As long as its older events are not all read, that is its header and
    its newest events, and nothing of those read so far."""
    reading = watched.is_reading
    view = watched.newest() if reading else watched.view
    ending = watched.newest_ending() if reading else watched.ending()
    summed = view.summary() if reading else watched.summary()
    last_ns = view.timeline.last_ns
    now_ns = time.time_ns() if now_ns is None else now_ns
    is_late = watched.is_behind and not reading and last_ns is not None and now_ns - last_ns > _LATE_NS
    if ending.is_over or is_late:
        now_ns = last_ns or ending.last_ns or now_ns
    has_stood = ending.kind == SILENT and last_ns is not None and now_ns - last_ns > _AUTOMATIC_S[-1] * 1_000_000_000
    return Frame(
        entry=watched.entry,
        now_ns=now_ns,
        until_ns=last_ns if has_stood and last_ns is not None else now_ns,
        first_ns=view.timeline.first_ns or now_ns,
        events=watched.view.events,
        reading=reading,
        is_late=is_late,
        summary=summed,
        devices=view.devices(),
        lines=() if reading else view.timeline.devices,
        current=view.current(),
        marks=view.marks(),
        ending=ending,
        missing=[] if reading else _missing(watched, summed, ending),
        answer=None if reading else watched.answer(),
        older=watched.older or 0,
        lost=watched.lost,
        damaged=watched.followed.damaged,
        dropped=_dropped(watched),
        is_gone=watched.is_gone,
        problem=watched.problem,
        round=round_of(view.ended.entries),
    )


def _missing(watched: Watched, summed: Summary, ending: Ending) -> list[str]:
    try:
        return missing_in(watched.followed.reader, summed, is_over=ending.is_over, ended_well=ending.is_good)
    except (OSError, ValueError):
        return []


def _dropped(watched: Watched) -> int:
    try:
        return watched.followed.reader.dropped
    except (OSError, ValueError):
        return 0


class View:
    """Which part of the time is shown: how much (`span_s` None: as suits the session), and how far back."""

    def __init__(self) -> None:
        self.span_s: float | None = None
        self.back_ns = 0

    def window(self, frame: Frame) -> Window:
        """Return the time that is shown of this session."""
        span_ns = int(self._span_s(frame) * 1e9)
        end_ns = frame.until_ns - min(self.back_ns, self._furthest_ns(frame))
        return Window(end_ns - span_ns, end_ns)

    def _span_s(self, frame: Frame) -> float:
        age_s = max(0.0, (frame.until_ns - frame.first_ns) / 1e9)
        if self.span_s is None and frame.ending.is_over:
            return min(max(1.0, age_s), _AUTOMATIC_S[-1])
        if self.span_s is None:
            return next((span for span in _AUTOMATIC_S if span >= age_s), _AUTOMATIC_S[-1])
        return self.span_s if self.span_s < SPANS_S[-1] else max(SPANS_S[0], age_s)

    def zoom(self, by: int, frame: Frame) -> None:
        """Show more of the time (1), or less (-1)."""
        now = self._span_s(frame)
        if by > 0:
            self.span_s = next((span for span in SPANS_S if span > now), SPANS_S[-1])
        else:
            self.span_s = next((span for span in reversed(SPANS_S) if span < now), SPANS_S[0])

    def move(self, by: float, frame: Frame) -> None:
        """Go this many windows back in time; below 0 is forward, at most to now."""
        step_ns = int(by * self._span_s(frame) * 1e9)
        self.back_ns = max(0, min(self.back_ns + step_ns, self._furthest_ns(frame)))

    def to_beginning(self, frame: Frame) -> None:
        """Show how it began."""
        self.back_ns = self._furthest_ns(frame)

    def to_now(self) -> None:
        """Go along with the time again."""
        self.back_ns = 0

    def _furthest_ns(self, frame: Frame) -> int:
        return max(0, frame.until_ns - frame.first_ns - int(self._span_s(frame) * 1e9))


def points_of(line: DeviceLine, window: Window) -> list[Point]:
    """Return the points of the window, as finely as they are known."""
    points = line.series.recent()
    if not points or points[0].timestamp_ns > window.begin_ns:
        points = line.series.points()
    return within(points, window)


def within(points: Sequence[Point], window: Window) -> list[Point]:
    """Return the points in the window, and the one before it."""
    first = next((index for index, point in enumerate(points) if point.timestamp_ns >= window.begin_ns), len(points))
    last = next((index for index in range(len(points), 0, -1) if points[index - 1].timestamp_ns <= window.end_ns), 0)
    return list(points[max(0, first - 1) : last])
