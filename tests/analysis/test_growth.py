"""Which device grows, how fast, until when, and in which phase: on sessions made by hand."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.analysis.diagnosis.growth import (
    WORKERS,
    Growth,
    growth,
)
from phasescope.analysis.diagnosis.growth_text import where_it_stays
from phasescope.analysis.diagnosis.kept_memory import accounting_for
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 200
GIB = 1024 * MIB


def training(step: Callable[[MadeSession, int, random.Random], None], steps: int = STEPS) -> MadeSession:
    """A training of `steps`, each inside a phase "step" of 100 ms."""
    session, rng = MadeSession(), random.Random(0)
    session.allocated = GIB
    for number in range(steps):
        entered = session.enter("step")
        before = session.now_ns
        step(session, number, rng)
        session.now_ns = before + 100_000_000
        entered.exit()
    return session


def only(session: MadeSession) -> Growth:
    (found,) = growth(session.events)
    return found


def test_a_leak_in_one_phase_is_named_with_its_rate() -> None:
    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        session.run("step", "data", change=2 * MIB)
        session.run("step", "forward")
        session.run("step", "backward")

    found = only(training(step))
    assert found.grows
    assert found.device == "cuda:0"
    assert found.per == ("step",)
    assert found.phases == (("step", "data"),)
    assert found.bytes_per_step == pytest.approx(2 * MIB)
    assert found.bytes_per_hour == pytest.approx(2 * MIB * 36_000, rel=0.02)


def test_activations_that_come_and_go_hide_nothing() -> None:
    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        session.run("step", "data")
        session.run("step", "forward", change=500 * MIB)
        session.run("step", "backward", change=-499 * MIB)
        session.run("step", "optimizer")

    found = only(training(step))
    assert found.grows
    assert found.phases == (("step", "forward"), ("step", "backward"))
    assert dict(found.retained_bytes)["step", "forward"] == pytest.approx(500 * MIB)


def test_memory_kept_by_the_step_itself_is_the_steps() -> None:
    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        session.run("step", "forward")
        session.allocated += MIB  # losses.append(loss), outside of any inner phase

    found = only(training(step))
    assert found.phases == (("step",),)


def test_memory_kept_between_the_phases_is_nobodys() -> None:
    session = MadeSession()
    for _ in range(STEPS):
        session.run("forward", change=10 * MIB)
        session.run("backward", change=-10 * MIB)
        session.allocated += MIB
        session.now_ns += 1_000_000
    found = only(session)
    assert found.grows
    assert found.outside
    assert found.phases == ()


def test_a_healthy_training_does_not_grow() -> None:
    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        session.run("step", "forward", change=(300 + rng.randint(-5, 5)) * MIB)
        session.allocated = GIB + rng.randint(0, 20) * MIB  # freed, up to what a cache keeps
        if number % 50 == 0:
            session.run("step", "evaluate", change=700 * MIB)
            session.allocated -= 700 * MIB

    found = only(training(step))
    assert not found.grows
    assert found.phases == ()
    assert found.hours_until_full is None


def test_a_buffer_that_is_full_does_not_grow() -> None:
    held: deque[int] = deque(maxlen=250)

    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        held.append(200_000)
        pages = 4096 * (number // 50)
        session.run("step", "data", change=GIB + sum(held) + pages - session.allocated)

    assert not only(training(step, steps=600)).grows


def test_time_until_full_is_from_the_free_memory() -> None:
    session = MadeSession()
    for _ in range(STEPS):
        session.run("step", ms=36, change=MIB)  # 100,000 steps an hour
        session.sample(device_free_bytes=2_000 * MIB, device_total_bytes=80 * GIB, device_used_bytes=GIB)
    found = only(session)
    assert found.hours_until_full == pytest.approx(0.02, rel=0.02)


def test_the_host_beside_a_device_is_followed_by_its_samples() -> None:
    session = MadeSession()
    for number in range(STEPS):
        session.run("step", ms=50)
        session.now_ns += 50_000_000
        session.event(
            "sample",
            backend="cpu",
            device_id=-1,
            allocator_allocated_bytes=GIB + number * MIB,
            metadata={"children_resident_bytes": 3 * GIB},
        )
    by_device = {found.device: found for found in growth(session.events)}
    assert by_device["host"].grows
    assert by_device["host"].per is None
    assert by_device["host"].bytes_per_hour == pytest.approx(36_000 * MIB, rel=0.02)
    assert not by_device["cuda:0"].grows
    assert not by_device[WORKERS].grows


def test_children_that_grow_are_told_from_the_process() -> None:
    session = MadeSession()
    for number in range(STEPS):
        session.run("step", ms=100)
        session.event(
            "sample",
            backend="cpu",
            device_id=-1,
            allocator_allocated_bytes=GIB,
            metadata={"children_resident_bytes": GIB + number * MIB},
        )
    by_device = {found.device: found for found in growth(session.events)}
    assert by_device[WORKERS].grows
    assert not by_device["host"].grows


def test_what_grows_comes_first() -> None:
    session = MadeSession()
    for number in range(STEPS):
        session.run("step", ms=100)
        for device, size in ((1, GIB + number * MIB), (2, GIB + 5 * number * MIB)):
            session.event("sample", device_id=device, allocator_allocated_bytes=size)
    assert [found.device for found in growth(session.events)] == ["cuda:2", "cuda:1", "cuda:0"]


def test_a_figure_that_could_not_be_measured_is_none() -> None:
    session = MadeSession()
    for _ in range(STEPS):
        entered = session.enter("step")
        entered.exit()
        session.events[-1]["metadata"]["unavailable"] = ["allocator_allocated_bytes"]
    assert growth(session.events) == []


def test_few_steps_say_nothing() -> None:
    session = MadeSession()
    for _ in range(20):
        session.run("step", change=MIB)
    assert growth(session.events) == []


def host_sample(session: MadeSession, resident: int, **metadata: int) -> None:
    session.event("sample", backend="cpu", device_id=-1, allocator_allocated_bytes=resident, metadata=metadata)


def why_not(session: MadeSession) -> str | None:
    return evidence(session.events).not_judged


def test_what_a_program_imports_and_loads_before_its_first_step_is_no_growth() -> None:
    session = MadeSession()
    for number in range(STEPS):
        session.now_ns += 100_000_000
        host_sample(session, GIB + number * 5 * MIB)
    assert growth(session.events) == []
    assert why_not(session) == (
        "no phase was entered while its memory rose from 1.00 GiB to 1.97 GiB (loading does that too); put one around "
        'each step (`with phase("step"):`)'
    )
    for _ in range(STEPS):
        session.run("step", ms=100)
        host_sample(session, 2 * GIB)
    assert [found.grows for found in growth(session.events)] == [False, False]
    assert why_not(session) is None


def test_few_steps_are_not_made_up_for_by_many_samples() -> None:
    session = MadeSession()
    for number in range(STEPS):
        if number % 20 == 0:
            session.run("step", ms=100)
        session.now_ns += 100_000_000
        host_sample(session, GIB + number * 5 * MIB)
    assert growth(session.events) == []
    assert why_not(session) == "too few steps to tell (step ended 10 times, and 104 are needed); train for longer"


def test_the_phase_that_keeps_is_named_where_others_allocate_gigabytes_that_differ() -> None:
    """2 MiB stay in `step`; forward and backward allocate and free 2000 MiB, give or take 500. The answer is the same
    however often it is asked."""

    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        activations = int(rng.gauss(2000, 500)) * MIB
        session.run("step", "forward", change=activations)
        session.run("step", "backward", change=-activations)
        session.allocated += 2 * MIB

    for seed_steps in range(100, 600, 37):
        found = only(training(step, steps=seed_steps))
        assert found.grows
        assert found.phases == (("step",),)
        assert dict(found.retained_bytes)["step",] == pytest.approx(2 * MIB)


def test_what_one_phase_allocates_and_another_frees_less_of_is_both_of_theirs() -> None:
    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        activations = int(rng.gauss(2000, 500)) * MIB
        session.run("step", "forward", change=activations)
        session.run("step", "backward", change=2 * MIB - activations)
        session.run("step", "optimizer")

    for seed_steps in range(100, 600, 37):
        found = only(training(step, steps=seed_steps))
        assert found.phases == (("step", "forward"), ("step", "backward"))


def test_an_epoch_is_no_step_where_steps_are_inside_of_it() -> None:
    session = MadeSession()
    session.allocated = GIB
    for _ in range(60):
        epoch = session.enter("epoch")
        for _ in range(10):
            session.run("epoch", "step", change=MIB)
        epoch.exit()
    found = only(session)
    assert found.per == ("epoch", "step")
    assert found.steps == 600
    assert found.phases == (("epoch", "step"),)


def test_an_entry_that_only_found_the_end_is_no_step() -> None:
    session = MadeSession()
    for number in range(STEPS):
        session.run("step", change=MIB)
        if number % 10 == 9:
            session.run("step", exhausted=True)
    found = only(session)
    assert found.steps == STEPS
    assert found.bytes_per_step == pytest.approx(MIB)


def test_epochs_without_steps_inside_are_steps() -> None:
    session = MadeSession()
    for _ in range(60):
        session.run("epoch", change=MIB)
    assert only(session).per == ("epoch",)


def test_memory_that_stays_between_the_phases_is_said_to_be_outside() -> None:
    session = MadeSession()
    for _ in range(STEPS):
        session.run("step")
        session.allocated += MIB
    found = only(session)
    assert found.outside
    assert where_it_stays(found) == ", between one entry of step and the next"


def mapping(mapped: Callable[[int], int], kept: Callable[[int], int], ms: int = 20) -> list[Growth]:
    """A training on the host that is sampled every 100 ms; `mapped` and `kept` are bytes by the step."""
    session = MadeSession()
    for number in range(STEPS):
        if number % (100 // ms) == 0:
            host_sample(session, GIB + mapped(number) + kept(number), shared_bytes=mapped(number))
        entered = session.enter("step")
        session.now_ns += ms * 1_000_000
        session.allocated = GIB + mapped(number + 1) + kept(number + 1)
        entered.exit()
        session.events[-1].update(device_id=-1)
        session.events[-1]["metadata"]["backend"] = "cpu"
    return growth(session.events)


def test_a_mapped_file_that_is_read_is_no_growth() -> None:
    (found,) = mapping(lambda step: 4 * step * MIB, lambda _step: 0)
    assert found.device == "host"
    assert not found.grows


def rising_between_samples() -> MadeSession:
    """A training on the host that rises by 1 MiB a step, of which only the beginning was sampled."""
    session = MadeSession()
    host_sample(session, GIB, shared_bytes=MIB)
    for number in range(STEPS):
        session.allocated = GIB + number * MIB
        session.run("step")
        session.events[-1].update(device_id=-1)
        session.events[-1]["metadata"]["backend"] = "cpu"
    return session


def test_a_file_that_is_mapped_and_read_and_closed_between_two_samples_is_no_growth() -> None:
    session = rising_between_samples()
    host_sample(session, GIB, shared_bytes=MIB)
    (found,) = growth(session.events)
    assert not found.grows


def test_what_ended_after_the_last_sample_is_not_judged_and_that_is_said() -> None:
    session = rising_between_samples()
    assert growth(session.events) == []
    assert why_not(session) == (
        f"too short a run to tell (step ended {STEPS} times, with no sample of the host's memory after it); train for "
        "longer"
    )


@pytest.mark.parametrize(("after", "is_judged"), [(20, True), (STEPS, False)])
def test_a_session_of_which_much_came_after_the_last_sample_is_not_judged_by_its_beginning(
    after: int, is_judged: bool
) -> None:
    """A buffer that was still filling at the last sample may be full since."""
    session = MadeSession()
    host_sample(session, GIB, shared_bytes=MIB)
    for number in range(STEPS + after):
        session.allocated = GIB + min(number, STEPS) * MIB
        session.run("step")
        session.events[-1].update(device_id=-1)
        session.events[-1]["metadata"]["backend"] = "cpu"
        if number + 1 == STEPS:
            host_sample(session, session.allocated, shared_bytes=MIB)
    assert [found.grows for found in growth(session.events)] == [True] * is_judged
    assert (why_not(session) is None) is is_judged


@pytest.mark.parametrize("seen", [0, 3, 10])
def test_the_reason_counts_the_entries_that_the_summary_counts(seen: int) -> None:
    """Also those that no sample came after."""
    session = MadeSession()
    host_sample(session, GIB, shared_bytes=MIB)
    for number in range(10):
        session.run("step")
        session.events[-1].update(device_id=-1)
        session.events[-1]["metadata"]["backend"] = "cpu"
        if number + 1 == seen:
            host_sample(session, GIB, shared_bytes=MIB)
    found = explain(evidence(session.events))
    assert [row.count for row in found.evidence.summary.rows] == [10]
    why = "too few steps to tell (step ended 10 times, and 104 are needed); train for longer"
    assert found.cause.text.endswith(f"whether its memory grows is not known: {why}.")
    assert f"whether it grows: {why}" in found.unknown


def test_a_file_that_is_read_in_bursts_is_no_growth() -> None:
    (found,) = mapping(lambda step: step // 37 * 150 * MIB, lambda _step: 0, ms=10)
    assert not found.grows


def test_a_leak_beside_a_mapped_file_is_found_at_its_own_rate() -> None:
    (found,) = mapping(lambda step: 4 * step * MIB, lambda step: step * MIB)
    assert found.grows
    assert found.bytes_per_step == pytest.approx(MIB, rel=0.05)


def test_memory_that_is_swapped_out_still_counts_and_shared_memory_is_no_file() -> None:
    session = MadeSession()
    for number in range(STEPS):
        session.run("step", ms=100)
        sizes = {"shared_bytes": number * MIB, "shared_memory_bytes": number * MIB, "swap_bytes": number * 2 * MIB}
        host_sample(session, GIB + number * MIB, **sizes)
    found = next(found for found in growth(session.events) if found.device == "host")
    assert found.grows
    assert found.bytes_per_step == pytest.approx(3 * MIB)


def test_odd_events_are_passed_over() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"event_type": "phase_exit"},
        {"event_type": "sample", "metadata": None},
        {"event_type": 3},
    ]
    assert growth(odd) == []


def test_as_data_it_is_plain() -> None:
    def step(session: MadeSession, number: int, rng: random.Random) -> None:
        session.run("step", "data", change=MIB)

    data = only(training(step)).to_dict()
    assert data["per"] == ["step"]
    assert data["phases"] == [["step", "data"]]
    assert data["retained_bytes"][0] == {"path": ["step", "data"], "bytes_per_step": pytest.approx(MIB)}


def test_the_fewest_phases_in_a_row_that_keep_as_much_account_for_it() -> None:
    a, b, c = ("a",), ("b",), ("c",)
    assert accounting_for(10, [(a, 0.5), (b, 10.1), (c, -0.5)]) == (b,)
    assert accounting_for(10, [(a, 500.0), (b, -490.0), (c, 0.0)]) == (a, b)
    assert accounting_for(10, [(a, 1.0), (b, 1.0)]) == ()
    assert accounting_for(10, []) == ()


def test_a_phase_that_keeps_as_much_by_chance_is_not_named_alone() -> None:
    """Ten stay of what `a` allocates; gradients of ten, which `c` frees, are allocated by `b`."""
    a, b, c = ("a",), ("b",), ("c",)
    assert accounting_for(10, [(a, 20.0), (b, 10.0), (c, -20.0)]) == (a, b, c)
    assert accounting_for(10, [(a, 9.0), (b, 10.1), (c, -9.0)]) == (a, b, c)
    assert accounting_for(10, [(a, 20.0), (b, 10.0), (c, -20.0)], rare=[b]) == (b,)


@pytest.mark.parametrize(
    ("kib", "ms", "grows", "little"),
    [(60, 40, False, True), (60, 400, True, False), (400, 40, True, False)],
    ids=["little and short", "little but long", "much"],
)
def test_what_the_heap_takes_by_settling_is_not_called_growth_yet(
    *, kib: int, ms: int, grows: bool, little: bool
) -> None:
    """A healthy training's resident set crept on by 78 KiB a step for 70 steps, and stayed flat in the next run."""
    session = MadeSession(backend="cpu", device_id=-1)
    session.allocated = 300 * MIB
    session.event("start")
    for _ in range(STEPS):
        session.run("step", ms=ms, change=kib * 1024)
    answer = explain(evidence(session.events))
    (found,) = answer.evidence.growth
    assert (found.grows, found.little, found.unclear) == (grows, little, little)
    assert ("too little, in too short a time, to tell (host: +60.0 KiB per step)" in answer.cause.text) is little


def test_on_a_device_whose_allocator_counts_each_byte_little_is_enough() -> None:
    session = MadeSession()
    session.allocated = 300 * MIB
    for _ in range(STEPS):
        session.run("step", ms=40, change=60 * 1024)
    (found,) = growth(session.events)
    assert found.grows
