"""`--fail-on "peak_allocated>5%"`: limits for a comparison, for continuous integration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import path_text

from .comparison import (
    JUDGED,
    METRICS,
    WORSE,
    Change,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .comparison import Comparison

_RULE = re.compile(
    r"\s*(?P<metric>[a-z0-9_]+)\s*(?:@\s*(?P<path>[^<>]+?)\s*)?>\s*(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>\S*)\s*"
)
_NAMES = tuple(metric.name for metric in METRICS)
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}


class FailRule(NamedTuple):
    """One metric may not rise by more than `amount`: a share if `unit` is `%`, else ns or bytes.

    `path` is the phase that it is about, by its whole path or its last names (`forward`, `step/forward`), None: all.
    """

    text: str
    metric: str
    path: str | None
    amount: float
    unit: str

    def is_broken_by(self, change: Change) -> bool:
        """Return whether this change is more than is allowed, and more than chance."""
        if change.metric != self.metric or not self.covers(change.path) or change.verdict != WORSE:
            return False
        if self.unit == "%":
            return (
                change.before is not None
                and change.difference is not None
                and (change.before <= 0 or change.difference > self.amount * change.before)
            )
        return change.difference is not None and change.difference > self.amount

    def covers(self, path: tuple[str, ...]) -> bool:
        """Return whether the rule is about the phase of this path."""
        if self.path is None:
            return True
        text = path_text(path)
        return text == self.path or text.endswith("/" + self.path)


def rule(text: str) -> FailRule:
    """Parse `METRIC[@PHASE]>AMOUNT`; the amount has `%`, or is a size or a time.

    Raises ValueError that says what is wrong.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a rule; a rule looks like "peak_allocated>5%" or "time@step/forward>2 ms"')
    metric = next((metric for metric in METRICS if metric.name == match["metric"]), None)
    if metric is None:
        raise ValueError(f"{text!r}: there is no metric {match['metric']!r}; known are {', '.join(_NAMES)}")
    unit, amount = match["unit"], float(match["amount"])
    units = _NS if metric.unit == "ns" else _BYTES
    if unit == "%":
        return FailRule(text.strip(), metric.name, match["path"], amount / 100, "%")
    if unit not in units:
        raise ValueError(f"{text!r}: {metric.name} is measured in {', '.join(units)} or %, not in {unit or 'nothing'}")
    return FailRule(text.strip(), metric.name, match["path"], amount * units[unit], metric.unit)


def broken(comparison: Comparison, rules: Iterable[FailRule]) -> Iterator[tuple[FailRule, Change]]:
    """Yield each rule that is broken, with the change that breaks it."""
    for one in rules:
        for change in comparison.changes:
            if one.is_broken_by(change):
                yield one, change


def unjudged(comparison: Comparison, rules: Iterable[FailRule]) -> Iterator[tuple[FailRule, str]]:
    """Yield each rule that nothing could be checked against, and why.

    To pass it by would hide a phase that was renamed.
    """
    for one in rules:
        reason = _why_unjudged(comparison, one)
        if reason:
            yield one, reason


def _why_unjudged(comparison: Comparison, one: FailRule) -> str:
    about = f"of {one.path}" if one.path else "of any phase"
    sides = [(before, after) for path, before, after in comparison.counts if one.covers(path)]
    if not sides:
        return f"no phase `{one.path}` in A or B" if one.path else "no phase in A or B"
    in_both = [pair for pair in sides if None not in pair]
    if not in_both:
        sole = {"B" if before is None else "A" for before, _ in sides}
        if len(sole) > 1:
            return "no phase is in both A and B"
        return f"the phase `{one.path}` is in {sole.pop()} only" if one.path else f"only {sole.pop()} has phases"
    judged = (
        change.verdict for change in comparison.changes if change.metric == one.metric and one.covers(change.path)
    )
    if any(verdict in JUDGED for verdict in judged):
        return ""
    return f"{one.metric} {about} is not known for both A and B"
