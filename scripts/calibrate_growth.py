"""Measures how often the growth detector is wrong and how often it finds a leak, and renews docs/growth.md's tables.

python scripts/calibrate_growth.py [--runs 2000] [--write]
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from phasescope.analysis.diagnosis.few_looks import CrewLooks  # noqa: E402
from phasescope.analysis.statistics.trend import trend  # noqa: E402
from support.series import HEALTHY, LEAKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.series import Make

LENGTHS = (100, 200, 400, 1000)
LOOKS = (24, 36, 47)
PAGE = ROOT / "docs" / "growth.md"


def table(series: dict[str, Make], runs: int) -> str:
    """Return Markdown: for each kind of series the share of runs called growing, by the number of steps."""
    return _table(series, LENGTHS, "steps", lambda make, length: share(make, length, runs))


def workers_table(series: dict[str, Make], runs: int) -> str:
    """Return Markdown: the share of runs whose workers are called growing by a few looks, a second apart."""
    return _table(series, LOOKS, "looks", lambda make, looks: workers_share(make, looks, runs))


def _table(series: dict[str, Make], lengths: Sequence[int], unit: str, share_of: Callable[[Make, int], float]) -> str:
    lines = ["| | " + " | ".join(f"{length:,} {unit}" for length in lengths) + " |", "|---" * (len(lengths) + 1) + "|"]
    for name, make in series.items():
        cells = [f"{share_of(make, length):.1%}" for length in lengths]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def workers_share(make: Make, looks: int, runs: int) -> float:
    """Return the share of runs that are called growing by `looks` looks, once they are over."""
    return sum(_seen(make(random.Random(seed), looks)).rates() is not None for seed in range(runs)) / runs


def _seen(sizes: Sequence[int]) -> CrewLooks:
    looks = CrewLooks()
    for second, size in enumerate(sizes):
        looks.take({1: size}, second * 1_000_000_000)
    return looks


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
