"""Which phase it is of which one entry is a step: the one definition that growth, ranks and shares of a step go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from phasescope.analysis.statistics.trend import MIN_STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phasescope.analysis.spans import Span

Path = tuple[str, ...]

EPOCH = "epoch"
EVALUATIONS = frozenset(
    {"eval", "evaluate", "evaluation", "predict", "sanity_check", "test", "val", "validate", "validation"}
)
_MAX_PATHS = 4096


class Entries(Protocol):
    """How often a phase ended, how long that took together, and when it ended first and last."""

    @property
    def count(self) -> int:
        """How many entries have ended."""

    @property
    def total_ns(self) -> int:
        """How long they took together."""

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """None if that is not known."""


class Ended:
    """The ended entries of one phase."""

    __slots__ = ("count", "span_ns", "total_ns")

    def __init__(self, count: int = 0, total_ns: int = 0, span_ns: tuple[int, int] | None = None) -> None:
        self.count = count
        self.total_ns = total_ns
        self.span_ns = span_ns

    def add(self, span: Span) -> None:
        """Count one more."""
        self.count += 1
        self.total_ns += span.duration_ns or 0
        if span.end_ns is not None:
            self.span_ns = (span.end_ns if self.span_ns is None else self.span_ns[0], span.end_ns)


class EndedPhases:
    """All phases of a session that have ended, by path, in bounded memory."""

    def __init__(self) -> None:
        self.entries: dict[Path, Ended] = {}

    def take(self, span: Span | None) -> None:
        """Take the span that the next event ends, if any. A fetch that only found the end is not an entry."""
        if span is None or span.exhausted:
            return
        ended = self.entries.get(span.path)
        if ended is None:
            if len(self.entries) >= _MAX_PATHS:
                return
            ended = self.entries[span.path] = Ended()
        ended.add(span)


def step_of(entries: Mapping[Path, Entries], least: int = MIN_STEPS) -> Path | None:
    """Return the outermost phase that ended `least` times: of several, the one in which most of the time went.

    A phase called `epoch` is not a step, however often it ended, if a phase inside it ended often enough: the steps are
    the phase that it repeats. Nor is one that was over before another loop began, of as many entries and more: that
    loads data for the other one. Nor is an evaluation or a batch of one, if a phase of a training ended twice as often.
    None if no phase ended that often.
    """
    often = [path for path, ended in entries.items() if ended.count >= least]
    often = [path for path in often if not any(_is_before(entries[path], entries[other]) for other in often)]
    candidates = [path for path in often if not (path[-1] == EPOCH and _is_around(path, often))] or often
    trained = max((entries[path].count for path in candidates if not is_evaluation(path)), default=0)
    candidates = [path for path in candidates if not (is_evaluation(path) and 2 * entries[path].count <= trained)]
    return max(candidates, key=lambda path: (entries[path].total_ns, -len(path)), default=None)


def likely_step_of(entries: Mapping[Path, Entries]) -> Path | None:
    """Return the step or, if nothing ended often enough so far, the phase that would be one if it went on.

    None if nothing ended.
    """
    return step_of(entries) or step_of(entries, 2) or step_of(entries, 1)


def round_of(entries: Mapping[Path, Entries]) -> tuple[Path, ...]:
    """Return the phases of which one entry each is a step: the one, if others are inside it, or those that take
    turns with it, side by side and as often."""
    step = likely_step_of(entries)
    if step is None:
        return ()
    parents = {path[:-1] for path in entries}
    beside = [path for path in entries if path[:-1] == step[:-1] and _take_turns(entries[path], entries[step])]
    around = [path for path in beside if path in parents]
    return (around[0],) if len(around) == 1 else tuple(beside)


def step_of_all(ranks: Sequence[Mapping[Path, Entries]]) -> Path | None:
    """Return the step of several ranks of one job: of the phases that have ended in all of them."""
    first, *others = ranks
    common: dict[Path, Ended] = {}
    for path, ended in first.items():
        everywhere = [ended, *(rank[path] for rank in others if path in rank)]
        if len(everywhere) == len(ranks):
            count, total_ns = min(each.count for each in everywhere), sum(each.total_ns for each in everywhere)
            common[path] = Ended(count, total_ns, ended.span_ns)  # by one clock: the first rank's
    return likely_step_of(common)


def is_evaluation(path: Path) -> bool:
    """Return whether a phase is an evaluation or lies in one, by the names that people and frameworks give it."""
    return any(name.lower() in EVALUATIONS for name in path)


def _is_around(path: Path, others: list[Path]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in others)


def _is_before(entries: Entries, others: Entries) -> bool:
    return _was_over(entries, others) and entries.count <= others.count


def _take_turns(entries: Entries, others: Entries) -> bool:
    as_often = entries.count < 2 * others.count and others.count < 2 * entries.count
    return as_often and not _was_over(entries, others) and not _was_over(others, entries)


def _was_over(entries: Entries, others: Entries) -> bool:
    """Return whether all of them had ended when the first of the others did."""
    span, later = entries.span_ns, others.span_ns
    return span is not None and later is not None and span[1] < later[0]
