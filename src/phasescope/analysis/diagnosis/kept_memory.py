"""What each phase keeps by itself from step to step, and which of them account for a growth.

Phases allocate and free gigabytes that differ from step to step, and the few bytes that stay are the difference. So
nothing here is estimated for one phase and then subtracted from another's: of every entry its own difference is formed
(its change less that of the phases inside it), the sums of these are noted for all phases at the same moments, and all
are compared between the same pairs of moments. Then what one phase frees cancels what another allocated to the byte.
"""

from __future__ import annotations

from array import array
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MAX_POINTS = 512
_FEWEST = 32
_BLOCKS = 8
_FLOOR = 0.25
_MIDDLE = slice(7, 21)  # of the 28 pairs, by their slope: half of them, without the steepest and the flattest
_EXPLAINS = 0.3  # phases account for a growth where what they keep is within this share of it

Path = tuple[str, ...]


class Rates(NamedTuple):
    """In bytes per step, by the same pairs of moments: how the level rose, and what each of the phases kept, as their
    sums were ordered."""

    level: float
    own: list[float]


class Kept:
    """The level at the end of each step, and with it the sums of what the phases kept; in bounded memory.

    Of more than some hundred steps the lower of each pair stays, and so on, as in a `Series`.
    """

    def __init__(self) -> None:
        self._levels = array("q")
        self._sums: list[array[int]] = []
        self._stride = 1
        self._waited = 0
        self._lowest: tuple[int, array[int]] | None = None

    def step(self, level: int, sums: Callable[[], array[int]]) -> None:
        """A step has ended. `sums` is only asked where they are needed."""
        if self._lowest is None or level < self._lowest[0]:
            self._lowest = level, sums()
        self._waited += 1
        if self._waited < self._stride:
            return
        self._levels.append(self._lowest[0])
        self._sums.append(self._lowest[1])
        self._waited, self._lowest = 0, None
        if len(self._levels) == _MAX_POINTS:
            self._halve()

    def _halve(self) -> None:
        lower = [min(pair, key=self._levels.__getitem__) for pair in zip(*[iter(range(_MAX_POINTS))] * 2, strict=True)]
        self._levels = array("q", (self._levels[at] for at in lower))
        self._sums = [self._sums[at] for at in lower]
        self._stride *= 2

    def rates(self) -> Rates | None:
        """By the recent half of the steps; None where there are too few of them."""
        if len(self._levels) < _FEWEST:
            return None
        pairs = self._pairs()
        apart = self._stride * sum(later - earlier for earlier, later in pairs)
        level = sum(self._levels[later] - self._levels[earlier] for earlier, later in pairs)
        own = [0] * len(self._sums[-1])
        for earlier, later in pairs:
            for at, size in enumerate(self._sums[later]):
                own[at] += size
            for at, size in enumerate(self._sums[earlier]):
                own[at] -= size
        return Rates(level / apart, [size / apart for size in own])

    def _pairs(self) -> list[tuple[int, int]]:
        """Between which moments is compared: the floors of eight stretches, in pairs of a middling slope."""
        levels, begin = self._levels, len(self._levels) // 2
        edges = [begin + round(block * (len(levels) - begin) / _BLOCKS) for block in range(_BLOCKS + 1)]
        stretches = [sorted(range(*edge), key=levels.__getitem__) for edge in pairwise(edges)]
        floors = [stretch[int(len(stretch) * _FLOOR)] for stretch in stretches]
        pairs = sorted(
            combinations(floors, 2), key=lambda pair: (levels[pair[1]] - levels[pair[0]]) / (pair[1] - pair[0])
        )
        return pairs[_MIDDLE]


def accounting_for(slope: float, retained: Sequence[tuple[Path, float]]) -> tuple[Path, ...]:
    """The fewest phases in a row that together keep as much per step as the memory grows, the nearest of them.

    Empty where none do: the memory is kept outside of phases, or by turns.
    """
    for length in range(1, len(retained) + 1):
        off, begin = min(_distances(slope, retained, length))
        if off <= _EXPLAINS * abs(slope):
            return tuple(path for path, _ in retained[begin : begin + length])
    return ()


def _distances(slope: float, retained: Sequence[tuple[Path, float]], length: int) -> Iterator[tuple[float, int]]:
    """How far each row of so many phases is from that, and where it begins."""
    together = sum(kept for _, kept in retained[:length])
    for begin in range(len(retained) - length + 1):
        if begin:
            together += retained[begin + length - 1][1] - retained[begin - 1][1]
        yield abs(together - slope), begin


def is_outside(slope: float, retained: Sequence[tuple[Path, float]]) -> bool:
    """Whether it is between the phases that so much per step stays: all of them together keep next to nothing."""
    return abs(sum(kept for _, kept in retained)) <= _EXPLAINS * abs(slope)
