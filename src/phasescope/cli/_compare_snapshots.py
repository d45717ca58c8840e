"""`phasescope compare` of two snapshots: what became more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.comparison.snapshots import (
    MEMORY,
    OBJECTS,
    compare_snapshots,
    is_snapshot,
    not_comparable,
    to_dict,
)
from phasescope.analysis.formatting import Column, change_text, count_text, printable, size_text, table
from phasescope.cli import NOT_COMPARABLE, OK, WRONG_USAGE, CommandError
from phasescope.cli._output import Terminal, verdict_stands

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from phasescope.analysis.comparison.snapshots import Difference

_MOST_SHOWN = 15  # of a part
_LEAST_BYTES = 64 << 10
_LEAST_OBJECTS = 16
_COLUMNS = (
    Column("part", right=False),
    Column("A: before"),
    Column("B: after"),
    Column("change"),
    Column("what", right=False, flexible=True),
)


def show_snapshots(before: Mapping[str, Any], after: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """Print it as the arguments say, and return the exit code."""
    if not (is_snapshot(before) and is_snapshot(after)):
        raise CommandError("one of the two is a snapshot and the other is not: compare two of a kind", WRONG_USAGE)
    if arguments.fail_on:
        raise CommandError("--fail-on has rules for sessions, and none for snapshots", WRONG_USAGE)
    differences, missing = compare_snapshots(before, after), not_comparable(before, after)
    with verdict_stands():
        if arguments.json:
            Terminal().line(json_text(to_dict(differences, missing), indent=2))
        else:
            _show(differences, missing, _pids(before, after), whole=arguments.all)
    return OK if differences or len(missing) < 3 else NOT_COMPARABLE


def _pids(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    sessions = [each.get("session") for each in (before, after)]
    first, second = (each.get("session_id") if isinstance(each, dict) else None for each in sessions)
    return None if first == second else "A and B are of two different sessions"


def _show(differences: Sequence[Difference], missing: Sequence[str], other: str | None, *, whole: bool) -> None:
    out = Terminal()
    if other is not None:
        out.line(other, "yellow")
    shown: list[Difference] = []
    for part in dict.fromkeys(each.part for each in differences):
        of_part = [each for each in differences if each.part == part and (whole or _is_more(each))]
        shown += of_part if whole else of_part[:_MOST_SHOWN]
    if shown:
        title, *lines = table(_COLUMNS, map(_cells, shown), out.width)
        out.line(title, "bold")
        for each, line in zip(shown, lines, strict=True):
            out.line(line, "red" if each.more > 0 else "dim")
    else:
        out.line("nothing became more")
    for reason in missing:
        out.line(f"not compared: {reason}", "dim")


def _is_more(each: Difference) -> bool:
    if each.part != MEMORY and (each.count_after or 0) - (each.count_before or 0) >= _LEAST_OBJECTS:
        return True
    return each.part != OBJECTS and each.more >= _LEAST_BYTES


def _cells(each: Difference) -> list[str]:
    name = printable(each.name) if each.kept_by is None else f"{printable(each.name)}, kept by {each.kept_by}"
    if each.part == OBJECTS:
        sizes = [_count(each.count_before), _count(each.count_after)]
        return [each.part, *sizes, f"{each.more:+,}", name]
    counts = "" if each.count_after is None or each.part == MEMORY else f"{count_text(each.count_after)} "
    before, after = size_text(each.bytes_before), size_text(each.bytes_after)
    return [each.part, before, after, change_text(each.more), f"{counts}{name}"]


def _count(count: int | None) -> str:
    return "?" if count is None else count_text(count)
