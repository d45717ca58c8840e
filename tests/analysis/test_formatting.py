"""How figures and names look to a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope.analysis import formatting


@pytest.mark.parametrize(
    ("duration_ns", "shown"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (999_499, "999 µs"),
        (999_999, "1.00 ms"),
        (59_940_000_000, "59.9 s"),
        (59_990_000_000, "1.00 min"),
        (90_000_000_000, "1.50 min"),
        (5_400_000_000_000, "1.50 h"),
        (36 * 3600 * 10**9, "1.50 d"),
        (-1500, "-1.50 µs"),
        (None, "–"),
    ],
)
def test_a_duration_has_three_digits_and_a_unit(duration_ns: int | None, shown: str) -> None:
    assert formatting.duration_text(duration_ns) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (1300 * 1024**2, "1.27 GiB"),
        (80 * 1024**3, "80.0 GiB"),
        (3 * 1024**6, "3072 PiB"),
        (None, "–"),
    ],
)
def test_a_size_has_a_binary_unit(size_bytes: int | None, shown: str) -> None:
    assert formatting.size_text(size_bytes) == shown


@pytest.mark.parametrize(
    ("change_bytes", "shown"), [(2048, "+2.00 KiB"), (-2048, "-2.00 KiB"), (0, "0 B"), (None, "–")]
)
def test_a_change_has_its_sign(change_bytes: int | None, shown: str) -> None:
    assert formatting.change_text(change_bytes) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0%"), (0.0004, "<0.1%"), (0.0421, "4.2%"), (0.3349, "33%"), (1.0, "100%"), (8.0, "800%"), (None, "–")],
)
def test_a_share_is_per_cent(share: float | None, shown: str) -> None:
    assert formatting.share_text(share) == shown


@given(st.integers(-(2**63), 2**63))
def test_every_figure_is_short(value: int) -> None:
    assert len(formatting.size_text(value)) <= 10
    assert len(formatting.duration_text(value)) <= 11


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("\x7f", r"\x7f"),
        ("safe\u202etxt.exe", r"safe\u202etxt.exe"),
        ("line\u2028break", r"line\u2028break"),
        ("\ud800", r"\ud800"),
        ("Schicht für 层", "Schicht für 层"),
        (7, "7"),
        (None, "None"),
        (["x"], "<list>"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(hostile: object, shown: str) -> None:
    assert formatting.printable(hostile) == shown


@given(st.text())
def test_any_name_becomes_one_harmless_line(name: str) -> None:
    shown = formatting.printable(name)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert formatting.printable(shown) == shown


@given(st.text(), st.integers(1, 40))
def test_elided_text_fits(name: str, width: int) -> None:
    elided = formatting.elide(formatting.printable(name), width)
    assert formatting.text_width(elided) <= width
    assert len(elided) <= 4 * width + 1


def test_elision_keeps_both_ends() -> None:
    assert formatting.elide("transformer_block_17", 11) == "trans…ck_17"
    assert formatting.elide("short", 11) == "short"


def test_a_flood_of_combining_marks_is_cut() -> None:
    assert len(formatting.elide("a" + "\u0301" * 10_000, 10)) <= 41


COLUMNS = [
    formatting.Column("name", right=False, flexible=True),
    formatting.Column("size"),
    formatting.Column("note", right=False),
]


def test_a_table_aligns_by_columns_of_the_terminal() -> None:
    lines = formatting.table(COLUMNS, [["forward", "1 B", "x"], ["层", "12 KiB", ""]])
    assert lines == ["name       size  note", "forward     1 B  x", "层       12 KiB"]


def test_a_table_too_wide_is_narrowed_by_its_flexible_column() -> None:
    rows = [["a_very_long_phase_name_indeed", "1.00 KiB", "kept"]]
    lines = formatting.table(COLUMNS, rows, width=26)
    assert lines[1] == "a_very…indeed 1.00 KiB kept"[:26] or formatting.text_width(lines[1]) <= 26
    assert lines[1].endswith("1.00 KiB kept")


def test_a_table_that_can_not_fit_keeps_its_figures() -> None:
    lines = formatting.table(COLUMNS, [["a_very_long_phase_name", "1.00 KiB", "kept"]], width=5)
    assert lines[1].endswith("1.00 KiB kept")


def test_a_narrow_table_is_without_its_spare_columns() -> None:
    column = formatting.Column
    columns = (
        column("name", right=False, flexible=True),
        column("count", spare=1),
        column("total", spare=2),
        column("peak"),
    )
    rows = [["a_very_long_phase_name", "12", "1.00 ms", "1.00 KiB"]]
    titles = {width: formatting.table(columns, rows, width)[0].split() for width in (40, 31, 25, 20, 5)}
    assert titles[40] == titles[31] == ["name", "count", "total", "peak"]
    assert titles[25] == ["name", "count", "peak"]
    assert titles[20] == titles[5] == ["name", "peak"]
    assert all(len(line) <= 20 for line in formatting.table(columns, rows, 20))
    assert len(formatting.table(columns, rows)[0].split()) == 4


def test_a_newline_in_a_cell_breaks_no_line() -> None:
    lines = formatting.table(COLUMNS, [["a\nb", "1 B", "\x1b]0;x\x07"]])
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_counts_and_their_nouns() -> None:
    assert formatting.plural(1, "event") == "1 event"
    assert formatting.plural(12_345, "event") == "12,345 events"
    assert formatting.path_text(["epoch", "a\nb"]) == r"epoch/a\nb"


@pytest.mark.parametrize(("time_ns", "shown"), [(61_999_999_999, "01"), (-1, "59"), (1 << 100, None)])
def test_a_local_time_is_cut_to_its_second_and_one_beyond_the_calendar_is_none(time_ns: int, shown: str | None) -> None:
    assert formatting.local_time(time_ns, "%S") == shown
