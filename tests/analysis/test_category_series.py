"""What memory was made of over time: what is shown of a moment was seen at that moment, in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest

from phasescope.analysis.timeline.category_series import CategorySeries

pytestmark = pytest.mark.neutral
SECOND = 1_000_000_000


def look(moment: str = "step", **sizes: int) -> dict[str, Any]:
    told = {f"memory.category.{name}_bytes": size for name, size in sizes.items()}
    return {"metadata": {"memory.category.looks": 1, "memory.category.moment": moment, **told}}


def test_a_category_is_unknown_until_it_is_seen() -> None:
    series = CategorySeries()
    series.add(1 * SECOND, look(parameters=5))
    series.add(2 * SECOND, look(parameters=5, gradients=3))
    assert series.columns() == {
        "timestamp_ns": [1 * SECOND, 2 * SECOND],
        "parameters_bytes": [5, 5],
        "gradients_bytes": [None, 3],
    }
    assert series.columns(2 * SECOND)["timestamp_ns"] == [2 * SECOND]
    assert CategorySeries().columns() == {"timestamp_ns": []}


def test_what_came_since_the_last_step_when_memory_ran_out_is_activations() -> None:
    series = CategorySeries()
    series.add(1 * SECOND, look(parameters=5, other=10))
    series.add(2 * SECOND, look("failure", parameters=5, other=70))
    assert series.looks()[-1].sizes == {"parameters": 5, "other": 10, "activations": 60}


def test_a_long_session_stays_bounded_and_every_look_kept_is_a_true_one() -> None:
    series = CategorySeries(most=16)
    for second in range(1, 1001):
        series.add(second * SECOND, look(parameters=second, other=2 * second))
    looks = series.looks()
    assert 8 <= len(looks) <= 16
    assert looks[-1].timestamp_ns == 1000 * SECOND
    for kept in looks:
        second = kept.timestamp_ns // SECOND
        assert kept.sizes == {"parameters": second, "other": 2 * second}
    fewer = series.looks(most=5)
    assert len(fewer) <= 5
    assert fewer[-1] == looks[-1]


@pytest.mark.parametrize("times", [[0, 2**62, 1], [2**62, 0], [5, 5, 4]])
def test_a_clock_that_jumps_makes_no_disorder(times: list[int]) -> None:
    series = CategorySeries(most=2)
    for time_ns in times:
        series.add(time_ns, look(parameters=1))
    told = series.columns()["timestamp_ns"]
    assert told == sorted(told)  # type: ignore[type-var]
    assert 1 <= len(told) <= 2


def test_an_event_without_true_categories_is_no_look() -> None:
    series = CategorySeries()
    series.add(1, {"metadata": {"memory.category.looks": 1}})
    series.add(2, look(parameters=-1))
    assert series.looks() == []
