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

from phasescope.analysis.statistics.trend import trend  # noqa: E402
from support.series import HEALTHY, LEAKING  # noqa: E402

if TYPE_CHECKING:
    from support.series import Make

LENGTHS = (100, 200, 400, 1000)
PAGE = ROOT / "docs" / "growth.md"


def table(series: dict[str, Make], runs: int) -> str:
    """Return Markdown: for each kind of series the share of runs called growing, by the number of steps."""
    lines = ["| | " + " | ".join(f"{length:,} steps" for length in LENGTHS) + " |", "|---" * (len(LENGTHS) + 1) + "|"]
    for name, make in series.items():
        cells = [f"{share(make, length, runs):.1%}" for length in LENGTHS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
    for name, series in (("healthy", HEALTHY), ("leaking", LEAKING)):
        found = table(series, arguments.runs)
        print(found, end="\n\n")
        mark = f"<!-- {name}, {arguments.runs:,} runs each -->"
        before, _, rest = page.partition(f"<!-- {name}")
        page = f"{before}{mark}\n\n{found}\n\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
