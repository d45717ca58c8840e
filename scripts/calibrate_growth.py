"""Measures how often the growth detector is wrong and how often it finds a leak, and renews docs/growth.md's tables.

python scripts/calibrate_growth.py [--runs 2000] [--write]
"""

from __future__ import annotations

import argparse
import random
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from phasescope.analysis.diagnosis.child_processes import Crews  # noqa: E402
from phasescope.analysis.statistics.trend import trend  # noqa: E402
from support.series import HEALTHY, LEAKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.series import Make

T = TypeVar("T")
LENGTHS = (100, 200, 400, 1000)
LOOKS = ((100, 1), (200, 1), (100, 4), (60, 10))  # how many, and the seconds from one to the next
PAGE = ROOT / "docs" / "growth.md"


def table(series: dict[str, Make], runs: int) -> str:
    """Return Markdown: for each kind of series the share of runs called growing, by the number of steps."""
    return _table(series, {f"{length:,} steps": length for length in LENGTHS}, partial(share, runs=runs))


def workers_table(series: dict[str, Make], runs: int) -> str:
    """Return Markdown: the share of runs whose workers are called growing, by the number of looks at them."""
    columns = {f"{looks} looks" + (f", each {apart} s" if apart > 1 else ""): (looks, apart) for looks, apart in LOOKS}
    return _table(series, columns, partial(workers_share, runs=runs))


def _table(series: dict[str, Make], columns: dict[str, T], share_of: Callable[[Make, T], float]) -> str:
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, make in series.items():
        cells = [f"{share_of(make, column):.1%}" for column in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def workers_share(make: Make, looks: tuple[int, int], runs: int) -> float:
    """Return the share of runs whose workers are called growing by a number of looks, some seconds apart."""
    return (
        sum(_grow(make(random.Random(seed), looks[0] * looks[1])[:: looks[1]], looks[1]) for seed in range(runs)) / runs
    )


def _grow(sizes: Sequence[int], apart: int) -> bool:
    """Return whether a worker of these sizes grows, each of which is in the samples of `apart` seconds."""
    crews = Crews()
    for second in range(len(sizes) * apart):
        workers = [[1, sizes[second // apart], True]]
        metadata = {"children": 1, "children_private_bytes": workers}
        crews.take({"timestamp_ns": second * 1_000_000_000, "metadata": metadata})
    grown = crews.grown()
    return grown is not None and grown.trend.grows


def share(make: Make, length: int, runs: int) -> float:
    """Return the share of runs that are called growing."""
    trends = (trend(make(random.Random(seed), length)) for seed in range(runs))
    return sum(result is not None and result.grows for result in trends) / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--write", action="store_true", help="renew the page")
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    for name, series, make_table in (
        ("healthy", HEALTHY, table),
        ("leaking", LEAKING, table),
        ("workers", {**HEALTHY, **LEAKING}, workers_table),
    ):
        figures = make_table(series, arguments.runs)
        print(figures, end="\n\n")
        mark = f"<!-- {name}, {arguments.runs:,} runs each -->"
        before, _, rest = page.partition(f"<!-- {name}")
        page = f"{before}{mark}\n\n{figures}\n\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
