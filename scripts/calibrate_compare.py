"""Measures how often `compare` takes chance for a change, and how often it finds one; renews docs/explain.md's table.

python scripts/calibrate_compare.py [--pairs 400] [--write]
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from phasescope.analysis.comparison.comparison import compare  # noqa: E402
from support.times import STEADINESS, summary_of  # noqa: E402

if TYPE_CHECKING:
    from support.times import Make

COUNTS = (20, 60, 128, 400, 2000)
SLOWER = (1.0, 1.2, 2.4)
METRICS = ("time", "mean_time", "p95_time")
PAGE = ROOT / "docs" / "explain.md"


def table(pairs: int) -> str:
    """Return Markdown: for each kind of times and number of entries, the shares of pairs that are called worse."""
    lines = ["| | entries | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 2) + "|"]
    for name, make in STEADINESS.items():
        for count in COUNTS:
            by_entries = [shares(make, count, slower, pairs) for slower in SLOWER]
            cells = [" / ".join(f"{share[metric]:.1%}" for share in by_entries) for metric in METRICS]
            lines.append(f"| {name} | {count:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shares(make: Make, count: int, slower: float, pairs: int) -> dict[str, float]:
    """Return for each metric the share of pairs whose second run, `slower` times as long, is called worse."""
    worse = dict.fromkeys(METRICS, 0)
    for seed in range(pairs):
        before, after = make(random.Random(2 * seed), count), make(random.Random(2 * seed + 1), count)
        changes = compare(summary_of(before), summary_of([int(slower * value) for value in after])).of(("step",))
        for metric in METRICS:
            worse[metric] += changes[metric].verdict == "worse"
    return {metric: times / pairs for metric, times in worse.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="renew the page")
    arguments = parser.parse_args()
    figures = table(arguments.pairs)
    print(figures)
    if arguments.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- compared")
        mark = f"<!-- compared, {arguments.pairs:,} pairs each -->"
        page = f"{before}{mark}\n\n{figures}\n\n<!-- end -->" + rest.partition("<!-- end -->")[2]
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
