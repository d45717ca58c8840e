"""How many lines each part of the screen has: what matters most is there in 80×24, and less of it on less."""

from __future__ import annotations

from typing import NamedTuple


class Heights(NamedTuple):
    """Lines of each part, from above; 0: it is not shown."""

    head: int
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


_SMALLEST_CHART = 3
_SMALLEST_PANEL = 4
_CHART_SHARE = 0.42


def heights(height: int, jobs: int, devices: int, legend: int, alerts: int) -> Heights:
    """For a screen of so many lines, with so many jobs, devices, and lines of legend and alerts to be shown."""
    head, keys, status = 1, int(height >= 8), int(height >= 4)
    room = height - head - keys - status
    sessions = _up_to(jobs if jobs > 1 else 0, room // 6)
    room -= sessions
    bars = _up_to(devices, max(1, room // 8)) if room >= 9 else 0
    room -= bars
    legend = _up_to(legend if bars else 0, 2 if height >= 34 else 1)
    room -= legend
    alerts = _up_to(alerts, max(1, room // 7)) if room >= _SMALLEST_CHART + _SMALLEST_PANEL + 2 else 0
    room -= alerts
    frame = 2 if room >= _SMALLEST_CHART + _SMALLEST_PANEL + 2 else 0  # the chart's title and axis
    chart = max(_SMALLEST_CHART, round((room - frame) * _CHART_SHARE)) if frame else 0
    panel = max(0, room - frame - chart)
    return Heights(head, sessions, status, bars, legend, frame // 2, chart, frame // 2, panel, alerts, keys)


def _up_to(wanted: int, most: int) -> int:
    return max(0, min(wanted, most))
