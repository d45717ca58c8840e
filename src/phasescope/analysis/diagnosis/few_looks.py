"""Whether workers that were looked at too seldom for a trend grow: by a large and steady rise, or not at all.

A look costs a walk over a worker's page tables, so a short run has ten or twenty of them. A worker's start (imports,
the first batches, a queue that fills) is over after the first quarter, and memory that comes and goes or levels off
does not rise in a straight line to the end. A series that is neither flat nor such a line counts as unknown, not as
healthy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.statistics.trend import MIN_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 64
_FEWEST = 8
_ENOUGH = 24  # looks: by then what started is over
_ENOUGH_FOR_A_TREND = MIN_STEPS  # of the samples, one in which is a look at the most
_STILL_RISES = 0.15  # of the whole rise, in the last third of the looks
_START = 0.25  # of the time: left out
_LEAST_BYTES = 16 << 20
_LEAST_NS = 2_000_000_000
_OFF = 0.2  # of the rise: so far from the line may a look be
_LASTING = 0.6  # the last third rises at least at this part of the rate of all
_STALE = 0.35  # of the time: without anything new for so long, it may be over

_Look = tuple[int, int]


class Unjudged(NamedTuple):
    """Data workers of which it is not known whether they grow: how many they are, how often something new was seen of
    them, and how much they took since they started, in bytes. `copy_pages`: these are copies of pages that
    they had shared."""

    workers: int
    looks: int
    risen_bytes: int
    copy_pages: bool = False


class CrewLooks:
    """The looks at a crew that brought something new, in bounded memory: each worker is measured in its turn only."""

    def __init__(self) -> None:
        self._new: list[_Look] = []
        self._latest: dict[int, int] = {}
        self._now_ns = 0
        self.count = 0

    def take(self, sizes: dict[int, int], time_ns: int | None) -> None:
        """Take each worker's own bytes by the next sample."""
        if time_ns is None:
            return
        self._now_ns = time_ns
        if sizes != self._latest:
            self._latest = sizes
            self.count += 1
            self._new = [*self._new[1 - _MOST :], (time_ns, sum(sizes.values()))]

    def rates(self) -> tuple[float, float, float] | None:
        """Return the bytes per ns at which it rises, and the least and the most of its halves.

        None if it is not sure to.
        """
        looks = self._after_start()
        if len(looks) < _FEWEST - 2 or not _is_steady(looks):
            return None
        span_ns = looks[-1][0] - looks[0][0]
        if span_ns < _LEAST_NS or self._now_ns - looks[-1][0] > _STALE * (self._now_ns - looks[0][0]):
            return None
        middle = len(looks) // 2
        halves = _rate(looks[: middle + 1]), _rate(looks[middle:])
        return _rate(looks), min(halves), max(halves)

    def are_few(self, risen_bytes: int) -> bool:
        """Return whether it took too much to be called healthy after this few looks."""
        return self.count < _ENOUGH and risen_bytes >= _LEAST_BYTES

    def unjudged(self, risen_bytes: int) -> bool:
        """Return whether it took too much to be called healthy after these looks: few, or some more, if it still
        rises."""
        if risen_bytes < _LEAST_BYTES or self.count >= _ENOUGH_FOR_A_TREND:
            return False
        if self.are_few(risen_bytes):
            return True
        late = self._new[-(len(self._new) // 3) - 1 :]
        return late[-1][1] - late[0][1] >= _STILL_RISES * risen_bytes

    def _after_start(self) -> list[_Look]:
        if self.count < _FEWEST:
            return []
        began_ns = self._new[0][0]
        start_ns = began_ns + _START * (self._now_ns - began_ns)
        return [look for look in self._new if look[0] >= start_ns]


def _is_steady(looks: Sequence[_Look]) -> bool:
    """Return whether all of them lie near the line from the first to the last, and it goes on at the end."""
    (began_ns, first), (_, last) = looks[0], looks[-1]
    rise, rate = last - first, _rate(looks)
    if rise < _LEAST_BYTES:
        return False
    near = all(abs(size - first - rate * (time_ns - began_ns)) <= _OFF * rise for time_ns, size in looks)
    return near and _rate(looks[-max(3, len(looks) // 3) :]) >= _LASTING * rate


def _rate(looks: Sequence[_Look]) -> float:
    (began_ns, first), (ended_ns, last) = looks[0], looks[-1]
    return (last - first) / max(1, ended_ns - began_ns)
