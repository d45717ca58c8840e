"""Whether child processes were looked at often enough for a verdict.

A cache that fills and garbage that piles up rise like a leak until they are emptied, which takes up to eighty looks, a
second apart. So a rise in fewer looks than that is not called growth. But neither are data workers healthy if they took
much after their start (imports, the first batches) and were looked at seldom: of those it is not known.
"""

from __future__ import annotations

from typing import NamedTuple

from phasescope.analysis.statistics.trend import SURE_STEPS

ENOUGH = SURE_STEPS
"""Looks that are enough for a verdict, or samples, where each has a new figure of every child."""

_LONG = 600  # samples: over that time fewer looks show as much
# Of children that are measured in turn the sum falls late, by a round or two, where all of them let go at once; and
# what each does in between is seen only by many rounds.
_LATE_ROUNDS, _LEAST_ROUNDS = 2, 16
_MOST = 64
_FEW = 24  # looks: by then what started is over
_STILL_RISES = 0.15  # of the whole rise, in the last third of the looks
_LEAST_BYTES = 16 << 20


class Unjudged(NamedTuple):
    """Children of which it is not known whether they grow: how many they are, how often something new was seen of
    them, and how much they took since they started, in bytes. `copy_pages`: these are copies of pages that
    they had shared."""

    workers: int
    looks: int
    risen_bytes: int
    copy_pages: bool = False
    are_data_workers: bool = True


class CrewLooks:
    """The looks at a crew that brought something new, in bounded memory: each worker is measured in its turn only."""

    def __init__(self) -> None:
        self._new: list[int] = []
        self._latest: dict[int, int] = {}
        self.count = 0
        self._figures = 0  # that were new

    def take(self, sizes: dict[int, int]) -> None:
        """Take each worker's own bytes by the next sample."""
        if sizes != self._latest:
            self._figures += sum(self._latest.get(pid) != size for pid, size in sizes.items())
            self._latest = sizes
            self.count += 1
            self._new = [*self._new[1 - _MOST :], sum(sizes.values())]

    def are_enough(self, samples: int) -> bool:
        """Return whether they exclude that it is a cache that fills, in this number of samples.

        More are needed of children that are measured in turn.
        """
        return self.count >= self._needed() or samples >= _LONG

    def _needed(self) -> float:
        looks_a_round = max(1.0, self.count * len(self._latest) / max(1, self._figures))
        return max(ENOUGH + _LATE_ROUNDS * (looks_a_round - 1), _LEAST_ROUNDS * looks_a_round)

    def unjudged(self, risen_bytes: int, samples: int) -> bool:
        """Return whether it took too much to be called healthy after these looks: few, or some more, if it still
        rises."""
        if risen_bytes < _LEAST_BYTES:
            return False
        if self.count < _FEW:
            return self._risen_since(max(1, self.count // 4)) >= _LEAST_BYTES  # before that it starts
        late_bytes = self._risen_since(-(len(self._new) // 3) - 1)
        return not self.are_enough(samples) and late_bytes >= _STILL_RISES * risen_bytes

    def _risen_since(self, look: int) -> int:
        return self._new[-1] - self._new[look] if look < len(self._new) else 0
