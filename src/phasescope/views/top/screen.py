"""The screen: the state that keys change, and each part of it drawn as lines. It knows no textual."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import UNKNOWN, printable
from phasescope.analysis.summary.allocator_remarks import allocator_remarks
from phasescope.views.top import (
    bars,
    chart,
    header,
    layout,
    panels,
    phase_table,
)
from phasescope.views.top.frame import (
    Frame,
    View,
    frame_of,
    points_of,
    within,
)
from phasescope.views.top.help import help_lines, keys_line, waiting_lines
from phasescope.views.top.styled_line import StyledLine, cut, spread, which

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.analysis.jobs.job import Job
    from phasescope.analysis.timeline.time_series import Point
    from phasescope.views.top.palette import Palette
    from phasescope.views.top.session_list import SessionWatch

PHASES, RANKS, EVENTS = "phases", "ranks", "events"
PANELS = (PHASES, RANKS, EVENTS)

_NEWS_S = 8.0
_LONG_NS, _LONG_S = 301_000_000_000, 1.0


class Picture:
    """Draws one session after another. `held` keeps the frame that is there; `helping` shows the keys instead."""

    def __init__(
        self, watch: SessionWatch, palette: Palette, places: list[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.palette = palette
        self.panel_name = PHASES
        self.held = False
        self.helping = False
        self.frame: Frame | None = None
        self.device: str | None = None
        self.view = View()
        self.scale = chart.OWN
        self.sort = phase_table.SORTS[0]
        self._watch = watch
        self._places = places
        self._clock = clock
        self._scroll = 0
        self._panel_height = 1
        self._hides_bars = False
        self._list_height = 1
        self._news: tuple[str, float] | None = None
        self._job: Job | None = None
        self._held_points: dict[str, list[Point]] = {}
        self._levels: list[chart.ColumnLevel] = []
        self._last: chart.ColumnLevel | None = None
        self._window = chart.Window(0, 1)
        self._measured: tuple[tuple[object, ...], float] | None = None

    # Events.

    def take(self, *, even_if_held: bool = False) -> None:
        """Take a new frame, unless the picture is held."""
        chosen = self._watch.chosen
        if chosen is None:
            self.frame = None
        elif not self.held or even_if_held or self.frame is None or self.frame.entry.key != chosen.entry.key:
            self.frame = frame_of(chosen)
            labels = [row.label for row in self.frame.devices]
            if self.device not in labels:
                self.device = labels[0] if labels else None

    def see_ranks(self) -> None:
        """Load the comparison of the ranks, if it is shown."""
        if self.panel_name == RANKS and not self.held:
            self._job = self._watch.compared()

    def begin_anew(self) -> None:
        """Begin again with another session."""
        self.view, self._scroll, self._job, self.held = View(), 0, None, False
        self.see_ranks()

    def announce(self, news: str | None) -> None:
        """Say something at the bottom, for some seconds."""
        if news:
            self._news = (printable(news), self._clock() + _NEWS_S)

    def choose_device(self, by: int) -> None:
        labels = [] if self.frame is None else [row.label for row in self.frame.devices]
        if labels:
            index = labels.index(self.device) if self.device in labels else 0
            self.device = labels[(index + by) % len(labels)]

    def choose_panel(self, index: int) -> None:
        self.panel_name, self._scroll = PANELS[index], 0
        self.see_ranks()

    def scroll_by(self, pages: float) -> None:
        self._scroll = max(0, self._scroll + round(pages * max(1, self._panel_height - 1)))

    def move(self, by: float) -> None:
        if self.frame is not None:
            self.view.move(by, self.frame)

    def to_edge(self, beginning: bool) -> None:
        if self.frame is not None and beginning:
            self.view.to_beginning(self.frame)
        else:
            self.view.to_now()

    def zoom(self, by: int) -> None:
        if self.frame is not None:
            self.view.zoom(by, self.frame)

    def next_scale(self) -> None:
        self.scale = chart.SCALES[(chart.SCALES.index(self.scale) + 1) % len(chart.SCALES)]

    def sort_by(self, by: int) -> None:
        self.sort = phase_table.SORTS[(phase_table.SORTS.index(self.sort) + by) % len(phase_table.SORTS)]
        self._scroll = 0

    def hold(self) -> None:
        self.held = not self.held
        lines = [] if self.frame is None or not self.held else self.frame.lines
        self._held_points = {line.label: line.series.points() for line in lines}

    # How much there is of each part.

    @property
    def listed(self) -> list[str]:
        """The sessions of which the list shows something."""
        return panels.shown_keys(self._watch, self._list_height)

    def heights(self, width: int, height: int) -> layout.Heights:
        """Return the lines of each part on a screen of this size; asked before the parts are drawn."""
        frame = self.frame
        if frame is None or self.helping:
            return layout.Heights(*(0,) * 9, max(0, height - 1), 0, min(1, height))
        self._measure(frame, width - 1)
        row = frame.device(self.device)
        legend = 0 if row is None else len(bars.legend(row, width, self.palette, 4))
        alerts = 0 if self.panel_name == EVENTS else len(frame.alerts)
        rows = 1 if frame.reading else len(frame.summary.rows) + 1
        wanted = layout.Wanted(
            len(self._watch.jobs),
            len(frame.devices),
            legend,
            alerts,
            rows,
            1,
            row is not None and row.categories is not None,
        )
        heights = layout.heights(height, wanted)
        self._list_height, self._panel_height = heights.sessions, heights.panel
        self._hides_bars = heights.bars < len(frame.devices)
        return heights

    # The parts, each for a width and a height.

    def head(self, width: int, height: int) -> list[StyledLine]:
        return [] if self.frame is None else [header.head(self.frame, width)]

    def verdict(self, width: int, height: int) -> list[StyledLine]:
        return [] if self.frame is None else [header.verdict_line(self.frame, width)]

    def sessions(self, width: int, height: int) -> list[StyledLine]:
        return panels.session_list(self._watch, width, height)

    def status(self, width: int, height: int) -> list[StyledLine]:
        frame = self.frame
        if frame is None:
            return []
        window, bands = self._window, None
        if self.view.back_ns and self._watch.chosen is not None:
            view = self._watch.chosen.view
            bands = view.timeline.bands(view.open_spans(), window.end_ns)
        line, missing = header.status(frame, bands, window, width), header.losses(frame)
        return _low(spread(line, cut(missing, width // 2), width) if missing.parts else line, height)

    def bars(self, width: int, height: int) -> list[StyledLine]:
        if self.frame is None:
            return []
        rows = self.frame.devices
        chosen = next((index for index, row in enumerate(rows) if row.label == self.device), 0)
        start = max(0, min(chosen - height // 2, len(rows) - height))
        return bars.bars(rows[start : start + height], self.device, width, self.palette)

    def legend(self, width: int, height: int) -> list[StyledLine]:
        row = None if self.frame is None else self.frame.device(self.device)
        return [] if row is None else bars.legend(row, width, self.palette, height)

    def title(self, width: int, height: int) -> list[StyledLine]:
        frame = self.frame
        if frame is None:
            return []
        labels = [row.label for row in frame.devices]
        of = f"{labels.index(self.device) + 1} of {len(labels)}" if self._hides_bars and self.device in labels else ""
        title = header.chart_title(frame, self.device, self._last, self._window, width, self.palette, of)
        return _low(title, height)

    def chart(self, width: int, height: int) -> list[StyledLine]:
        row = None if self.frame is None else self.frame.device(self.device)
        bounds = chart.scale_of(self._levels, None if row is None else row.total_bytes, self.scale)
        return chart.drawing(self._levels, bounds, height, self.palette)

    def axis(self, width: int, height: int) -> list[StyledLine]:
        if self.frame is None:
            return []
        window = self._window
        frame = self.frame
        is_current = frame.until_ns == frame.now_ns and not frame.ending.is_over and not frame.is_late
        live = not self.view.back_ns and not self.held and is_current
        end = "now" if live else chart.clock(window.end_ns)
        return [chart.axis(window, chart.columns_in(width), self.frame.marks, end)]

    def panel(self, width: int, height: int) -> list[StyledLine]:
        frame = self.frame
        if self.helping:
            return help_lines()[: max(1, height)]
        if frame is None:
            return waiting_lines(self._places, width, height)
        if self.panel_name == RANKS:
            return self._ranks(frame, width, height)
        if self.panel_name == EVENTS:
            self._scroll = min(self._scroll, max(0, len(frame.marks) - height + 1))
            lines = panels.event_lines(frame.marks, width, height - 1, self._scroll)
            hidden = which(self._scroll, len(lines), len(frame.marks))
            return [StyledLine((f" events, the newest first{hidden and ':'}{hidden}", "dim")), *lines]
        if frame.reading:
            return [StyledLine((f" {UNKNOWN}  the phases are known when all events are read", "dim"))]
        rows = frame.summary.rows
        self._scroll = min(self._scroll, max(0, len(rows) - height + 1))
        missing = [StyledLine((f" {line}", "dim")) for line in frame.missing]
        remarks = [cut(StyledLine((f" {line}", "warn")), width) for line in allocator_remarks(rows)]
        if not rows:
            return missing[: max(1, height)]
        shown = phase_table.table(rows, frame.round, self.sort, self._scroll, width, height)
        for more in (remarks, missing):
            if len(shown) + len(more) <= height:
                shown += more
        return shown

    def _ranks(self, frame: Frame, width: int, height: int) -> list[StyledLine]:
        if self._job is None:
            alone = len(self._watch.job) < 2
            text = "one rank only: there is nothing to compare" if alone else f"{UNKNOWN}  the ranks are being read"
            return [StyledLine((f" {text}", "dim"))]
        self._scroll = min(self._scroll, max(0, len(self._job.ranks) + len(self._job.phases) + 4 - height))
        return panels.ranks_table(self._job, frame.entry.constants.get("pid"), width, height, self._scroll)

    def alerts(self, width: int, height: int) -> list[StyledLine]:
        if self.frame is None:
            return []
        marks = [] if self.panel_name == EVENTS else self.frame.alerts
        return panels.alert_lines(marks, width, height)

    def keys(self, width: int, height: int) -> list[StyledLine]:
        if self._news is not None and self._clock() < self._news[1]:
            return [StyledLine((f" {self._news[0]}", "strong"), base="bar")]
        if self.helping:
            return [StyledLine((" press ? or h", "title"), (" to return", "dim"), base="bar")]
        frame = self.frame
        many = frame is not None and len(frame.devices) > 1
        line = keys_line(width, ranks=len(self._watch.job) > 1, sessions=len(self._watch.jobs) > 1, devices=many)
        held = StyledLine((" held ", "warn"), base="bar") if self.held else StyledLine()
        return [spread(line, held, width)] if held.parts else [line]

    def _measure(self, frame: Frame, width: int) -> None:
        """Find the points for the chart.

        A long timeline is costly and moves slowly: it is looked at once a second.
        """
        count, now = chart.columns_in(width), self._clock()
        window = self.view.window(frame)
        if not self.view.back_ns and not frame.ending.is_over:
            window = chart.aligned(window, count)
        of = (frame.entry.key, self.device, window, count, self.held, frame.ending.kind, frame.reading)
        known_for_s = _LONG_S if window.end_ns - window.begin_ns > _LONG_NS else 0
        if self._measured is not None and self._measured[0] == of and now - self._measured[1] < known_for_s:
            return
        line, held = frame.line(self.device), self._held_points.get(self.device or "") if self.held else None
        points = [] if line is None else within(held, window) if held is not None else points_of(line, window)
        self._levels, self._last = chart.levels(points, window, count), chart.last_level(points)
        self._window, self._measured = window, (of, now)


def _low(line: StyledLine, height: int) -> list[StyledLine]:
    """Return the line at the bottom of its place."""
    return [StyledLine()] * (height - 1) + [line]
