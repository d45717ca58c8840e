"""What counts as growth. docs/growth.md has the same, measured with more runs by scripts/calibrate_growth.py."""

from __future__ import annotations

import random

import pytest

from phasescope.analysis.statistics.harmless_rises import are_stairs, is_wave
from phasescope.analysis.statistics.trend import MIN_STEPS, SURE_STEPS, StepSeries, trend
from support.series import HEALTHY, LEAKING, MIB

STEPS, RUNS = 400, 300
ALWAYS_FOUND = [name for name in LEAKING if "sawtooth" not in name and "garbage" not in name]


def share_found(make: object, runs: int = RUNS, steps: int = STEPS) -> float:
    assert callable(make)
    found = (trend(make(random.Random(seed), steps)) for seed in range(runs))
    return sum(result is not None and result.grows for result in found) / runs


@pytest.mark.parametrize("steps", [SURE_STEPS, 200, STEPS])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_series_is_called_growing_in_one_run_of_a_hundred_at_most(name: str, steps: int) -> None:
    assert share_found(HEALTHY[name], steps=steps) <= 0.01


def test_a_leak_of_1_mib_per_step_under_noise_of_50_is_found() -> None:
    assert share_found(LEAKING["1 MiB per step under noise of 50 MiB"]) >= 0.95


@pytest.mark.parametrize("name", ALWAYS_FOUND)
def test_most_leaks_are_found(name: str) -> None:
    assert share_found(LEAKING[name]) >= 0.7


def test_the_slope_is_within_its_bounds_and_right() -> None:
    make = LEAKING["1 MiB per step under noise of 50 MiB"]
    found = [trend(make(random.Random(seed), STEPS)) for seed in range(RUNS)]
    inside = [result is not None and result.low <= MIB <= result.high for result in found]
    assert sum(inside) / RUNS >= 0.95
    assert sorted(result.slope for result in found if result is not None)[RUNS // 2] == pytest.approx(MIB, rel=0.05)


def test_memory_that_shrinks_does_not_grow() -> None:
    result = trend([-value for value in LEAKING["1 MiB per step"](random.Random(0), STEPS)])
    assert result is not None
    assert not result.grows
    assert result.slope == pytest.approx(-MIB)


def test_few_steps_say_nothing() -> None:
    assert trend(list(range(MIN_STEPS - 1))) is None
    assert trend(list(range(MIN_STEPS))) is not None


def test_a_long_series_is_kept_in_bounded_memory_and_still_tells() -> None:
    series = StepSeries()
    for step, value in enumerate(LEAKING["1 MiB per step under noise of 50 MiB"](random.Random(3), 50_000)):
        series.add(value)
        assert series.steps == step + 1
    assert len(series._points) < 1024
    result = series.trend()
    assert result is not None
    assert result.grows
    assert result.slope == pytest.approx(MIB, rel=0.05)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4, 0.45, 0.5, 0.6])
@pytest.mark.parametrize("steps", [200, 1000])
def test_single_pages_after_a_ramp_are_no_growth(share: float, steps: int) -> None:
    result = trend(ramp_then_pages(int(share * steps), steps))
    assert result is not None
    assert not result.grows


def ramp_then_pages(length: int, steps: int) -> list[int]:
    """200 kB per step, and then a page of 4 KiB every twentieth of the run."""
    pages = [max(0, step - length) // (steps // 20) for step in range(steps)]
    return [40_000_000 + 200_000 * min(step, length) + 4096 * count for step, count in enumerate(pages)]


def test_what_is_told_is_the_rate_of_late() -> None:
    result = trend([8 * MIB * min(step, 120) + MIB * step for step in range(STEPS)])
    assert result is not None
    assert result.grows
    assert result.slope == pytest.approx(MIB)


def test_growth_that_has_ended_is_none_even_where_it_went_on_for_most_of_the_run() -> None:
    result = trend([MIB * min(step, 260) for step in range(STEPS)])
    assert result is not None
    assert not result.grows


def test_a_climb_after_a_fall_is_a_wave_until_it_is_much_longer_than_the_one_before() -> None:
    before = [*range(20), *range(100)]
    assert is_wave(before)
    assert not is_wave([*range(20), *range(200)])
    assert not is_wave(range(100))
    assert not is_wave([*range(100), 0])
    assert not is_wave([7] * 100)


def test_a_leak_after_a_start_that_gave_some_back_is_found_once_it_lasts() -> None:
    started = [40 * MIB * step for step in range(20)]
    leaking = [100 * MIB + MIB * step for step in range(1000)]
    assert [trend([*started, *leaking[:steps]]).grows for steps in (80, 1000)] == [False, True]  # type: ignore[union-attr]


def test_floors_that_rise_by_a_jump_or_two_are_stairs() -> None:
    assert are_stairs([0, 0, 0, 0, 0, 90, 90, 91], 1)
    assert are_stairs([0, 1, 1, 40, 41, 41, 90, 91], 1)
    assert not are_stairs([0, 10, 20, 30, 40, 50, 60, 70], 1)
    assert not are_stairs([0, 0, 30, 30, 60, 60, 90, 90], 1)
    assert not are_stairs([0, 0, 0, 0, 0, 90, 90, 91], 30), "noise that high tells of no jump"
    assert not are_stairs([0, 50, 10, 60, 20, 70, 30, 80], 1), "what is given back is noise as well"


@pytest.mark.parametrize(
    "name", ["1 MiB per step under noise of 50 MiB", "1 MiB per step under uniform noise over 200 MiB"]
)
def test_a_leak_under_too_much_noise_is_not_called_healthy(name: str) -> None:
    found = [trend(LEAKING[name](random.Random(seed), 200)) for seed in range(RUNS)]
    assert sum(result is not None and (result.grows or result.unclear) for result in found) / RUNS >= 0.97


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_healthy_is_seldom_called_too_noisy(name: str) -> None:
    found = [trend(HEALTHY[name](random.Random(seed), 200)) for seed in range(100)]
    assert sum(result is not None and result.unclear for result in found) / 100 <= 0.2
