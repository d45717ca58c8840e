"""How many lines each part of the screen has: the most important is there in 80×24, and less of it on less."""

from __future__ import annotations

from typing import NamedTuple


class Wanted(NamedTuple):
    """The lines that each part wants; `rows` are those of the phase table with its titles."""

    jobs: int
    devices: int
    legend: int
    alerts: int
    rows: int
    verdict: int = 0
    is_made_of: bool = False  # the legend has a line of categories


class Heights(NamedTuple):
    """Lines of each part, from above; 0: it is not shown."""

    head: int
    verdict: int
    sessions: int
    status: int
    bars: int
    legend: int
    title: int
    chart: int
    axis: int
    panel: int
    alerts: int
    keys: int


_SMALLEST_CHART, _LARGEST_CHART = 3, 24
_SMALLEST_PANEL = 4
_PANEL_SHARE = 0.6
_ROOMY = 32
_WITH_CATEGORIES = 28
_SMALLEST_WITH_VERDICT = 10


def heights(height: int, wanted: Wanted) -> Heights:
    """Return the heights for a screen of `height` lines. The chart has the lines that the phase table does not need."""
    head, keys, status = 1, int(height >= 8), int(height >= 4)
    verdict = _up_to(wanted.verdict, int(height >= _SMALLEST_WITH_VERDICT))
    room = height - head - keys - status - verdict
    sessions = _up_to(wanted.jobs if wanted.jobs > 1 else 0, room // 6)
    room -= sessions
    bars = _up_to(wanted.devices, max(1, room // 8)) if room >= 9 else 0
    room -= bars
    legend = _up_to(
        wanted.legend if bars else 0, (2 if height >= 34 else 1) + int(wanted.is_made_of and height >= _WITH_CATEGORIES)
    )
    room -= legend
    alerts = _up_to(wanted.alerts, max(1, room // 7)) if room >= _SMALLEST_CHART + _SMALLEST_PANEL + 2 else 0
    room -= alerts
    frame = int(room >= _SMALLEST_CHART + _SMALLEST_PANEL + 2)  # the chart's title, and its axis
    air = int(height >= _ROOMY)  # an empty line above each part
    room -= 2 * frame + air * (1 + 2 * frame)
    panel = min(max(wanted.rows, _SMALLEST_PANEL), max(_SMALLEST_PANEL, round(room * _PANEL_SHARE))) if frame else room
    chart = min(room - panel, _LARGEST_CHART)
    framing = frame * (1 + air)
    below = (framing, chart, framing, room - chart, alerts, keys)
    return Heights(head, verdict, sessions, status + air, bars, legend, *below)


def _up_to(wanted: int, most: int) -> int:
    return max(0, min(wanted, most))
