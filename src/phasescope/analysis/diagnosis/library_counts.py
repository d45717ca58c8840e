"""Counts that the libraries of a training keep themselves, by the samples of the host: which of them rises, to what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none, size_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURES, TRACED, COMPILED, BLOCKS = "open_figures", "traced_functions", "compiled_graphs", "python_blocks"
_COUNTED = (FIGURES, TRACED, COMPILED, BLOCKS)
_MOST_KEPT = 256
_MOST_LIBRARIES = 32
_LONGEST_NAME = 40
_FEWEST = 4  # samples, of which there is one a second
FEWEST_NEW = 3
"""As many more in the second half of the time are not start-up."""

_GOES_ON = 0.5  # of the rise in the first half
_NS_PER_HOUR = 3.6e12


@dataclass(frozen=True)
class Count:
    """How many there were at first, when half of the time was over, and last; `hours` is the second half of it."""

    first: int
    middle: int
    last: int
    hours: float

    @property
    def lately(self) -> int:
        """By how much it rose in the second half of the time."""
        return self.last - self.middle


@dataclass(frozen=True)
class Seen:
    """The libraries that the training had loaded, None if unknown, and the counts taken often enough to judge."""

    libraries: tuple[str, ...] | None = None
    mmap_threshold_bytes: int | None = None
    counts: Mapping[str, Count] = field(default_factory=dict)

    def has(self, library: str) -> bool:
        """Return whether it is loaded, or that is not known."""
        return self.libraries is None or library in self.libraries


def do_figures_pile_up(seen: Seen) -> bool:
    """Return whether ever more figures of matplotlib's stay open: as fast in the second half of the time as before."""
    count = seen.counts.get(FIGURES)
    return count is not None and count.lately >= FEWEST_NEW and count.lately >= _GOES_ON * (count.middle - count.first)


class SeenFold:
    """Takes the host's samples, in bounded memory."""

    def __init__(self) -> None:
        self._libraries: tuple[str, ...] | None = None
        self._threshold: int | None = None
        self._counts: dict[str, _CountSeries] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        metadata = event.get("metadata")
        if event.get("event_type") != "sample" or not isinstance(metadata, dict):
            return
        libraries = metadata.get("libraries")
        if isinstance(libraries, (list, tuple)):
            named = (name[:_LONGEST_NAME] for name in libraries[:_MOST_LIBRARIES] if isinstance(name, str))
            self._libraries = tuple(named)
        threshold = size_or_none(metadata.get("mmap_threshold_bytes"))
        self._threshold = self._threshold if threshold is None else threshold
        time_ns = int_or_none(event.get("timestamp_ns"))
        for name in _COUNTED:
            count = size_or_none(metadata.get(name))
            if count is not None and time_ns is not None:
                self._counts.setdefault(name, _CountSeries()).add(time_ns, count)

    def result(self) -> Seen:
        """Return the counts as known now."""
        judged = {name: count for name, counts in self._counts.items() if (count := counts.result()) is not None}
        return Seen(self._libraries, self._threshold, judged)


class _CountSeries:
    """One count over time; of many samples only every n-th is kept."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int]] = []
        self._one_in = self._passed = 1
        self._last = (0, 0)

    def add(self, time_ns: int, count: int) -> None:
        self._last = (time_ns, count)
        self._passed += 1
        if self._passed >= self._one_in:
            self._passed = 0
            self._kept.append((time_ns, count))
            if len(self._kept) >= _MOST_KEPT:
                self._kept = self._kept[::2]
                self._one_in *= 2

    def result(self) -> Count | None:
        if len(self._kept) < _FEWEST:
            return None
        began_ns, first = self._kept[0]
        ended_ns, last = self._last
        half_ns = began_ns + (ended_ns - began_ns) // 2
        middle_ns, middle = next((look for look in reversed(self._kept) if look[0] <= half_ns), self._kept[0])
        return Count(first, middle, last, max(0, ended_ns - middle_ns) / _NS_PER_HOUR)
