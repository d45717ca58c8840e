"""Measures how often the growth detector is wrong and how often it finds a leak, and renews docs/growth.md's tables.

python scripts/calibrate_growth.py [--runs 2000] [--first-seed 0] [--write | --in-turn]

It prints each share with its 95 % confidence interval; the page has the share alone.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from phasescope.analysis.diagnosis.child_processes import Crews  # noqa: E402
from phasescope.analysis.statistics.trend import SURE_STEPS, trend  # noqa: E402
from support.series import HEALTHY, LEAKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.series import Make

    Shares = dict[str, dict[str, int]]  # of each kind of series: how many runs, by the column

T = TypeVar("T")


class Looks(NamedTuple):
    """How often new figures came, a second or some apart, of how many workers that are measured in turn."""

    looks: int
    apart: int = 1
    workers: int = 1

    def __str__(self) -> str:
        in_turn = f" at {self.workers} workers in turn" if self.workers > 1 else ""
        return f"{self.looks} looks{in_turn}" + (f", each {self.apart} s" if self.apart > 1 else "")


Z = 1.96
LENGTHS = (SURE_STEPS, 200, 400, 1000)
LOOKS = (Looks(SURE_STEPS), Looks(200), Looks(60, apart=10))
IN_TURN = (Looks(128, workers=8), Looks(256, workers=16))
PAGE = ROOT / "docs" / "growth.md"


def table(series: dict[str, Make], seeds: range) -> Shares:
    """Return for each kind of series how many runs are called growing, by the number of steps."""
    return _counted(series, {f"{length:,} steps": length for length in LENGTHS}, seeds, grows)


def workers_table(series: dict[str, Make], seeds: range, columns: Sequence[Looks] = LOOKS) -> Shares:
    """Return in how many runs the workers are called growing, by the number of looks at them."""
    return _counted(series, {str(looks): looks for looks in columns}, seeds, workers_grow)


def _counted(series: dict[str, Make], columns: dict[str, T], seeds: range, is_called: Callable[..., bool]) -> Shares:
    return {
        name: {column: sum(is_called(make, seed, size) for seed in seeds) for column, size in columns.items()}
        for name, make in series.items()
    }


def markdown(shares: Shares, runs: int, cell: Callable[[int, int], str]) -> str:
    """Return a table with a row for each kind of series."""
    columns = list(next(iter(shares.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, counts in shares.items():
        lines.append(f"| {name} | " + " | ".join(cell(count, runs) for count in counts.values()) + " |")
    return "\n".join(lines)


def share(count: int, runs: int) -> str:
    """Return the share as the page has it."""
    return f"{count / runs:.1%}"


def with_interval(count: int, runs: int) -> str:
    """Return the share with Wilson's interval, in which it truly lies with 95 %."""
    center, spread = count + Z**2 / 2, Z * math.sqrt(count * (runs - count) / runs + Z**2 / 4)
    low, high = ((center + sign * spread) / (runs + Z**2) for sign in (-1, 1))
    return f"{count / runs:.2%} [{low:.2%}, {high:.2%}]"


def workers_grow(make: Make, seed: int, looks: Looks) -> bool:
    """Return whether workers, all of which do the same, are called growing by these looks.

    Their resident sets are in every sample, one a second.
    """
    (count, apart, workers), crews = looks, Crews()
    sizes = make(random.Random(seed), count * apart)
    latest = [sizes[0]] * workers
    for second, resident in enumerate(sizes):
        look, is_new = divmod(second, apart)
        if not is_new:
            latest[look % workers] = resident
        each = [[pid, size, True] for pid, size in enumerate(latest, 1)]
        metadata = {
            "children": workers,
            "children_resident_bytes": workers * resident,
            "children_private_bytes": each,
        }
        crews.take({"timestamp_ns": second * 1_000_000_000, "metadata": metadata})
    grown = crews.grown()
    return grown is not None and grown.trend.grows


def grows(make: Make, seed: int, length: int) -> bool:
    """Return whether a run is called growing."""
    result = trend(make(random.Random(seed), length))
    return result is not None and result.grows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--first-seed", type=int, default=0, help="of the runs' seeds, one after another")
    parser.add_argument("--write", action="store_true", help="renew the page")
    parser.add_argument("--in-turn", action="store_true", help="print those of workers that are measured in turn alone")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.runs)
    if arguments.in_turn:
        print(markdown(workers_table(HEALTHY, seeds, IN_TURN), arguments.runs, with_interval))
        return
    page = PAGE.read_text(encoding="utf-8")
    for name, series, make_table in (
        ("healthy", HEALTHY, table),
        ("leaking", LEAKING, table),
        ("workers", {**HEALTHY, **LEAKING}, workers_table),
    ):
        shares = make_table(series, seeds)
        print(markdown(shares, arguments.runs, with_interval), end="\n\n", flush=True)
        mark = f"<!-- {name}, {arguments.runs:,} runs each -->"
        before, _, rest = page.partition(f"<!-- {name}")
        figures = markdown(shares, arguments.runs, share)
        page = f"{before}{mark}\n\n{figures}\n\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
