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


@pytest.mark.parametrize("count", [60, 103])
def test_it_is_not_known_to_be_a_leak(count: int) -> None:
    answer = steps(count)
    assert (answer.cause.kind, answer.cause.certain) == ("none", False)
    why = f"too few to tell a leak from a cache that fills (cuda:0: +100 MiB per step, {count} of the 104 needed)"
    assert why in answer.cause.text
    (growth,) = answer.evidence.growth
    assert (growth.grows, growth.unclear, growth.few) == (False, True, True)


def test_over_a_hundred_steps_it_is_growth() -> None:
    answer = steps(104)
    assert answer.cause.kind == "growth"
    (growth,) = answer.evidence.growth
    assert (growth.grows, growth.unclear, growth.few) == (True, False, False)


def note_kept(
    session: MadeSession,
    *,
    rate: int = RATE,
    device: str = "cuda:0",
    bound: int | None = None,
    is_found: bool = True,
    taken: int = 3,
) -> None:
    """A census names one tensor of each step's, and who keeps it, if that `is_found`."""
    keeper = {"container": "list", "expression": "kept", "scope": "global", "file": "train.py", "line": 7, "kept": 60}
    grown: dict[str, object] = {
        "kind": "tensors",
        "library": "torch",
        "device": device,
        "dtype": "float32",
        "shape": [rate // 4],
        "count": 60,
        "bytes": 60 * rate,
        "before": 0,
        "since_step": 8,
        "per_step": 1.0,
        "censuses": taken,
        "keeper": {
            **keeper,
            "length": 60,
            "function": "",
            "line_file": "train.py",
            "line_function": "",
            "bound": bound,
        },
    }
    if not is_found:
        del grown["keeper"]
    session.event("census", metadata={"census": {"number": taken, "step": 32, "grown": [grown]}})


def test_it_is_growth_if_it_is_known_who_keeps_it() -> None:
    answer = steps(60, then=note_kept)
    assert answer.cause.kind == "growth"
    assert "kept by list `kept`" in answer.cause.text


def test_where_nobody_was_found_who_keeps_it_they_may_wait_for_the_collector() -> None:
    answer = steps(120, then=lambda session: note_kept(session, is_found=False))
    (grown,) = (line for line in answer.held if line.startswith("grew by"))
    assert grown.endswith("; who keeps them was not found, or they wait for the garbage collector")
    assert answer.advice[1].startswith("see whether memory falls back after gc.collect()")


def test_who_keeps_it_may_be_filling_if_there_is_a_bound() -> None:
    """A replay buffer of a million items, of which 60 are there."""
    answer = steps(60, then=lambda session: note_kept(session, bound=1_000_000))
    assert (answer.cause.kind, answer.cause.certain) == ("none", False)


def fast_loop(then: Callable[[MadeSession], object] | None = None) -> Explanation:
    """200 steps on the host within a moment, or so."""
    session = MadeSession(backend="cpu", device_id=-1)
    session.event("start")
    for _ in range(200):
        session.run("step", ms=1, change=274 << 10)
    if then is not None:
        then(session)
    return explain(evidence(session.events))


def test_a_fast_loop_may_be_a_heap_that_settles() -> None:
    answer = fast_loop()
    assert (answer.cause.kind, answer.cause.certain) == ("none", False)
    assert "too little, in too short a time, to tell (host: +274 KiB per step)" in answer.cause.text


def test_a_fast_loop_grows_if_it_is_known_who_keeps_it() -> None:
    answer = fast_loop(lambda session: note_kept(session, rate=274 << 10, device="cpu"))
    assert answer.cause.kind == "growth"
    assert "Most of it is kept by list `kept` in train.py:7" in answer.cause.text


def test_a_fast_loop_that_ran_out_of_memory_did_not_do_so_by_a_heap_that_settles() -> None:
    answer = fast_loop(lambda session: session.run_out(session.enter("step")))
    assert answer.cause.kind != "growth"


@pytest.mark.parametrize(
    ("counts", "grows"), [((1, 5, 10, 15, 20, 25), True), ((1, 18, 20, 21, 22, 23), False), ((3, 3, 3, 3, 3, 3), False)]
)
def test_figures_that_stay_open_are_what_grows_though_it_is_little(counts: tuple[int, ...], *, grows: bool) -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.event("start")
    for count in counts:
        for _ in range(34):
            session.run("step", ms=30, change=60 << 10)
        figures = {"open_figures": count}
        session.event(
            "sample", backend="cpu", device_id=-1, allocator_allocated_bytes=session.allocated, metadata=figures
        )
    answer = explain(evidence(session.events))
    assert (answer.cause.kind == "growth") is grows
    if grows:
        assert answer.advice[0].startswith("matplotlib has 25 figures open")


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


def slackening(then: Callable[[MadeSession], object] | None = None) -> Explanation:
    """200 steps, of which the last third rises at a quarter of the rate before, as after a heap was given back."""
    session = MadeSession(backend="cuda", device_id=0)
    session.event("start")
    for number in range(200):
        session.run("step", ms=100, change=RATE if number < 130 else RATE // 4)
    if then is not None:
        then(session)
    return explain(evidence(session.events))


def test_a_rise_that_slackens_does_not_grow_unless_a_keeper_contradicts() -> None:
    assert slackening().verdict.startswith("healthy")
    answer = slackening(lambda session: note_kept(session, taken=4))
    (growth,) = answer.evidence.growth
    assert (answer.cause.kind, answer.cause.certain, growth.grows, growth.unclear) == ("none", False, False, True)
    assert any("kept by list `kept`" in line for line in answer.held)
    with_bound = slackening(lambda session: note_kept(session, taken=4, bound=1_000_000))
    assert with_bound.cause.certain
