"""The parts of `phasescope top` that know no terminal: what they draw from figures, as plain text."""

from __future__ import annotations

import pytest

pytest.importorskip("textual")

from made_events import MIB, MadeSession
from phasescope.analysis.diagnosis.growth import Growth
from phasescope.analysis.formatting import text_width
from phasescope.analysis.summary.summary import summarize
from phasescope.analysis.timeline.time_series import Point, Range
from phasescope.views.top import (
    bars,
    chart,
    layout,
    palette,
    panels,
    styled_line,
)
from phasescope.views.top.step_shares import step_shares
from phasescope.views.top.styled_line import Line

S = 1_000_000_000
GIB = 1024 * MIB


def point(at_s: float, allocated: int | None, *, least: int | None = None, reserved: int | None = None) -> Point:
    most = Range(allocated if least is None else least, allocated, allocated)
    return Point(
        int(at_s * S), most, Range(reserved, reserved, reserved), Range(None, None, None), Range(None, None, None)
    )


def test_a_column_keeps_the_peak_of_its_time_and_the_least() -> None:
    points = [point(0.1, 5), point(0.2, 90, least=3), point(0.3, 5), point(1.5, 7)]
    first, second = chart.levels(points, chart.Window(0, 2 * S), 2)
    assert (first.least, first.allocated) == (3, 90)
    assert (second.least, second.allocated) == (7, 7)


def test_between_two_points_what_was_known_holds_on_and_after_the_last_nothing_is_known() -> None:
    points = [point(-1, 4), point(2.5, 9), point(5.5, None)]
    found = [level.allocated for level in chart.levels(points, chart.Window(0, 8 * S), 8)]
    assert found == [4, 4, 9, 9, 9, None, None, None]


def test_a_drawing_is_as_high_as_what_it_shows() -> None:
    shown = [chart.Level(0, size, size, None) for size in (0, 25, 50, 100)]
    drawn = chart.drawing(shown, (0, 100), 4, palette.PLAIN)
    columns = list(zip(*(line.text[-4:] for line in drawn), strict=True))
    assert [sum(sign != " " for sign in column) for column in columns] == [0, 1, 2, 4]


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1000, 1000), (11 * GIB, 12.5 * GIB), (700 * MIB, 800 * MIB)])
def test_the_height_is_a_round_size(most: int, top: float) -> None:
    assert chart.rounded_up(most) == top


def test_windows_of_one_column_stand_for_the_same_time_while_they_move_on() -> None:
    edges = {chart.aligned(chart.Window(at, at + 100), 10).begin_ns for at in range(1000, 1010)}
    assert len(edges) <= 2
    assert all(edge % 10 == 0 for edge in edges)


@pytest.mark.parametrize("room", [1, 3, 10, 77])
@pytest.mark.parametrize("sizes", [[1], [1, 1_000_000], [0, 5, 5], [3, 1, 1, 1, 10**12], [1] * 5])
def test_the_parts_of_a_bar_fill_it_exactly(sizes: list[int], room: int) -> None:
    columns = bars.shares(sizes, room)
    assert sum(columns) == room
    assert min(columns) >= 0
    if room >= len(sizes):
        assert all(column > 0 for column, size in zip(columns, sizes, strict=True) if size), (
            "what is there is to be seen"
        )


@pytest.mark.parametrize("height", range(1, 80))
@pytest.mark.parametrize("wanted", [layout.Wanted(0, 0, 0, 0, 1), layout.Wanted(64, 9, 4, 4, 300)])
def test_the_parts_fill_the_screen_exactly(height: int, wanted: layout.Wanted) -> None:
    found = layout.heights(height, wanted)
    assert min(found) >= 0
    assert sum(found) == height
    if height >= 24:
        assert found.chart >= 3
        assert found.panel >= 4


def shares_of(session: MadeSession) -> dict[str, int]:
    found = step_shares(summarize(session.events).rows)
    return {"/".join(path): round(100 * share) for path, share in found.items()}


def test_the_share_is_of_the_phase_around_those_that_end_most_often() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    for _ in range(10):
        step = session.enter("epoch", "step", parent=epoch)
        session.run("epoch", "step", "forward", ms=25)
        session.run("epoch", "step", "backward", ms=75)
        step.exit()
    session.run("epoch", "validate", ms=500)
    epoch.exit()
    assert shares_of(session) == {"epoch/step": 100, "epoch/step/forward": 25, "epoch/step/backward": 75}


def test_where_nothing_is_around_them_it_is_of_one_round_of_them() -> None:
    session = MadeSession()
    for _ in range(10):
        session.run("forward", ms=30)
        session.run("backward", ms=70)
    assert shares_of(session) == {"forward": 30, "backward": 70}


@pytest.mark.parametrize("width", range(30))
def test_a_cut_line_is_never_wider_than_it_may_be(width: int) -> None:
    line = Line(("epoch/前向き計算", "text"), ("  12.3 GiB", "dim"), (" e\u0301" * 9, "text"))
    assert styled_line.cut(line, width).width <= width
    assert text_width(panels.clipped("python 訓練する.py --lr 1", width)) <= width


def test_of_a_session_that_is_over_it_is_not_said_when_memory_will_be_full() -> None:
    found = Growth("host", True, ("step",), 100, 1e6, 9e5, 1.1e6, 1e9, 0.15, (), ())
    running, over = (panels.alert_lines([], [found], 100, 3, is_over)[0].text for is_over in (False, True))
    assert "on the host grows" in running
    assert "full in 9.00 min" in running
    assert "on the host grew" in over
    assert "full in" not in over
