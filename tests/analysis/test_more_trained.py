"""Layers that are unfrozen one after another: their gradients and the optimizer's state rise as a leak does."""

from __future__ import annotations

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.analysis.diagnosis.verdict import verdict
from support.events import MIB, MadeSession

pytestmark = pytest.mark.neutral
LAYERS, EACH = 8, 12 * MIB  # a gradient, and two states of Adam's


def unfreezing(*, leak: int = 0, parameters_more: int = 0, steps: int = 147, counted: int = 9999) -> MadeSession:
    """One layer more is trained every twelve steps, from step 50 on, and counted, before step `counted`.

    Beside it `leak` bytes are kept in each step, and with each layer come `parameters_more`.
    """
    session = MadeSession()
    session.event("start")
    session.allocated = 1024 * MIB
    trained = 0
    for step in range(steps):
        more = 50 <= step < 50 + 12 * LAYERS and (step - 50) % 12 == 0
        session.run("step", ms=100, change=leak + more * (EACH + parameters_more))
        trained += more
        if (step % 60 == 0 or more) and step < counted:
            sizes = {"parameters": 32 * MIB + trained * parameters_more, "gradients": trained * EACH // 3}
            sizes["optimizer_state"] = trained * EACH * 2 // 3
            told = {f"memory.category.{name}_bytes": size for name, size in sizes.items()}
            about = {"memory.category.looks": trained + 1, "memory.category.moment": "step"}
            session.event("memory_categories", metadata={**told, **about})
    return session


def test_they_are_not_called_growing_and_the_reason_is_the_same_everywhere() -> None:
    answer = explain(evidence(unfreezing().events))
    assert (answer.cause.kind, answer.cause.certain) == ("none", False)
    (found,) = answer.evidence.growth
    assert (found.grows, found.unclear, found.trained) == (False, True, True)
    why = "its gradients and optimizer state rose by as much (cuda:0: +983 KiB per step), as they do while more of the"
    assert why in answer.cause.text
    assert why in verdict(answer).text


def test_where_the_looks_end_before_they_are_compared_as_far_as_they_go() -> None:
    """On a busy machine they come seldom."""
    assert [found.trained for found in evidence(unfreezing(counted=76).events).growth] == [True]
    assert [found.trained for found in evidence(unfreezing(counted=40).events).growth] == [False]


def test_a_leak_that_is_larger_beside_them_is_one() -> None:
    (found,) = evidence(unfreezing(leak=3 * MIB).events).growth
    assert (found.grows, found.trained) == (True, False)


def test_parameters_that_become_more_are_growth() -> None:
    """A model that is made again, and kept, has its gradients and its optimizer's state too."""
    (found,) = evidence(unfreezing(parameters_more=4 * MIB).events).growth
    assert (found.grows, found.trained) == (True, False)


def test_a_long_training_is_judged_by_its_recent_half() -> None:
    (found,) = evidence(unfreezing(steps=600, leak=MIB // 2).events).growth
    assert (found.grows, found.trained) == (True, False)
