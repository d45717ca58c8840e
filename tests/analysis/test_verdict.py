"""verdict(): the answer in one line, the same that explain begins with, in fewer words."""

from __future__ import annotations

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.analysis.diagnosis.verdict import Verdict, verdict
from support.events import MIB, MadeSession


def made(steps: int, kept: int = 0, device: str = "cuda") -> MadeSession:
    """`steps`, in each of which `forward` keeps `kept` bytes."""
    session = MadeSession() if device == "cuda" else MadeSession(backend="cpu", device_id=-1)
    session.event("start")
    session.allocated = 1024 * MIB
    for _ in range(steps):
        step = session.enter("step")
        session.run("step", "forward", change=kept)
        step.exit()
    return session


def told(session: MadeSession, state: str = "stopped") -> Verdict:
    return verdict(explain(evidence(session.events, state)))


def test_memory_that_grows_is_told_with_rate_device_phase_and_what_to_ask_next() -> None:
    session = made(104, kept=5 * MIB // 4)
    running = told(session, "running")
    assert running == Verdict(
        "growth", "memory on cuda:0 grows: 1.25 MiB a step, kept by step/forward (see explain)", is_good=False
    )
    session.event("stop")
    assert told(session).text == "memory on cuda:0 grew: 1.25 MiB a step, kept by step/forward (see explain)"


def test_on_the_host_it_is_only_seen_in_a_phase() -> None:
    session = made(104, kept=MIB, device="cpu")
    session.event("stop")
    text = told(session).text
    assert text.startswith("the process's memory on the host grew: 1.00 MiB a step")
    assert "kept by" not in text


def test_a_healthy_session_is_called_healthy_and_nothing_more() -> None:
    session = made(100)
    session.event("stop")
    assert told(session) == Verdict("none", "healthy: memory does not grow", is_good=True)


def test_of_too_few_steps_the_reason_is_the_one_that_explain_gives() -> None:
    session = made(10)
    session.event("stop")
    found = explain(evidence(session.events))
    why = "too few steps to tell (step ended 10 times, and 104 are needed); train for longer"
    assert verdict(found).text == f"nothing went wrong; whether memory grows is not known: {why}"
    assert why in found.cause.text


def runs_out(session: MadeSession) -> None:
    step = session.enter("step")
    backward = session.enter("step", "backward")
    backward.exit(status="error", error_type="OutOfMemoryError")
    details = {"error_type": "OutOfMemoryError", "out_of_memory": True, "requested_bytes": 512 * MIB}
    scope = session.events[-1]["metadata"]["phase_scope"]
    error = session.event("error", context="OutOfMemoryError: CUDA out of memory", metadata=details)
    error["metadata"]["phase_scope"] = {**scope, "action": None}
    step.exit(status="error", error_type="OutOfMemoryError")


@pytest.mark.parametrize(
    ("kept", "why"), [(0, "why is not known"), (8 * MIB, "memory on cuda:0 grew: 8.00 MiB a step")]
)
def test_memory_that_ran_out_is_told_with_where_and_why(kept: int, why: str) -> None:
    session = made(104, kept=kept)
    runs_out(session)
    session.event("stop", context="the interpreter exited after OutOfMemoryError")
    text = told(session).text
    assert text.startswith(f"ran out of memory on cuda:0 in step/backward: {why}")
    assert text.endswith(" (see explain)")


def test_memory_that_ran_out_and_was_caught_is_not_said_not_to_have_run_out() -> None:
    session = made(60)
    runs_out(session)
    session.run("step")
    session.event("stop")
    assert told(session).text == "healthy: memory does not grow; memory ran out and was caught"


def test_another_ending_is_told_by_its_own_words() -> None:
    session = made(60)
    session.enter("step").exit(status="error", error_type="KeyError")
    session.event("stop", context="the interpreter exited after KeyError")
    assert told(session) == Verdict(
        "exception", "ended by an exception: KeyError, in step (see explain)", is_good=False
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            "a worker process was killed, in step (see explain)",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that",
            "shared memory (/dev/shm) too small, most likely, in step (see explain)",
        ),
        ("OSError: [Errno 24] Too many open files", "open files used up, in step (see explain)"),
    ],
)
def test_what_was_used_up_is_told_in_few_words(words: str, text: str) -> None:
    session = made(5)
    session.enter("step").exit(status="error", error_type="RuntimeError")["metadata"]["error"] = words
    session.event("stop", context="the interpreter exited after RuntimeError")
    assert told(session).text == text


@pytest.mark.parametrize("steps", [60, 104])
def test_it_is_one_line_that_no_terminal_obeys(steps: int) -> None:
    session = MadeSession()
    session.event("start")
    session.allocated = 1024 * MIB
    for _ in range(steps):
        session.run("step\n\x1b[31m" + "x" * 300, change=MIB)
    text = told(session, "running").text
    assert text.isprintable()
    assert len(text) < 240
