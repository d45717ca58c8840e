"""How far chance may have moved a phase's figures: the floors, and what few entries and alike neighbours add."""

from __future__ import annotations

import math

import pytest

from phasescope.analysis.statistics.confidence import (
    Scatter,
    bounds,
    in_order_with_scatter,
    least_time_noise_ns,
    median_error_ns,
    memory_noise_bytes,
    nearest_rank,
    time_noise_ns,
)

MIB = 1 << 20


def test_the_error_of_a_median_is_that_of_a_normal_distribution() -> None:
    """Its interquartile range is 1.349 standard deviations, and the median's error 1.2533 of them over sqrt(n)."""
    assert median_error_ns(1000 - 6745, 1000 + 6745, 100) == pytest.approx(1253.3)
    assert median_error_ns(None, 5, 100) == median_error_ns(5, None, 100) == median_error_ns(1, 5, 0) == 0.0


def test_time_noise_is_three_errors_and_at_least_five_per_cent() -> None:
    assert time_noise_ns(1000, 3.0, 4.0) == 50
    assert time_noise_ns(1000, 30.0, 40.0) == 150


def test_few_entries_may_lie_off_by_more() -> None:
    assert least_time_noise_ns(1000, 1) == least_time_noise_ns(1000, 0) == 400
    assert least_time_noise_ns(1000, 4) == 200
    assert least_time_noise_ns(1000, 64) == 50
    assert least_time_noise_ns(1000, 10_000) == 50


@pytest.mark.parametrize(
    ("usual", "on_host", "noise"),
    [(10 * MIB, False, MIB), (1000 * MIB, False, 10 * MIB), (10 * MIB, True, 8 * MIB), (1000 * MIB, True, 50 * MIB)],
)
def test_memory_noise_is_a_share_and_at_least_some_mib(usual: int, on_host: bool, noise: int) -> None:
    assert memory_noise_bytes(usual, on_host=on_host) == noise


def test_ranks_are_from_1_to_the_last() -> None:
    assert [nearest_rank(share, 10) for share in (0.0, 0.5, 0.51, 0.95, 1.0)] == [1, 5, 6, 10, 10]


def test_few_values_are_taken_to_be_independent() -> None:
    in_order, scatter = in_order_with_scatter([3, 1, 2])
    assert (in_order, scatter) == ([1, 2, 3], Scatter(1.0))
    assert in_order_with_scatter(list(range(15)))[1] == Scatter(20.0)
    assert in_order_with_scatter(list(range(16)))[1].of_mean > 1


def test_values_like_their_neighbours_scatter_more_than_their_number_says() -> None:
    alike = [block * 100 + entry for block in range(8) for entry in range(10)]
    mixed = [block * 100 + entry for entry in range(10) for block in (0, 5, 2, 7, 4, 1, 6, 3)]
    assert sorted(alike) == sorted(mixed)
    assert in_order_with_scatter(alike)[0] == in_order_with_scatter(mixed)[0] == sorted(alike)
    # Blocks that have nothing in common: their means vary ten times as much as those of ten independent values.
    assert in_order_with_scatter(alike)[1].of_mean == pytest.approx(10 * 8 / 7 * 79 / 80, rel=0.01)
    assert in_order_with_scatter(alike)[1].of_p50 == pytest.approx(10 * 8 / 7, rel=0.02)
    in_turns = in_order_with_scatter(mixed)[1]
    assert (in_turns.of_mean, in_turns.of_p50) == (1.0, 1.0)
    # The four values above the 95th percentile lie in one block, of which each is to have half a one; or in several.
    four_in_one = ((4 - 0.5) ** 2 + 7 * 0.5**2) / 10 / (7 * 0.05 * 0.95)
    assert in_order_with_scatter(alike)[1].of_p95 == pytest.approx(four_in_one)
    assert in_turns.of_p95 < 1.5


def test_bounds_are_three_standard_errors_and_wider_of_few() -> None:
    values = list(range(1, 1001))
    found = bounds(lambda rank: values[rank - 1], 1000, Scatter(400.0))
    sigmas = 3 * (1 + 5 / 1000)
    off = round(sigmas * math.sqrt(0.25 * 1000))
    assert (found.p50_low, found.p50_high) == (500 - off, 500 + off)
    off = round(sigmas * math.sqrt(0.95 * 0.05 * 1000))
    assert (found.p95_low, found.p95_high) == (950 - off, 950 + off)
    assert found.mean_error == pytest.approx(sigmas * math.sqrt(400 / 1000))


def test_where_the_values_do_not_reach_that_far_the_bounds_go_as_far_out_again() -> None:
    values = [10, 12, 17]
    found = bounds(lambda rank: values[rank - 1], 3, Scatter(1.0))
    assert (found.p50_low, found.p50_high) == (2 * 10 - 12, 2 * 17 - 12)
    assert bounds(lambda rank: 10 * rank**2, 2, Scatter(1.0)).p50_low == 10
