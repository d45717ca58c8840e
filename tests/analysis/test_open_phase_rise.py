"""A phase that is open and takes more and more is not one that loads once, nor a leak of its steps."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from support.events import MIB, MS, MadePhase, MadeSession

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.explanation import Explanation

GIB = 1024 * MIB


def sampled(session: MadeSession, seconds: float, per_second: int, *, inside: MadePhase | None = None) -> None:
    """Rise by `per_second` bytes in every second, sampled ten times in each."""
    for _ in range(int(seconds * 10)):
        session.now_ns += 100 * MS
        session.allocated = max(0, session.allocated + per_second // 10)
        session.sample(inside, device_total_bytes=64 * GIB, device_used_bytes=session.allocated + GIB)


def trained(steps: int = 100, kept: int = 0, backend: str = "cpu", device_id: int = -1) -> MadeSession:
    session = MadeSession(backend=backend, device_id=device_id)
    session.allocated = GIB
    session.event("start")
    for _ in range(steps):
        session.run("train", "step", ms=100, change=kept)
        session.sample(device_total_bytes=64 * GIB, device_used_bytes=session.allocated + GIB)
    return session


def explained(session: MadeSession, state: str = "dead") -> Explanation:
    return explain(evidence(session.events, state, now_ns=session.now_ns, heartbeat_ns=session.now_ns))


@pytest.mark.parametrize(("backend", "device_id", "on"), [("cpu", -1, "host"), ("cuda", 0, "cuda:0")])
def test_what_gathers_until_it_is_killed_comes_first(backend: str, device_id: int, on: str) -> None:
    session = trained(backend=backend, device_id=device_id)
    entered = session.enter("evaluate")
    sampled(session, 30, 200 * MIB, inside=entered)
    answer = explained(session)
    assert answer.cause.kind == "phase_rises"
    assert "evaluate was open: in the 30.0 s since it began, " in answer.cause.text
    assert "rose from 1.00 GiB to 6.86 GiB" in answer.cause.text
    assert "was not short" not in answer.cause.text
    assert answer.phases == (f"evaluate: open for 30.0 s, +5.86 GiB on {on} since it began, rising all the time",)
    assert "look in evaluate for what it gathers" in answer.advice[0]


def test_an_open_phase_in_which_memory_only_falls_has_no_rise() -> None:
    session = trained(backend="cuda", device_id=0)
    entered = session.enter("evaluate")
    sampled(session, 2, -200 * MIB, inside=entered)
    answer = explained(session)
    assert answer.evidence.rises == ()
    assert answer.cause.kind == "killed"


def test_steps_inside_of_it_do_not_hide_it() -> None:
    session = trained()
    entered = session.enter("evaluate")
    for _ in range(30):
        inner = session.enter("evaluate", "forward", parent=entered)
        sampled(session, 1, 200 * MIB, inside=inner)
        inner.exit()
    session.enter("evaluate", "forward", parent=entered)
    answer = explained(session)
    assert answer.cause.kind == "phase_rises"
    assert answer.evidence.rises[0].path == ("evaluate",)


def test_what_an_evaluation_gathers_is_said_where_its_entries_are_steps_as_well() -> None:
    session = trained(30, backend="cuda", device_id=0)
    entered = session.enter("evaluate")
    for _ in range(250):
        session.run("evaluate", "forward", ms=100, change=20 * MIB)
        session.sample(entered, device_total_bytes=64 * GIB, device_used_bytes=session.allocated + GIB)
        loaded = {"libraries": ["torch", "transformers"]}
        session.event("sample", backend="cpu", device_id=-1, allocator_allocated_bytes=GIB, metadata=loaded)
    answer = explained(session)
    assert answer.cause.kind == "growth"
    assert "outputs, logits or predictions of all batches in a list" in answer.advice[0]
    assert "`eval_accumulation_steps`" in answer.advice[1]
    assert ".detach().cpu()" in answer.advice[2]


def test_what_runs_out_in_the_end_is_the_same_cause() -> None:
    session = trained()
    entered = session.enter("evaluate")
    sampled(session, 30, 200 * MIB, inside=entered)
    session.allocated = GIB  # all is given back on the way out
    session.run_out(entered, settings={"address_space_limit_bytes": 8 * GIB})
    session.event("stop", context="the interpreter exited after MemoryError")
    answer = explained(session, "stopped")
    assert answer.cause.kind == "phase_rises"
    assert answer.cause.text.startswith(
        "evaluate gathered memory for as long as it ran: in the 30.0 s since it began, "
    )
    assert answer.cause.text.endswith("So it ran into its own limit of 8.00 GiB (RLIMIT_AS, `ulimit -v`).")


def test_what_loads_at_once_and_goes_on_is_told_and_not_blamed() -> None:
    session = trained()
    entered = session.enter("evaluate")
    sampled(session, 2, 2 * GIB, inside=entered)
    sampled(session, 30, 0, inside=entered)
    answer = explained(session)
    assert answer.cause.kind == "killed"
    assert answer.phases[0] == "evaluate: open for 32.0 s, +4.00 GiB on host since it began, with falls in between"


def test_a_leak_of_the_steps_is_not_blamed_on_the_phase_around_them() -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.allocated = GIB
    around = session.enter("train")
    for _ in range(200):
        session.run("train", "step", ms=100, change=10 * MIB)
        sampled(session, 0.1, 0, inside=around)
    answer = explained(session)
    assert answer.cause.kind == "growth"
    assert answer.evidence.rises[0].rises


def test_steps_that_do_not_grow_clear_the_phase_around_them() -> None:
    rng, session = random.Random(1), MadeSession(backend="cpu", device_id=-1)
    around = session.enter("train")
    for _ in range(300):
        session.allocated = GIB + rng.randint(0, 400) * MIB
        session.run("train", "step", ms=100)
        sampled(session, 0.1, 0, inside=around)
    assert explained(session).cause.kind == "killed"


def test_of_a_session_that_runs_it_is_told_and_nothing_is_wrong() -> None:
    session = trained()
    entered = session.enter("evaluate")
    sampled(session, 30, 200 * MIB, inside=entered)
    answer = explained(session, "running")
    assert answer.cause.kind == "none"
    assert answer.phases[0].endswith("+5.86 GiB on host since it began, rising all the time")


def test_what_gathers_by_making_all_of_it_anew_is_seen_beside_its_copies() -> None:
    """As transformers' Trainer does: each batch is joined to all before, so it takes twice as much for a moment, and
    ever longer."""
    session = trained()
    entered = session.enter("evaluate")
    for number in range(1, 200):
        gathered = GIB + int(number**0.5 * 27 * MIB)
        session.allocated = gathered + (gathered - GIB if number % 3 == 0 else 0)
        sampled(session, 0.1, 0, inside=entered)
    assert explained(session).cause.kind == "phase_rises"


def runs_out(session: MadeSession, entered: MadePhase, **metadata: Any) -> Explanation:
    figures = {"device_total_bytes": 64 * GIB, "device_used_bytes": session.allocated + GIB}
    session.run_out(entered, figures, **metadata)
    session.event("stop", context="the interpreter exited after MemoryError")
    return explained(session, "stopped")


@pytest.mark.parametrize(("asked", "kind"), [(2048 * GIB, "too_large"), (GIB, "unknown")])
def test_it_is_not_blamed_for_a_wrong_shape_or_where_there_was_room(asked: int, kind: str) -> None:
    session = trained()
    entered = session.enter("evaluate")
    sampled(session, 30, 200 * MIB, inside=entered)
    assert runs_out(session, entered, requested_bytes=asked).cause.kind == kind


def test_imports_and_loading_at_the_start_are_no_rise() -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.allocated = 100 * MIB
    session.event("start")
    entered = session.enter("train")
    sampled(session, 20, 30 * MIB, inside=entered)
    answer = explained(session)
    assert (answer.cause.kind, answer.evidence.rises) == ("killed", ())


def test_garbage_that_comes_and_goes_is_no_rise() -> None:
    blamed = 0
    for seed in range(200):
        rng, session = random.Random(seed), trained(10)
        entered = session.enter("evaluate")
        for _ in range(rng.randint(10, 200)):
            session.allocated = GIB + rng.randint(0, 3000) * MIB
            sampled(session, 0.1, 0, inside=entered)
        blamed += explained(session).cause.kind == "phase_rises"
    assert blamed <= 2


def test_an_evaluation_whose_steps_are_seen_is_not_told_of_by_the_training_before() -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.allocated = GIB
    for _ in range(100):
        entered = session.enter("epoch", "step")
        session.run("epoch", "step", "forward", ms=5)
        entered.exit()
        sampled(session, 0.1, 0)
    for _ in range(120):
        session.run("epoch", "evaluate", "forward", ms=100, change=2 * MIB)
        sampled(session, 0.1, 0)
    answer = explained(session)
    assert answer.cause.kind == "growth"
    assert "per entry of epoch/evaluate/forward" in answer.cause.text
    assert "epoch/step" not in str(answer)
    assert answer.advice[0].startswith("look in all of epoch/evaluate")
    assert "for what it gathers: outputs, logits or predictions" in answer.advice[0]
