"""The memory that each phase keeps by itself from step to step, and the phases that account for a growth.

Phases allocate and free gigabytes that differ from step to step, and the few bytes that stay are the difference. So
nothing here is estimated for one phase and then subtracted from another's: of every entry its own difference is formed
(its change less that of the phases inside it), the sums of these are noted for all phases at the same moments, and all
are compared between the same pairs of moments. Then memory that one phase frees cancels memory that another allocated,
to the byte.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, combinations, pairwise, zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

_MAX_POINTS = 512
_FEWEST = 32
_BLOCKS = 8
_FLOOR = 0.25
_MIDDLE = slice(7, 21)  # of the 28 pairs, by their slope: half of them, without the steepest and the flattest
_EXPLAINS = 0.3  # phases account for a growth if what they keep is within this share of it

Path = tuple[str, ...]


class Rates(NamedTuple):
    """Bytes per step, by the same pairs of moments: how the level rose, and what each of the phases kept, as their
    sums were ordered."""

    level: float
    own: list[float]


class KeptSums(NamedTuple):
    """What each phase has kept by itself so far, in bytes, and how often it has ended; in the order of their first
    ends."""

    own: array[int]
    counts: array[int]


class Moments(NamedTuple):
    """Moments at the end of a step each, `stride` steps apart: the level, and how often each phase had ended.

    `own` is what each phase kept by itself from the first of them to the last.
    """

    levels: Sequence[int]
    counts: Sequence[Sequence[int]]
    own: Sequence[int]
    stride: int


class Kept:
    """The level at the end of each step, and with it the sums of what the phases kept; in bounded memory.

    Of more than some hundred steps the lower of each pair stays, and so on, as in a `Series`.
    """

    def __init__(self) -> None:
        self._levels = array("q")
        self._sums: list[KeptSums] = []
        self._stride = 1
        self._waited = 0
        self._lowest: tuple[int, KeptSums] | None = None

    def steps(self, levels: Sequence[int], sums: Callable[[int], KeptSums]) -> None:
        """Take the ends of the next steps. `sums` at one of them are only asked for if they are needed."""
        place = 0
        while place < len(levels):
            taken = levels[place : place + self._stride - self._waited]
            lowest = min(taken)
            if self._lowest is None or lowest < self._lowest[0]:
                self._lowest = lowest, sums(place + taken.index(lowest))
            self._waited += len(taken)
            place += len(taken)
            if self._waited >= self._stride:
                self._keep(*self._lowest)

    def _keep(self, level: int, sums: KeptSums) -> None:
        self._levels.append(level)
        self._sums.append(sums)
        self._waited, self._lowest = 0, None
        if len(self._levels) == _MAX_POINTS:
            self._halve()

    def _halve(self) -> None:
        lower = [min(pair, key=self._levels.__getitem__) for pair in zip(*[iter(range(_MAX_POINTS))] * 2, strict=True)]
        self._levels = array("q", (self._levels[place] for place in lower))
        self._sums = [self._sums[place] for place in lower]
        self._stride *= 2

    def rates(self) -> Rates | None:
        """Return the rates by the recent half of the steps; None if there are too few of them."""
        if len(self._levels) < _FEWEST:
            return None
        pairs = self._pairs()
        apart = self._stride * sum(later - earlier for earlier, later in pairs)
        level = sum(self._levels[later] - self._levels[earlier] for earlier, later in pairs)
        own = [0] * len(self._sums[-1].own)
        for earlier, later in pairs:
            for phase, size in enumerate(self._sums[later].own):
                own[phase] += size
            for phase, size in enumerate(self._sums[earlier].own):
                own[phase] -= size
        return Rates(level / apart, [size / apart for size in own])

    def moments(self, *, recent: bool) -> Moments:
        """Return the moments that were noted, or those of the recent half."""
        begin = len(self._levels) // 2 if recent else 0
        sums = self._sums[begin:]
        own = [last - first for first, last in zip_longest(sums[0].own, sums[-1].own, fillvalue=0)] if sums else []
        return Moments(self._levels[begin:], [each.counts for each in sums], own, self._stride)

    def _pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of moments to compare: the floors of eight stretches, in pairs of a middling slope."""
        levels, begin = self._levels, len(self._levels) // 2
        edges = [begin + round(block * (len(levels) - begin) / _BLOCKS) for block in range(_BLOCKS + 1)]
        stretches = [sorted(range(*edge), key=levels.__getitem__) for edge in pairwise(edges)]
        floors = [stretch[int(len(stretch) * _FLOOR)] for stretch in stretches]
        pairs = sorted(
            combinations(floors, 2), key=lambda pair: (levels[pair[1]] - levels[pair[0]]) / (pair[1] - pair[0])
        )
        return pairs[_MIDDLE]


def accounting_for(
    slope: float, retained: Sequence[tuple[Path, float]], rare: Collection[Path] = ()
) -> tuple[Path, ...]:
    """Return the fewest phases in a row that together keep as much per step as the memory grows.

    Empty if none do: the memory is kept outside of phases, or by turns. What one phase allocates another frees, so
    that a phase in between may seem to keep as much by chance. So a row is passed over if another row of that length
    keeps as much too, or if the phases after it free what they have not allocated by then. The latter does not go for
    the `rare` phases, between two of which the others run many times.
    """
    paths, kept = [path for path, _ in retained], [size for _, size in retained]
    most_off = _EXPLAINS * abs(slope)
    for length in range(1, len(kept) + 1):
        rows = [begin for begin, together in _rows(kept, length) if abs(together - slope) <= most_off]
        if len(rows) == 1:
            row = tuple(paths[rows[0] : rows[0] + length])
            if all(path in rare for path in row) or not _frees_what_was_before(kept, rows[0], length, most_off):
                return row
    return ()


def _rows(kept: Sequence[float], length: int) -> Iterator[tuple[int, float]]:
    """Yield where each row of `length` phases begins, and what it keeps together."""
    together = sum(kept[:length])
    for begin in range(len(kept) - length + 1):
        if begin:
            together += kept[begin + length - 1] - kept[begin - 1]
        yield begin, together


def _frees_what_was_before(kept: Sequence[float], begin: int, length: int, most_off: float) -> bool:
    """Return whether the phases from the end of a row to its begin in the next step free more than they have
    allocated by then: memory that was there during the row."""
    others = accumulate([*kept[begin + length :], *kept[:begin]])
    return min(others, default=0.0) < -most_off


def is_outside(slope: float, retained: Sequence[tuple[Path, float]]) -> bool:
    """Return whether the memory stays between the phases: all of them together keep next to nothing."""
    return abs(sum(kept for _, kept in retained)) <= _EXPLAINS * abs(slope)


def enclosing(paths: Sequence[Path]) -> Path:
    """Return the innermost phase around all of these, or that is one of them; empty if there is none."""
    common: list[str] = []
    for names_at in zip(*paths, strict=False):
        if len(set(names_at)) > 1:
            break
        common.append(names_at[0])
    return tuple(common)
