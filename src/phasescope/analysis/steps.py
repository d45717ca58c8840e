"""Which phase it is of which one entry is a step: the one definition that growth goes by everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from phasescope.analysis.statistics.trend import MIN_STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH = "epoch"


class Entries(Protocol):
    """How often a phase ended, how long that took together, and when it ended first and last."""

    count: int
    total_ns: int

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """None where that is not known."""


def step_of(entries: Mapping[tuple[str, ...], Entries], least: int = MIN_STEPS) -> tuple[str, ...] | None:
    """The outermost phase that ended `least` times: of several, the one in which most of the time went.

    A phase called `epoch` is no step, however often it ended, where a phase inside of it ended often enough: the steps
    are what it repeats. Nor is one that was over before another loop began, of as many entries and more: that loads
    what the other one works on. None where no phase ended that often.
    """
    often = [path for path, found in entries.items() if found.count >= least]
    often = [path for path in often if not any(_is_before(entries[path], entries[other]) for other in often)]
    candidates = [path for path in often if not (path[-1] == EPOCH and _is_around(path, often))] or often
    return max(candidates, key=lambda path: (entries[path].total_ns, -len(path)), default=None)


def _is_around(path: tuple[str, ...], others: list[tuple[str, ...]]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in others)


def _is_before(entries: Entries, others: Entries) -> bool:
    span, later = entries.span_ns, others.span_ns
    return span is not None and later is not None and span[1] < later[0] and entries.count <= others.count
