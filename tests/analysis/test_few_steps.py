"""A rise over few steps, which a cache that fills and garbage show as well as a leak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.analysis.diagnosis.explanation import Explanation

RATE = 100 * MIB


def steps(count: int, *, backend: str = "cuda", then: Callable[[MadeSession], object] | None = None) -> Explanation:
    session = MadeSession(backend=backend, device_id=-1 if backend == "cpu" else 0)
    session.event("start")
    for _ in range(count):
        session.run("step", ms=100, change=RATE)
    if then is not None:
        then(session)
    return explain(evidence(session.events))


@pytest.mark.parametrize("count", [60, 99])
def test_it_is_not_known_to_be_a_leak(count: int) -> None:
    answer = steps(count)
    assert (answer.cause.kind, answer.cause.certain) == ("none", False)
    why = f"too few to tell a leak from a cache that fills (cuda:0: +100 MiB per step, {count} of the 100 needed)"
    assert why in answer.cause.text
    (growth,) = answer.evidence.growth
    assert (growth.grows, growth.unclear, growth.few) == (False, True, True)


def test_over_a_hundred_steps_it_is_growth() -> None:
    answer = steps(100)
    assert answer.cause.kind == "growth"
    (growth,) = answer.evidence.growth
    assert (growth.grows, growth.unclear, growth.few) == (True, False, False)


def test_it_is_growth_if_it_is_known_who_keeps_it() -> None:
    keeper = {"container": "list", "expression": "kept", "scope": "global", "file": "train.py", "line": 7, "kept": 60}
    grown = {
        "kind": "tensors",
        "library": "torch",
        "device": "cuda:0",
        "dtype": "float32",
        "shape": [RATE // 4],
        "count": 60,
        "bytes": 60 * RATE,
        "before": 0,
        "since_step": 8,
        "per_step": 1.0,
        "censuses": 3,
        "keeper": {**keeper, "length": 60, "function": "", "line_file": "train.py", "line_function": ""},
    }
    census = {"number": 3, "step": 32, "grown": [grown]}
    answer = steps(60, then=lambda session: session.event("census", metadata={"census": census}))
    assert answer.cause.kind == "growth"
    assert "kept by list `kept`" in answer.cause.text


def test_it_is_why_memory_ran_out_whichever_it_was() -> None:
    answer = steps(60, backend="cpu", then=lambda session: session.run_out(session.enter("step")))
    assert answer.cause.kind == "growth"
    assert "+100 MiB per entry of step" in answer.cause.text


def test_an_error_before_the_first_step_is_not_answered_with_advice_on_steps() -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.event("start")
    session.event("stop", metadata={"error_type": "ValueError", "error": "ValueError: batch size 0"})
    assert explain(evidence(session.events, "stopped")).cause.text.endswith(
        "whether it grew is not known: no phase had begun when it ended."
    )
