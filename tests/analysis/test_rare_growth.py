"""Growth at the entries of a phase rarer than the steps: these entries are counted, whatever else goes on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import Explanation, explain
from phasescope.analysis.diagnosis.growth import Growth, growth
from phasescope.analysis.diagnosis.verdict import verdict
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 1024 * MIB
EPOCHS, STEPS = 12, 40


def trained(keeps: Callable[[str, int, int], int], epochs: int = EPOCHS, steps: int = STEPS) -> MadeSession:
    """Epochs of steps, an evaluation after each, and then what has no phase. `keeps` says how many bytes stay in
    `forward`, `evaluate` or `epoch`, by the epoch and the step in it; activations differ from batch to batch."""
    session, rng = MadeSession(), random.Random(0)
    session.event("start")
    session.allocated = GIB
    for epoch in range(epochs):
        around = session.enter("epoch")
        for step in range(steps):
            entered = session.enter("epoch", "step")
            activations = int(rng.gauss(2000, 500)) * MIB
            session.run("epoch", "step", "forward", ms=4, change=activations + keeps("forward", epoch, step))
            session.run("epoch", "step", "backward", ms=8, change=-activations)
            entered.exit()
        evaluation = session.enter("epoch", "evaluate")
        for batch in range(4):
            session.run("epoch", "evaluate", "forward", ms=4)
            session.allocated += keeps("evaluate", epoch, batch)
        evaluation.exit()
        session.allocated += keeps("epoch", epoch, 0)
        around.exit()
    session.event("stop")
    return session


def only(session: MadeSession) -> Growth:
    (found,) = growth(session.events)
    return found


def answer(session: MadeSession) -> Explanation:
    return explain(evidence(session.events))


def test_what_each_evaluation_leaves_behind_is_told_per_evaluation() -> None:
    found = only(trained(lambda where, _epoch, _step: 2 * MIB if where == "evaluate" else 0))
    assert (found.grows, found.rare) == (True, True)
    assert found.per == ("epoch", "evaluate")
    assert found.bytes_per_step == pytest.approx(8 * MIB)
    assert (found.recent_steps, found.steps) == (5, EPOCHS)
    assert found.steps_per_entry == pytest.approx(STEPS, rel=0.25)
    assert found.phases == (("epoch", "evaluate"),)
    assert dict(found.retained_bytes)["epoch", "evaluate"] == pytest.approx(8 * MIB)


def test_the_advice_is_then_about_evaluations() -> None:
    told = answer(trained(lambda where, _epoch, _step: 2 * MIB if where == "evaluate" else 0))
    assert told.cause.text.startswith("Memory on cuda:0 grows: +8.00 MiB per entry of epoch/evaluate")
    assert told.cause.text.endswith("over the last 5 of 12, and is retained in epoch/evaluate.")
    assert told.advice[0].startswith("look in epoch/evaluate for what outlives it")
    assert verdict(told).text == ("memory on cuda:0 grew: 8.00 MiB an evaluate, kept by epoch/evaluate (see explain)")


def test_what_is_kept_once_an_epoch_beside_all_phases_in_it_is_told_per_epoch() -> None:
    session = trained(lambda where, _epoch, _step: 8 * MIB if where == "epoch" else 0)
    found = only(session)
    assert (found.per, found.phases) == (("epoch",), (("epoch",),))
    assert found.bytes_per_step == pytest.approx(8 * MIB)
    assert answer(session).advice[0].startswith("it grows with each epoch, not with each step")


def test_what_the_first_steps_of_each_epoch_keep_is_told_per_epoch_and_in_their_phase() -> None:
    found = only(trained(lambda where, _epoch, step: 2 * MIB if where == "forward" and step < 4 else 0))
    assert found.per == ("epoch",)
    assert found.bytes_per_step == pytest.approx(8 * MIB)
    assert found.phases == (("epoch", "step", "forward"), ("epoch", "step", "backward"))


def test_what_each_step_keeps_is_told_per_step() -> None:
    found = only(trained(lambda where, _epoch, _step: MIB // 4 if where == "forward" else 0))
    assert (found.per, found.rare) == (("epoch", "step"), False)
    assert found.bytes_per_step == pytest.approx(MIB / 4)


def test_what_is_kept_once_in_a_hundred_steps_without_a_phase_is_told_per_step() -> None:
    """Nothing that is known of ends where it rises."""

    def keeps(where: str, epoch: int, step: int) -> int:
        return 16 * MIB if where == "forward" and (epoch * STEPS + step) % 100 == 70 else 0

    found = only(trained(keeps, epochs=30))
    assert (found.per, found.rare) == (("epoch", "step"), False)
    assert found.bytes_per_step == pytest.approx(16 * MIB / 100, rel=0.2)


def test_of_a_long_training_with_short_epochs_it_is_known_by_the_phase_that_keeps_it() -> None:
    found = only(trained(lambda where, _epoch, _step: MIB if where == "evaluate" else 0, epochs=300, steps=10))
    assert (found.per, found.rare) == (("epoch", "evaluate"), True)
    assert found.bytes_per_step == pytest.approx(4 * MIB, rel=0.1)


def test_a_rise_at_each_of_a_few_evaluations_is_not_called_healthy() -> None:
    session = trained(lambda where, _epoch, _step: 2 * MIB if where == "evaluate" else 0, epochs=5)
    found = only(session)
    assert (found.grows, found.unclear, found.rare) == (False, True, True)
    told = answer(session)
    assert told.cause.kind == "none"
    assert not told.cause.certain
    assert "too few to tell (cuda:0: +8.00 MiB at each of 3 entries of epoch/evaluate)" in told.cause.text


def test_six_evaluations_that_leave_6_mib_each_are_not_called_healthy_because_a_heap_creeps() -> None:
    """As measured on the host: a MiB every ten steps, at first and for long."""

    def keeps(where: str, epoch: int, step: int) -> int:
        if where == "evaluate":
            return 3 * MIB // 2
        return MIB * 6 // 10 if where == "forward" and step % 10 == epoch else 0

    found = only(trained(keeps, epochs=6))
    assert (found.grows, found.unclear, found.rare) == (False, True, True)
    assert "too few to tell" in answer(trained(keeps, epochs=6)).cause.text


@pytest.mark.parametrize("first", [0, 400 * MIB])
def test_what_only_the_first_evaluation_takes_is_no_growth(first: int) -> None:
    found = only(
        trained(lambda where, epoch, step: first if (where, epoch, step) == ("evaluate", 0, 0) else 0, epochs=5)
    )
    assert (found.grows, found.unclear) == (False, False)


def test_evaluations_that_take_longer_than_the_steps_change_nothing() -> None:
    session = MadeSession()
    session.allocated = GIB
    for _ in range(20):
        for _ in range(15):
            session.run("step", ms=50)
        evaluation = session.enter("evaluate")
        session.run("evaluate", "forward", ms=2000, change=8 * MIB)
        evaluation.exit()
    found = only(session)
    assert (found.grows, found.per, found.phases) == (True, ("evaluate",), (("evaluate", "forward"),))


def test_in_how_many_steps_one_is_kept_is_said_though_the_growth_is_reported_per_step() -> None:
    session = MadeSession()
    session.allocated = GIB
    for step in range(400):
        session.allocated += MIB
        session.run("step")
        if step % 20 == 19:
            session.run("save")
        if step == 300:
            grown: dict[str, Any] = {
                "kind": "tensors",
                "library": "torch",
                "device": "cuda:0",
                "dtype": "float32",
                "shape": [3, 512],
            }
            keeper = {"container": "list", "expression": "best", "scope": "global", "file": "train.py", "kept": 15}
            grown |= {"count": 15, "bytes": 300 * MIB, "since_step": 8, "per_step": 0.05, "keeper": keeper}
            session.event("census", metadata={"census": {"number": 6, "step": 300, "grown": [grown]}})
    held = " ".join(answer(session).held)
    assert "kept by list `best` in train.py, from step 8 to 300, about one in 20 steps, as often as save ends" in held
