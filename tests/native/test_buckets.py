"""The compiled core counts values in the buckets, and in the order, that Python does."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope import _native
from phasescope.analysis.statistics import quantiles
from phasescope.analysis.statistics.quantiles import EXACT_LIMIT, Quantiles

pytestmark = pytest.mark.skipif(_native.core is None, reason=f"no compiled core here: {_native.why_not}")

BIG = 2**63 - 1


def buckets(values: list[int]) -> list[tuple[int, int]]:
    """Return the buckets of these values and one too many of 7, which come last."""
    found = Quantiles()
    found.extend([*values, *[7] * (EXACT_LIMIT + 1)])
    return list(found._buckets.items())


@given(st.lists(st.integers(0, BIG) | st.sampled_from([0, 1, 2, BIG, BIG - 1, 2**53, 2**53 + 1]), max_size=50))
def test_buckets_are_the_same(values: list[int]) -> None:
    compiled = buckets(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "core", None)
        assert compiled == buckets(values)


def test_where_one_bucket_ends_and_the_next_begins() -> None:
    chance = random.Random(1)
    edges = [round(quantiles._GROWTH**power) + off for power in range(1, 2180) for off in (-1, 0, 1)]
    values = [value for value in edges if 0 <= value <= BIG] + [chance.randrange(BIG) for _ in range(5000)]
    compiled = buckets(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "core", None)
        assert compiled == buckets(values)
    assert len(compiled) > 2000


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e300, -1e9])
def test_a_scale_that_makes_too_many_buckets_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        _native.core.log_buckets(array("q", [5]), scale)
