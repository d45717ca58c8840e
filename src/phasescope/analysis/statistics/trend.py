"""Whether a series of memory figures, one per step, really grows: a robust slope with its confidence bounds.

Noise is not the difficulty, but memory that looks like growth and is not: a cache that fills and is emptied,
garbage that waits for its collector, a warm-up, an evaluation every n steps. So it is not the figures that are
compared but the floors of stretches of them (their lower quartile), the trend must hold in the recent half by itself,
and it must go on to the end, at a rate worth the name beside what was before. The result is the rate of the recent
half: a cache that took gigabytes to fill says nothing of the leak behind it. How often that is wrong is measured in
docs/growth.md.
"""

from __future__ import annotations

from array import array
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

from .harmless_rises import are_stairs, is_wave

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_STEPS = 48
"""Fewer steps say nothing."""

SURE_STEPS = 104
"""Over fewer, a cache that fills and garbage that piles up rise as a leak does: more than the rise must be known. Of
runs of 100 steps with such garbage more than 1 % would be called growing."""

_MAX_POINTS = 1024
_BLOCKS = 8
_FLOOR = 0.25
_WARM_UP = 0.1  # of the steps: always left out

# Of Kendall's S over 8 blocks, which is 28 if each is above all before it. Under no trend S >= 22 has a chance of
# 0.28 % and S >= 18 one of 1.6 %; both must hold.
_RISES_OVERALL = 22
_RISES_LATELY = 18
_OUTER_RANKS = 4  # as many of the 28 pairwise slopes, sorted, lie outside of the bounds on either side

_LASTING = 0.5  # the last third must grow at least at this part of the rate of the third before, and of the recent half
# A cache once filled creeps on, by some pages or by entries that differ in size. So the recent half must grow at half
# of the average rate, or beyond doubt at a tenth of it.
_COMPARABLE, _LEFT = 0.5, 0.1
_ABOVE_SCATTER = 2.0  # and the whole rise be this often the scatter of the floors around it
# Less than that says nothing of a trend, but if the noise is this part of the rise, nor is its absence shown.
_MAY_RISE, _NOISY, _LEAST_UNCLEAR = 10, 0.05, 8 << 20
_WAVES = 256  # steps: fewer may all lie within one wave of garbage, or two
_LEAST_RISE = 1 << 20  # and no less than this, in bytes: an interpreter's own memory moves by some pages


class Trend(NamedTuple):
    """The slope of a series' recent half in bytes per step: the estimate, its lower and its upper bound.

    The bounds are the 4th smallest and 4th largest of the slopes between any two of eight stretches of that half: some
    99 % confidence if the floors scatter independently. `grows` says whether that is growth and not one of the
    things that look like it; `steps` are those of the whole series, `recent_steps` those of the half that the slope is
    of. `unclear`: it may grow, and varies too much to judge.
    """

    slope: float
    low: float
    high: float
    grows: bool
    steps: int
    recent_steps: int
    unclear: bool = False


class StepSeries:
    """One figure per step, in bounded memory: of more than a thousand the lower of each pair stays, and so on."""

    __slots__ = ("_lowest", "_points", "_waited", "last", "steps", "stride")

    def __init__(self) -> None:
        self.steps = 0
        self.stride = 1
        self.last = 0
        self._points = array("q")
        self._waited = self._lowest = 0

    def add(self, value: int) -> None:
        """Take the figure of the next step, in bytes."""
        self.steps += 1
        self.last = value
        if not self._waited or value < self._lowest:
            self._lowest = value
        self._waited += 1
        if self._waited >= self.stride:
            self._keep()

    def extend(self, values: Sequence[int]) -> None:
        """Take the figures of the next steps: the same as `add` of each, several times as fast."""
        index = 0
        while index < len(values):
            taken = values[index : index + self.stride - self._waited]
            lowest = min(taken)
            if not self._waited or lowest < self._lowest:
                self._lowest = lowest
            self._waited += len(taken)
            index += len(taken)
            if self._waited >= self.stride:
                self._keep()
        if values:
            self.steps += len(values)
            self.last = values[-1]

    def _keep(self) -> None:
        self._points.append(self._lowest)
        self._waited = 0
        if len(self._points) == _MAX_POINTS:
            halved = (min(pair) for pair in zip(self._points[::2], self._points[1::2], strict=True))
            self._points = array("q", halved)
            self.stride *= 2

    @property
    def risen(self) -> int:
        """By how much the last figure kept lies above the first, without those that a trend leaves out; in bytes."""
        return self._points[-1] - self._points[int(len(self._points) * _WARM_UP)] if self._points else 0

    def overall_slope(self) -> float | None:
        """Return the slope of the whole series in bytes per step; None if there are too few steps for a trend."""
        if len(self._points) < MIN_STEPS:
            return None
        return _Floors(self._points[int(len(self._points) * _WARM_UP) :]).slopes()[0] / self.stride

    def trend(self) -> Trend | None:
        """Return the trend; None if there are too few steps for one."""
        return trend(self._points, self.stride)


