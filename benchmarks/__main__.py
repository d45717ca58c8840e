"""`python -m benchmarks`: measures phasescope and its peers on this machine, in one run, and prints the ratios."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks import measure, peers, report

ROUNDS = {
    "phase": 15,
    "backends": 7,
    "training_step": 40,
    "integrations": 10,
    "made_of": 5,
    "envelope": 9,
    "sampler": 4,
    "startup": 30,
    "memory": 3,
    "looking": 5,
    "recording": 3,
    "analysis": 3,
    "floors": 15,
    "instructions": 1,
}
"""The topics, in the order of the report, each a module of this package, and how many rounds each takes."""


def main() -> int:
    options = _options()
    about = [
        *report.machine(),
        ", ".join(f"{name} {version}" for name, version in peers.versions().items()),
    ]
    results: dict[str, report.Result] = {}
    for topic in options.only:
        started = time.monotonic()
        print(f"{topic} ...", end=" ", flush=True, file=sys.stderr)
        rounds = max(2, ROUNDS[topic] // 5) if options.quick else ROUNDS[topic]
        results[topic] = _run(topic, rounds)
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    print(report.as_text(results, about))
    if options.json:
        options.json.write_text(json.dumps(report.as_data(results, about), indent=1) + "\n")
    if options.markdown:
        write = report.write_markdown if options.only == list(ROUNDS) else report.renew_markdown
        write(options.markdown, results, about)
    bad = [row.what for r in results.values() for row in r.rows if row.verdict in ("MISSED", "not measured")]
    return 1 if options.check and bad else 0


def _run(topic: str, rounds: int) -> report.Result:
    """Return the topic's result; if it failed as a whole, one row that says so."""
    try:
        result: report.Result = importlib.import_module(f"benchmarks.{topic}").run(rounds)
    except Exception as error:
        return report.Result([report.Row(topic, measure.Series(topic, "", [], measure.reason(error)))])
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    topics = ", ".join(ROUNDS)
    parser.add_argument("--only", type=_topics, default=list(ROUNDS), help=f"some of {topics}, by commas")
    parser.add_argument("--quick", action="store_true", help="few rounds: a test of the benchmark, not of the costs")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed or not measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figure there")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="renew the tables between that file's marks, with --only those of these topics",
    )
    options = parser.parse_args()
    if options.markdown and not options.markdown.is_file():
        parser.error(f"{options.markdown} is not a file: it must be there, with the marks between which the tables go")
    return options


def _topics(text: str) -> list[str]:
    chosen = [name.strip().replace("-", "_") for name in text.split(",")]
    chosen = ["startup" if name == "import" else name for name in chosen]
    unknown = [name for name in chosen if name not in ROUNDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no topic {unknown[0]!r}; there are {', '.join(ROUNDS)}")
    return [name for name in ROUNDS if name in chosen]


if __name__ == "__main__":
    sys.exit(main())
