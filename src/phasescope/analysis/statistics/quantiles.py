"""Percentiles of a stream in bounded memory: exact for the first values, then within 1 %."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import TYPE_CHECKING

from phasescope import _native

from .confidence import (
    Scatter,
    bounds,
    in_order_with_scatter,
    nearest_rank,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .confidence import Bounds

EXACT_LIMIT = 10_000
"""Up to this many values the answer is one of the values; above it, within `RELATIVE_ERROR` of one."""

RELATIVE_ERROR = 0.01

_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
SCALE = 1 / math.log(_GROWTH)
"""The bucket of a value above 0 is its natural logarithm times this, rounded up; that of 0 is -1."""

_ZERO = -1  # the bucket of 0; that of 1 is 0


class Quantiles:
    """Values of 0 to 2**63 - 1, counted in buckets whose bounds grow geometrically once there are many.

    A bucket holds the values within 1 % of its middle, so the number of buckets is bounded by the range of
    int64 (some 2,200) and the answer depends on nothing but the values: neither on their order nor on chance.
    """

    __slots__ = ("_buckets", "_folded", "_recent", "_scatter")

    def __init__(self) -> None:
        self._recent = array("q")
        self._buckets: dict[int, int] = {}
        self._folded = 0
        self._scatter = Scatter(0.0)

    @classmethod
    def in_buckets(cls, buckets: Mapping[int, int]) -> Quantiles:
        """Return those of values that somebody else has counted in the same buckets; see `SCALE`."""
        quantiles = cls()
        quantiles._buckets = dict(buckets)
        quantiles._folded = sum(buckets.values())
        return quantiles

    @property
    def count(self) -> int:
        """How many values were added."""
        return self._folded + len(self._recent)

    @property
    def is_exact(self) -> bool:
        return not self._buckets

    def extend(self, values: Iterable[int]) -> None:
        self._recent.extend(values)
        if len(self._recent) > EXACT_LIMIT:
            self._fold()

    def at(self, *shares: float) -> list[int | None]:
        """Return for each share (0.95 for the 95th percentile) the value by nearest rank; None if there is none."""
        ranks = [nearest_rank(share, self.count) for share in shares]
        if not self.count:
            return [None] * len(ranks)
        if self._buckets:
            self._fold()
            return [self._middle_at(rank) for rank in ranks]
        values = sorted(self._recent)
        return [values[rank - 1] for rank in ranks]

    def bounds(self) -> Bounds | None:
        """Return the bounds within which chance may have moved the median, the mean and the 95th percentile.

        None if there is no value. How alike neighbours are is judged by those that came before any were put into
        buckets.
        """
        if not self.count:
            return None
        if self._buckets:
            self._fold()
            return bounds(self._middle_at, self.count, self._scatter._replace(variance=self._variance()))
        in_order, scatter = in_order_with_scatter(self._recent)
        return bounds(lambda rank: in_order[rank - 1], len(in_order), scatter)

    def _fold(self) -> None:
        """Put the recent values into their buckets: many at a time, which takes a third of the time."""
        if not self._buckets:
            self._scatter = in_order_with_scatter(self._recent[: EXACT_LIMIT + 1])[1]  # however many came at once
        if _native.core is not None:
            counts = _native.core.log_buckets(self._recent, SCALE)
        else:
            log, ceil = math.log, math.ceil
            counts = Counter([ceil(log(value) * SCALE) if value > 0 else _ZERO for value in self._recent])
        for bucket, count in counts.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self._folded += len(self._recent)
        del self._recent[:]

    def _middle_at(self, rank: int) -> int:
        bucket = _ZERO
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                break
        return self._middle(bucket)

    def _variance(self) -> float:
        """Return the variance of the values in buckets, each taken to lie in the middle of its own."""
        middles = [(self._middle(bucket), times) for bucket, times in self._buckets.items()]
        mean = sum(value * times for value, times in middles) / self._folded
        return sum(times * (value - mean) ** 2 for value, times in middles) / (self._folded - 1)

    @staticmethod
    def _middle(bucket: int) -> int:
        return 0 if bucket == _ZERO else round(2 * _GROWTH**bucket / (_GROWTH + 1))


class KnownQuantiles:
    """Percentiles of values that somebody else has sorted: `known` by their shares. How chance may have moved them is
    not known."""

    __slots__ = ("_known", "count", "is_exact")

    def __init__(self, count: int, quantiles: Mapping[float, int | None], *, is_exact: bool) -> None:
        self.count = count
        self.is_exact = is_exact
        self._known = quantiles

    def at(self, *shares: float) -> list[int | None]:
        """Return for each share the value, None if it is not known."""
        return [self._known.get(share) for share in shares]

    def bounds(self) -> Bounds | None:
        return None

    def extend(self, values: Iterable[int]) -> None:
        """Raise TypeError: these are all."""
        raise TypeError("values cannot be added to percentiles that were made elsewhere")
