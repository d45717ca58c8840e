"""The measurements, as text for a terminal, as Markdown for the documentation, and as JSON for programs."""

from __future__ import annotations

import os
import platform
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from benchmarks.measure import Series


class Row(NamedTuple):
    """One line of the report.

    `measured` is the result: a ratio (`1/x` if lower is shown as a fraction, else `x`), a percentage, or a figure.
    `must` and `aim` are upper bounds in its unit; None if the line only informs.
    """

    what: str
    measured: Series
    must: float | None = None
    aim: float | None = None
    ours: Series | None = None
    theirs: Series | None = None

    @property
    def verdict(self) -> str:
        if self.measured.missing is not None:
            return "not measured"
        if self.must is None:
            return ""
        if self.aim is not None and self.measured.median <= self.aim:
            return "aim reached"
        return "reached" if self.measured.median <= self.must else "MISSED"


class Floor(NamedTuple):
    """The parts of a row's cost: (how many times, primitive), and the remainder above their sum."""

    what: str
    measured: Series
    parts: list[tuple[int, Series]]

    @property
    def sum_ns(self) -> float:
        return sum(times * part.median for times, part in self.parts)


class Result(NamedTuple):
    """The result of one topic."""

    rows: list[Row]
    notes: Sequence[str] = ()
    floors: Sequence[Floor] = ()


_AGAIN = ": measured again"


def show(value: float, unit: str) -> str:
    """Format a figure with its unit."""
    if unit == "1/x":
        return f"1/{1 / value:.1f}"
    if unit == "x":
        return f"{value:.2f} ×"
    if unit == "ns":
        for factor, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value >= factor:
                return f"{_three_digits(value / factor)} {name}"
        return f"{_three_digits(value)} ns"
    if unit == "+%":
        return f"{value:+.1f} %"
    return f"{_three_digits(value)} {unit}"


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _median(series: Series | None) -> str:
    if series is None:
        return ""
    return "–" if series.missing is not None else f"{series.name}: {show(series.median, series.unit)}"


