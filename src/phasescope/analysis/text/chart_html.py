"""A device's memory over time as a small picture for a notebook: SVG that needs no style and no script."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import duration_text, elide, path_text, printable, size_text
from phasescope.analysis.timeline.time_series import thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.timeline.timeline import DeviceLine, Timeline

_WIDTH, _HEIGHT = 600, 80
_MOST_POINTS = 200
_LONGEST_PATH = 60


def chart_html(timeline: Timeline) -> str:
    """Return a picture of the allocated memory of the first device that has any, an accelerator before the host, with
    its peak in words below; nothing where too little is known for a line."""
    lines = sorted(timeline.devices, key=lambda line: line.label == "host")
    for line in lines:
        points = [
            (point.timestamp_ns, point.allocated_bytes.max) for point in thinned(line.series.points(), _MOST_POINTS)
        ]
        if sum(size is not None for _, size in points) > 1:
            return _drawing(line, points)
    return ""


def _drawing(line: DeviceLine, points: Sequence[tuple[int, int | None]]) -> str:
    first_ns, last_ns = points[0][0], points[-1][0]
    most = max(size for _, size in points if size is not None)
    span_ns = max(1, last_ns - first_ns)
    pieces = []
    for is_known, run in groupby(points, key=lambda point: point[1] is not None):
        if is_known:  # where it is not known there is a gap
            corners = [
                f"{(time_ns - first_ns) * _WIDTH / span_ns:.1f},{_HEIGHT * (1 - (size or 0) / max(1, most)):.1f}"
                for time_ns, size in run
            ]
            pieces.append(f'<polyline points="{" ".join(corners)}" />')
    caption = _caption(line, most, last_ns - first_ns)
    return (
        f'<svg role="img" aria-label="{escape(caption)}" viewBox="-1 -2 {_WIDTH + 2} {_HEIGHT + 4}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="currentColor" stroke-width="1.5">'
        f"{''.join(pieces)}</svg>\n<p>{escape(caption)}</p>"
    )


def _caption(line: DeviceLine, most: int, span_ns: int) -> str:
    held = "this process" if line.label == "host" else "allocated"
    peak, where = size_text(most), ""
    if line.peak is not None:
        peak = size_text(line.peak.allocated_bytes)
        where = f" in {elide(path_text(line.peak.path), _LONGEST_PATH)}" if line.peak.path else ""
    return f"{printable(line.label)}, {held}, over {duration_text(span_ns)}; peak {peak}{where}"
