"""The parts of `phasescope top` that know no terminal: what they draw from figures, as plain text."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("textual")

from phasescope.analysis.devices import DeviceRow
from phasescope.analysis.formatting import text_width
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.steps import round_of
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
from phasescope.views.top.styled_line import StyledLine
from support.events import MIB, MadeSession

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
    shown = [chart.ColumnLevel(0, size, size, None) for size in (0, 25, 50, 100)]
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


FULL = layout.Wanted(3, 4, 3, 3, 30)
ALONE = layout.Wanted(1, 4, 0, 0, 30)
ALARMED = layout.Wanted(0, 0, 0, 3, 30)
SAID = layout.Wanted(0, 0, 0, 0, 30, verdict=1)
SHORT = layout.Wanted(2, 2, 2, 1, 2)


@pytest.mark.parametrize(
    ("wanted", "height", "lines"),
    [
        (FULL, 3, (1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0)),
        (FULL, 4, (1, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0)),
        (FULL, 7, (1, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 0)),
        (FULL, 8, (1, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 1)),
        (FULL, 16, (1, 0, 2, 1, 1, 1, 0, 0, 0, 8, 1, 1)),
        (FULL, 17, (1, 0, 2, 1, 1, 1, 1, 3, 1, 4, 1, 1)),
        (FULL, 24, (1, 0, 3, 1, 2, 1, 1, 4, 1, 7, 2, 1)),
        (FULL, 31, (1, 0, 3, 1, 3, 1, 1, 6, 1, 10, 3, 1)),
        (FULL, 32, (1, 0, 3, 2, 3, 1, 2, 6, 2, 8, 3, 1)),
        (FULL, 33, (1, 0, 3, 2, 3, 1, 2, 6, 2, 9, 3, 1)),
        (FULL, 34, (1, 0, 3, 2, 3, 2, 2, 6, 2, 9, 3, 1)),
        (FULL, 40, (1, 0, 3, 2, 4, 2, 2, 8, 2, 12, 3, 1)),
        (FULL, 80, (1, 0, 3, 2, 4, 2, 2, 24, 2, 36, 3, 1)),
        (ALONE, 11, (1, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 1)),
        (ALONE, 12, (1, 0, 0, 1, 1, 0, 0, 0, 0, 8, 0, 1)),
        (ALONE, 20, (1, 0, 0, 1, 2, 0, 1, 5, 1, 8, 0, 1)),
        (ALONE, 28, (1, 0, 0, 1, 3, 0, 1, 8, 1, 12, 0, 1)),
        (ALARMED, 11, (1, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 1)),
        (ALARMED, 12, (1, 0, 0, 1, 0, 0, 0, 0, 0, 8, 1, 1)),
        (ALARMED, 13, (1, 0, 0, 1, 0, 0, 1, 3, 1, 4, 1, 1)),
        (ALARMED, 15, (1, 0, 0, 1, 0, 0, 1, 4, 1, 5, 1, 1)),
        (ALARMED, 18, (1, 0, 0, 1, 0, 0, 1, 4, 1, 7, 2, 1)),
        (SHORT, 24, (1, 0, 2, 1, 2, 1, 1, 9, 1, 4, 1, 1)),
        (SAID, 9, (1, 0, 0, 1, 0, 0, 0, 0, 0, 6, 0, 1)),
        (SAID, 10, (1, 1, 0, 1, 0, 0, 0, 0, 0, 6, 0, 1)),
        (SAID, 24, (1, 1, 0, 1, 0, 0, 1, 7, 1, 11, 0, 1)),
        (SHORT, 40, (1, 0, 2, 2, 2, 2, 2, 21, 2, 4, 1, 1)),
    ],
)
def test_each_part_comes_where_there_is_room_for_it(wanted: layout.Wanted, height: int, lines: tuple[int, ...]) -> None:
    """Around every height at which a part comes in; the order is that of `Heights`."""
    assert tuple(layout.heights(height, wanted)) == lines


def shares_of(session: MadeSession) -> dict[str, int]:
    view = SessionView()
    view.feed(session.events)
    found = step_shares(view.summary().rows, round_of(view.ended.entries))
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
    line = StyledLine(("epoch/前向き計算", "text"), ("  12.3 GiB", "dim"), (" e\u0301" * 9, "text"))
    assert styled_line.cut(line, width).width <= width
    assert text_width(panels.clipped("python 訓練する.py --lr 1", width)) <= width


def device(label: str, **figures: int | None) -> DeviceRow:
    backend, _, number = label.partition(":")
    row = DeviceRow(
        backend=backend if number else "cpu",
        device_id=int(number) if number else -1,
        timestamp_ns=1,
        allocated_bytes=GIB,
        reserved_bytes=2 * GIB,
        used_by_others_bytes=GIB,
        used_bytes=60 * GIB,
        free_bytes=20 * GIB,
        total_bytes=80 * GIB,
    )
    return replace(row, **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [60, 72, 80, 120, 200])
def test_beside_a_devices_memory_stands_how_it_is_at_work(width: int) -> None:
    rows = [
        device("cuda:0", utilization_percent=98, temperature_celsius=64, power_milliwatts=612_345),
        device("cuda:1", temperature_celsius=7),
        device("host"),
    ]
    first, second, host = (line.text for line in bars.bars(rows, "cuda:0", width, palette.PLAIN))
    assert max(map(text_width, (first, second, host))) <= width
    if width < 72:
        assert "W" not in first
    else:
        assert first.endswith("60.0 GiB of 80.0 GiB   98% busy   64 °C  612 W")
        assert second.endswith("60.0 GiB of 80.0 GiB          –    7 °C      –")
        assert host.rstrip().endswith("60.0 GiB of 80.0 GiB")


def test_where_no_driver_says_it_no_room_is_taken_for_it() -> None:
    lines = [line.text for line in bars.bars([device("cuda:0"), device("host")], "host", 80, palette.PLAIN)]
    assert all(line.endswith("60.0 GiB of 80.0 GiB") for line in lines)
    assert all(text_width(line) == 80 for line in lines)