def _bound(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "1/x":
        return f"1/{1 / value:g}"
    sign = "+" if unit == "+%" else ""
    return f"{sign}{value:g} {'×' if unit == 'x' else unit.lstrip('+')}"


def _range(series: Series) -> str:
    low, high = (show(value, series.unit) for value in (min(series.values), max(series.values)))
    number, _, unit = low.partition(" ")
    return f"{number if unit and high.endswith(f' {unit}') else low} … {high}"


def _cells(row: Row) -> list[str]:
    unit, missing = row.measured.unit, row.measured.missing
    bounds = [_bound(row.must, unit), _bound(row.aim, unit)]
    compared = [_median(row.ours), _median(row.theirs)]
    if missing is not None:
        return [row.what, *bounds, "", "", f"{row.verdict}: {missing}", *compared]
    return [row.what, *bounds, show(row.measured.median, unit), _range(row.measured), row.verdict, *compared]


_HEADINGS = ["", "must", "aim", "measured", "lowest … highest", "", "ours", "theirs"]
_FLOOR_HEADINGS = ["", "measured", "floor", "above it", "what the floor is made of"]


def _floor_cells(floor: Floor) -> list[str]:
    missing = [s.missing for s in (floor.measured, *(part for _, part in floor.parts)) if s.missing is not None]
    if missing:
        return [floor.what, "not measured", "", "", missing[0]]
    parts = ", ".join(
        f"{f'{times} × ' if times > 1 else ''}{part.name} {show(part.median, 'ns')}" for times, part in floor.parts
    )
    measured = floor.measured.median
    return [floor.what, *(show(v, "ns") for v in (measured, floor.sum_ns, max(0.0, measured - floor.sum_ns))), parts]


def machine() -> list[str]:
    """Describe the machine, for a reader who compares the figures with others."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        model = cpu.group(1) if cpu else model
    load = f"load {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return [
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}; {load} at the start",
    ]


def text_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Format columns of equal width; the last is not padded, and empty columns are left out."""
    kept = [i for i, heading in enumerate(headings) if i == 0 or any(line[i] for line in lines)]
    rows = [[row[i] for i in kept] for row in (headings, *lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(kept))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in padded)


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Format the same as a Markdown table."""
    kept = [i for i, heading in enumerate(headings) if i == 0 or any(line[i] for line in lines)]
    rows = [[row[i].replace("|", "\\|") for i in kept] for row in (headings, *lines)]
    rows.insert(1, ["---"] * len(kept))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def tables(results: dict[str, Result]) -> Iterable[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield the report's tables: (name, headings, lines). The first holds every line that has a bound."""
    rows = [row for result in results.values() for row in result.rows]
    yield "targets", _HEADINGS, [_cells(row) for row in rows if row.must is not None]
    for topic, result in results.items():
        informing = [_cells(row) for row in result.rows if row.must is None]
        if informing:
            yield topic, _HEADINGS, informing
        if result.floors:
            yield "what it is made of", _FLOOR_HEADINGS, [_floor_cells(floor) for floor in result.floors]


def as_text(results: dict[str, Result], about: Sequence[str]) -> str:
    """Format the whole report for a terminal."""
    parts = ["\n".join(about)]
    for name, headings, lines in tables(results):
        if headings is _FLOOR_HEADINGS:  # its last column is a sentence: that goes on lines of its own
            made_of = [textwrap.fill(f"{line[0]}: {line[-1]}", 118, subsequent_indent="    ") for line in lines]
            numbers = text_table(headings[:-1], [line[:-1] for line in lines])
            parts.append("\n".join([name, numbers, *made_of]))
        elif lines:
            parts.append(f"{name}\n{text_table(headings, lines)}")
    parts += ["\n".join(f"- {note}" for result in results.values() for note in result.notes)]
    return "\n\n".join(part for part in parts if part)


def write_markdown(path: Path, results: dict[str, Result], about: Sequence[str]) -> None:
    """Put the tables between `<!-- begin NAME -->` and `<!-- end NAME -->`. Raises ValueError without such marks."""
    blocks = {name.replace(" ", "-"): markdown_table(headings, lines) for name, headings, lines in tables(results)}
    blocks["machine"] = "\n".join(f"- {line}" for line in about)
    blocks["notes"] = "\n".join(f"- {note}" for result in results.values() for note in result.notes)
    text = path.read_text()
    for name, block in blocks.items():
        text = _with_block(text, name, block)
    path.write_text(text)


def renew_markdown(path: Path, results: dict[str, Result], about: Sequence[str]) -> None:
    """Put in the tables of some topics only, and their lines among the targets; say that they are of another run."""
    text = path.read_text()
    by_name = {name: (headings, lines) for name, headings, lines in tables(results)}
    _, bounded = by_name.pop("targets")
    targets = _block(text, "targets").splitlines()
    for line in bounded:
        renewed = "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        place = next((place for place, old in enumerate(targets) if old.startswith(f"| {line[0]} |")), None)
        targets[len(targets) if place is None else place : len(targets) if place is None else place + 1] = [renewed]
    text = _with_block(text, "targets", "\n".join(targets))
    for name, (headings, lines) in by_name.items():
        text = _with_block(text, name.replace(" ", "-"), markdown_table(headings, lines))
    notes = [line for line in _block(text, "machine").splitlines() if not _is_outdated(line, results.keys())]
    notes.append(f"- {', '.join(results)}{_AGAIN} in a run of their own; {about[1].partition('; ')[2]}")
    path.write_text(_with_block(text, "machine", "\n".join(notes)))


def _is_outdated(line: str, renewed: Collection[str]) -> bool:
    """Return whether it says of topics that they were measured again, and all of those are now."""
    topics, said, _ = line.removeprefix("- ").partition(_AGAIN)
    return bool(said) and set(topics.split(", ")) <= set(renewed)


def _block(text: str, name: str) -> str:
    begin, end = _marks(text, name)
    return text[text.index(begin) + len(begin) : text.index(end)].strip("\n")


def _with_block(text: str, name: str, block: str) -> str:
    begin, end = _marks(text, name)
    return text[: text.index(begin)] + f"{begin}\n\n{block}\n\n" + text[text.index(end) :]


def _marks(text: str, name: str) -> tuple[str, str]:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"there is no place for the table {name!r}: it needs {begin} and {end}")
    return begin, end


def as_data(results: dict[str, Result], about: Sequence[str]) -> dict[str, Any]:
    """Return everything as data, each round's figure included."""
    return {
        "machine": list(about),
        "topics": {
            topic: {"rows": [_row_data(row) for row in result.rows], "notes": list(result.notes)}
            for topic, result in results.items()
        },
    }


def _row_data(row: Row) -> dict[str, Any]:
    data: dict[str, Any] = {"what": row.what, "must": row.must, "aim": row.aim, "verdict": row.verdict}
    for name in ("measured", "ours", "theirs"):
        series: Series | None = getattr(row, name)
        data[name] = None if series is None else series._asdict()
    return data