def trend(values: Sequence[int], steps_per_value: int = 1) -> Trend | None:
    """Return the trend of equally spaced figures in bytes; None if they are fewer than `MIN_STEPS`."""
    if len(values) < MIN_STEPS:
        return None
    kept = values[int(len(values) * _WARM_UP) :]
    recent = kept[len(kept) // 2 :]
    whole, lately = _Floors(kept), _Floors(recent)
    slope, low, high = lately.slopes()
    average = whole.average()
    grows = (
        whole.slopes()[1] > 0
        and values[-1] >= whole.floors[0]  # it was not all given back just now
        and whole.kendall() >= _RISES_OVERALL
        and lately.kendall() >= _RISES_LATELY
        and (slope >= _COMPARABLE * average or low >= _LEFT * average)
        and not are_stairs(lately.floors, lately.spread)
        and not (len(values) * steps_per_value < _WAVES and is_wave(values))
        and slope * len(kept) > max(_LEAST_RISE, _ABOVE_SCATTER * whole.scatter(slope))
        and _lasts(kept, slope)
    )
    per_step = 1 / steps_per_value
    unclear = not grows and values[-1] >= whole.floors[0] and _is_unclear(whole, lately, len(kept))
    steps, recent_steps = len(values) * steps_per_value, len(recent) * steps_per_value
    return Trend(slope * per_step, low * per_step, high * per_step, grows, steps, recent_steps, unclear)


class _Floors:
    """The floor of each of eight stretches of a series, and the place of its middle. `spread` is how far the floors
    usually lie below the middle figures."""

    def __init__(self, values: Sequence[int]) -> None:
        edges = [round(block * len(values) / _BLOCKS) for block in range(_BLOCKS + 1)]
        stretches = [values[begin:end] for begin, end in pairwise(edges)]
        self.middles = [(begin + end) / 2 for begin, end in pairwise(edges)]
        ordered = [sorted(stretch) for stretch in stretches]
        self.floors = [stretch[int(len(stretch) * _FLOOR)] for stretch in ordered]
        above = sorted(stretch[len(stretch) // 2] - stretch[int(len(stretch) * _FLOOR)] for stretch in ordered)
        self.spread = above[_BLOCKS // 2]

    def slopes(self) -> tuple[float, float, float]:
        """Return Theil and Sen's slope per value, and its bounds."""
        slopes = sorted(
            (later - earlier) / (b - a)
            for (a, earlier), (b, later) in combinations(zip(self.middles, self.floors, strict=True), 2)
        )
        middle = len(slopes) // 2
        return (slopes[middle - 1] + slopes[middle]) / 2, slopes[_OUTER_RANKS - 1], slopes[-_OUTER_RANKS]

    def average(self) -> float:
        """Return the slope from the first floor to the last."""
        return (self.floors[-1] - self.floors[0]) / (self.middles[-1] - self.middles[0])

    def kendall(self) -> int:
        """Return how many pairs rise, less how many fall."""
        return sum((later > earlier) - (later < earlier) for earlier, later in combinations(self.floors, 2))

    def scatter(self, slope: float) -> float:
        """Return the median distance of the floors from a line of this slope, in bytes."""
        rests = sorted(floor - slope * middle for middle, floor in zip(self.middles, self.floors, strict=True))
        middle = (rests[_BLOCKS // 2 - 1] + rests[_BLOCKS // 2]) / 2
        return sorted(abs(rest - middle) for rest in rests)[_BLOCKS // 2]


def _is_unclear(whole: _Floors, lately: _Floors, count: int) -> bool:
    """Return whether it rises by more than nothing, and it is its noise for which that cannot be called growth."""
    slope, _, _ = whole.slopes()
    rise = slope * count
    return (
        rise >= _LEAST_UNCLEAR
        and whole.kendall() >= _MAY_RISE
        and lately.slopes()[0] >= _LEFT * slope
        and whole.spread >= _NOISY * rise
        and not are_stairs(whole.floors, whole.spread)
    )


def _lasts(values: Sequence[int], lately: float) -> bool:
    """Return whether the last third still grows like the one before, at its recent rate: a warm-up dies away, a leak
    does not."""
    third = len(values) // 3
    before, _, _ = _Floors(values[-2 * third : -third]).slopes()
    last, _, _ = _Floors(values[-third:]).slopes()
    return last > 0 and last >= _LASTING * max(before, lately)
