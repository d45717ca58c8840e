"""Compare two sessions phase by phase: time and memory, and which differences exceed chance.

A and B are sessions (a pid, a ring, a recording), JSON saved by `phasescope summary --json`, or pages made by
`phasescope report`. For two snapshots (`phasescope snapshot -o`) it shows what grew. --fail-on makes it a test for
continuous integration: "peak_allocated>5%" fails if any phase's peak rose by more than 5 %, "time@step/forward>2
ms" if that phase's median rose by more than 2 ms. A difference within the noise never fails; a rule that cannot be
checked does. If nothing could be compared, because no figure is known on both sides, the exit code is 5, with rules
too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.comparison.comparison import (
    BETTER,
    GONE,
    METRICS,
    NEW,
    WORSE,
    compare,
)
from phasescope.analysis.comparison.fail_rules import broken, rule, unjudged
from phasescope.analysis.comparison.snapshots import is_snapshot
from phasescope.analysis.formatting import (
    Column,
    change_text,
    duration_text,
    elide,
    path_text,
    printable,
    size_text,
    table,
    times_text,
)
from phasescope.analysis.text.summary_text import NET_PER_ENTRY
from phasescope.cli import (
    NOT_COMPARABLE,
    OK,
    PROBLEM,
    CommandError,
)
from phasescope.cli._output import Terminal, verdict_stands
from phasescope.cli._session_args import add_directory, opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phasescope.analysis.comparison.comparison import Change, Comparison
    from phasescope.analysis.comparison.fail_rules import FailRule

_LONGEST_NAME = 40
_MARKS = {WORSE: "▲", BETTER: "▼"}
_COLUMNS = (
    Column("phase", right=False, flexible=True),
    Column("metric", right=False),
    Column("A: baseline"),
    Column("B: candidate"),
    Column("change"),
    Column("noise"),
    Column("", right=False),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="the baseline")
    parser.add_argument("after", metavar="B", help="the candidate")
    parser.add_argument(
        "--fail-on",
        type=_rule,
        action="append",
        default=[],
        metavar="RULE",
        help='e.g. "peak_allocated>5%%", "time@forward>2 ms"; may be given more than once. '
        f"Metrics: {', '.join(metric.name for metric in METRICS)}",
    )
    parser.add_argument("--all", action="store_true", help="show phases that did not change, too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    before = _summary(arguments.before, arguments.dir)
    after = _summary(arguments.after, arguments.dir)
    if is_snapshot(before) or is_snapshot(after):
        from phasescope.cli._compare_snapshots import show_snapshots

        return show_snapshots(before, after, arguments)
    try:
        comparison = compare(before, after)
    except ValueError as error:
        raise CommandError(str(error)) from error
    violations = list(broken(comparison, arguments.fail_on))
    unheld = list(unjudged(comparison, arguments.fail_on))
    with verdict_stands():
        if arguments.json:
            Terminal().line(json_text(_data(comparison, violations, unheld), indent=2))
        else:
            _show(comparison, whole=arguments.all)
            _show_failed(violations, unheld)
    if not comparison.is_comparable:
        return NOT_COMPARABLE
    return PROBLEM if violations or unheld else OK


def _summary(target: str, directory: str | None) -> Mapping[str, Any]:
    """Return a summary as data, from wherever it is."""
    suffix = Path(target).suffix.lower()
    if suffix in (".json", ".html", ".htm"):
        return _saved(Path(target), is_page=suffix != ".json")
    with opened(target, directory) as reader:
        return reader.summary().to_dict()


def _saved(path: Path, *, is_page: bool) -> Mapping[str, Any]:
    from phasescope.views.page.html_page import summary_of

    try:
        text = path.read_text(encoding="utf-8")
        summary = summary_of(text) if is_page else json.loads(text)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path}: holds no summary: {error}") from error
    if not isinstance(summary, dict):
        raise CommandError(f"{path}: holds no summary, but a {type(summary).__name__}")
    return summary


def _data(
    comparison: Comparison, violations: Sequence[tuple[FailRule, Change]], unheld: Sequence[tuple[FailRule, str]]
) -> dict[str, Any]:
    return {
        **comparison.to_dict(),
        "violations": [
            {"rule": one.text, "path": list(change.path), "metric": change.metric, "before": change.before,
             "after": change.after, "difference": change.difference, "reason": None}
            for one, change in violations
        ]
        + [
            {"rule": one.text, "path": None, "metric": one.metric, "before": None, "after": None, "difference": None,
             "reason": reason}
            for one, reason in unheld
        ],
    }  # fmt: skip


def _show(comparison: Comparison, *, whole: bool) -> None:
    out = Terminal()
    shown = [change for change in comparison.changes if _is_shown(change, whole)]
    if shown:
        title, *lines = table(_COLUMNS, map(_cells, shown), out.width)
        out.line(title, "bold")
        for change, line in zip(shown, lines, strict=True):
            out.line(line, {WORSE: "red", BETTER: "green"}.get(change.verdict, "dim"))
        if any(change.metric == "allocated_delta" for change in shown):
            out.line(f"allocated_delta: {NET_PER_ENTRY} of a summary, what an entry leaves behind as the mean", "dim")
    elif comparison.is_comparable:
        out.line("no difference beyond the noise")
    else:
        out.line(f"nothing could be compared: {_why_not(comparison)}", "red")
    for path, before, after in comparison.counts:
        if before is None or after is None:
            side = "B" if before is None else "A"
            times = times_text((after if before is None else before) or 0)
            out.line(f"only in {side}: {elide(path_text(path), _LONGEST_NAME)} (entered {times})")


def _why_not(comparison: Comparison) -> str:
    firsts = sum(before is not None for _, before, _ in comparison.counts)
    seconds = sum(after is not None for _, _, after in comparison.counts)
    if not firsts or not seconds:
        sides = {"A": firsts, "B": seconds}
        without = [side for side, phases in sides.items() if not phases]
        return f"{' and '.join(without)} {'have' if len(without) > 1 else 'has'} no phases"
    if all(None in counts for _, *counts in comparison.counts):
        return "the two have no phase in common"
    return "no figure of the phases that both have is known on both sides"


def _show_failed(violations: Sequence[tuple[FailRule, Change]], unheld: Sequence[tuple[FailRule, str]]) -> None:
    out = Terminal()
    for one, change in violations:
        out.line(f"FAILED {one.text}: {elide(path_text(change.path), _LONGEST_NAME)} {_difference(change)}", "red")
    for one, reason in unheld:
        out.line(printable(f"FAILED {one.text}: cannot be checked: {reason}"), "red")


def _is_shown(change: Change, whole: bool) -> bool:
    if change.verdict in (NEW, GONE):
        return False
    return whole or change.verdict in (WORSE, BETTER)


def _cells(change: Change) -> list[str]:
    return [
        elide(path_text(change.path), _LONGEST_NAME),
        change.metric,
        _amount(change.before, change.unit),
        _amount(change.after, change.unit),
        _difference(change),
        "" if change.noise is None else f"±{_amount(change.noise, change.unit)}",
        _MARKS.get(change.verdict, "") + (" " + change.verdict if change.verdict in _MARKS else ""),
    ]


def _difference(change: Change) -> str:
    """Format the difference: `+140%`, or the amount if a share says nothing."""
    if change.difference is None:
        return ""
    if change.ratio is not None and change.metric != "allocated_delta":
        return f"{change.ratio - 1:+.1%}" if abs(change.ratio - 1) < 0.1 else f"{change.ratio - 1:+.0%}"
    if change.unit == "bytes":
        return change_text(change.difference)
    return ("+" if change.difference > 0 else "") + duration_text(change.difference)


def _amount(value: int | None, unit: str) -> str:
    return size_text(value) if unit == "bytes" else duration_text(value)


def _rule(text: str) -> FailRule:
    try:
        return rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
