"""How far chance may have moved figures of a phase: its median, mean and 95th percentile time by its entries alone, and
what a comparison of two figures of any kind allows for.

Entries resemble their neighbours: a machine is busy for a while, a data loader falls behind for some steps. A hundred
of them then say less than a hundred independent ones would. How much less is seen from eight stretches of them: by
how much these differ beyond the chance of independent entries. docs/explain.md has how
often a comparison that relies on this is wrong.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import chain, pairwise
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BLOCKS = 8
_SIGMAS = 3.0
_FEW = 5  # as few entries widen the bounds by another three standard errors: few misjudge their own scatter

_TIME_FLOOR = 0.05  # two runs of one program on one machine differ by that much, whatever their steps' own scatter
_ONE_ENTRY = 0.4  # a single entry may lie off by that much: few entries show too little of their scatter
_MEMORY_FLOOR, _LEAST_BYTES = 0.01, 1 << 20
_HOST_FLOOR, _HOST_LEAST_BYTES = 0.05, 8 << 20  # the resident set moves with page faults and the C library's moods
_MEDIAN_OF_IQR = 1.2533 / 1.349  # the standard error of a median in interquartile ranges, over sqrt(n)


class Scatter(NamedTuple):
    """How values scatter: their variance, and of each figure how many times the variance it has that independent values
    would give it, at least 1."""

    variance: float
    of_mean: float = 1.0
    of_p50: float = 1.0
    of_p95: float = 1.0


class Bounds(NamedTuple):
    """Three standard errors to either side, in the unit of the values; of the mean the distance alone."""

    p50_low: int
    p50_high: int
    p95_low: int
    p95_high: int
    mean_error: float


def in_order_with_scatter(values: Sequence[int]) -> tuple[list[int], Scatter]:
    """Sort one value or more, given in the order in which they came, and return their scatter.

    Few are taken to be independent.
    """
    edges = [round(block * len(values) / _BLOCKS) for block in range(_BLOCKS + 1)]
    blocks = [sorted(values[begin:end]) for begin, end in pairwise(edges)]
    in_order = sorted(chain.from_iterable(blocks))
    mean, variance = _moments(values)
    if len(values) < 2 * _BLOCKS:
        return in_order, Scatter(variance)
    means_off = (len(block) * (sum(block) / len(block) - mean) ** 2 for block in blocks)
    return in_order, Scatter(
        variance,
        max(1.0, sum(means_off) / ((_BLOCKS - 1) * variance)) if variance else 1.0,
        _above(blocks, in_order[nearest_rank(0.5, len(values)) - 1]),
        _above(blocks, in_order[nearest_rank(0.95, len(values)) - 1]),
    )


def nearest_rank(share: float, count: int) -> int:
    """Return the rank of a share: from 1 to `count`."""
    return max(1, math.ceil(share * count))


def bounds(value_at: Callable[[int], int], count: int, scatter: Scatter) -> Bounds:
    """Return the bounds of `count` values that scatter like this; `value_at` gives the one of a rank from 1 on."""
    sigmas = _SIGMAS * (1 + _FEW / count)
    p50_off = sigmas * math.sqrt(0.5 * 0.5 * count * scatter.of_p50)
    p95_off = sigmas * math.sqrt(0.95 * 0.05 * count * scatter.of_p95)
    return Bounds(
        *_around(value_at, count, nearest_rank(0.5, count), round(p50_off)),
        *_around(value_at, count, nearest_rank(0.95, count), round(p95_off)),
        sigmas * math.sqrt(scatter.variance * scatter.of_mean / count),
    )


def _around(value_at: Callable[[int], int], count: int, rank: int, off: int) -> tuple[int, int]:
    return _beyond(value_at, count, rank - off), _beyond(value_at, count, rank + off)


def _beyond(value_at: Callable[[int], int], count: int, rank: int) -> int:
    """Return a figure for a rank beyond the values: as far out again as the last one is from the median."""
    if 1 <= rank <= count:
        return value_at(rank)
    last, median = value_at(1 if rank < 1 else count), value_at(nearest_rank(0.5, count))
    return max(0, 2 * last - median)


def _above(blocks: Sequence[Sequence[int]], cut: int) -> float:
    """Return how differently often the blocks' values lie above the cut, if chance alone would make it 1."""
    above = [len(block) - bisect_right(block, cut) for block in blocks]
    share = sum(above) / sum(map(len, blocks))
    if not share:
        return 1.0
    off = ((times - share * len(block)) ** 2 / len(block) for times, block in zip(above, blocks, strict=True))
    return max(1.0, sum(off) / ((_BLOCKS - 1) * share * (1 - share)))


def _moments(values: Sequence[int]) -> tuple[float, float]:
    """Return mean and variance. In whole numbers, which is exact, and quicker than a sum over distances."""
    count, total = len(values), sum(values)
    squares: int = sum(map(mul, values, values))
    return total / count, (squares * count - total**2) / (count * max(1, count - 1))


def median_error_ns(p25_ns: int | None, p75_ns: int | None, count: int | None) -> float:
    """Return the standard error of a phase's median time, by the scatter of its entries; 0 if that is not known."""
    if p25_ns is None or p75_ns is None or not count:
        return 0.0
    return _MEDIAN_OF_IQR * (p75_ns - p25_ns) / math.sqrt(count)


def time_noise_ns(usual_ns: int, *errors_ns: float) -> int:
    """Return the noise of medians with these standard errors: three of them, and at least 5 % of the usual figure."""
    return round(max(_TIME_FLOOR * abs(usual_ns), _SIGMAS * math.hypot(*errors_ns)))


def least_time_noise_ns(usual_ns: int, entries: int) -> int:
    """Return how far two runs' times of a phase of `count` entries lie apart, whatever these entries' own scatter."""
    return round(max(_TIME_FLOOR, _ONE_ENTRY / math.sqrt(max(1, entries))) * abs(usual_ns))


def memory_noise_bytes(usual_bytes: int, *, on_host: bool) -> int:
    """Return the noise of figures of a device, or of the host's resident set, by the usual figure."""
    share, least = (_HOST_FLOOR, _HOST_LEAST_BYTES) if on_host else (_MEMORY_FLOOR, _LEAST_BYTES)
    return round(max(share * abs(usual_bytes), least))
