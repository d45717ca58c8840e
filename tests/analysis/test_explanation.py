"""explain(): the cause and not the victim, on sessions whose devices are fakes."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.backends.protocol import DeviceCounters
from phasescope.testing import FakeBackend, FakeClock, sample
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.explanation import Explanation

GIB = 1024 * MIB
TOTAL = 80 * GIB


class OutOfMemoryError(RuntimeError):
    """As torch's, by its name."""


class Gpu(FakeBackend):
    """A device of 80 GiB. `others` is what other processes hold of it, as the driver tells at each sample."""

    def __init__(self, **held: Any) -> None:
        super().__init__("cuda", **held)
        self.others = 0
        self.look()

    def look(self) -> None:
        reserved = self._counters[0][1]
        used = min(TOTAL, reserved + self.others + GIB)
        self.figures = DeviceCounters(used, TOTAL - used, TOTAL)

    def extra(self, device: int) -> dict[str, int]:
        return {"process_used_bytes": self._counters[0][1] + GIB, "other_processes_bytes": self.others}


def train(backend: Gpu, steps: int, failing: str, asked: str, **changes: int) -> Explanation:
    """Train `steps`, each phase of which changes what is allocated by its MiB; then memory runs out in one."""
    clock = FakeClock()
    session = phasescope.start(backends=[backend], clock=clock, interval_ms=3_600_000)
    try:
        for _ in range(steps):
            with phase("step"):
                for name, mib in changes.items():
                    with phase(name):
                        backend.allocate(mib * MIB)
                        clock.advance(ms=10)
            backend.look()
            clock.advance(ms=1000)
            sample(session)
        with phase("step"), phase(failing):
            raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of")
    except OutOfMemoryError as error:
        session._end(f"the interpreter exited after {type(error).__name__}")
    with session.reader() as reader:
        return reader.explain()


def growing_losses() -> Explanation:
    backend = Gpu(allocated=2 * GIB)
    return train(backend, 150, "forward", "2.00 GiB", forward=2500, backward=-2000)


def fragmented() -> Explanation:
    backend = Gpu(allocated=40 * GIB, reserved=78 * GIB, active=41 * GIB, inactive=30 * GIB)
    return train(backend, 60, "forward", "20.00 GiB", forward=100, backward=-100)


def squeezed() -> Explanation:
    backend = Gpu(allocated=20 * GIB)
    backend.others = 55 * GIB
    return train(backend, 60, "forward", "10.00 GiB", forward=100, backward=-100)


def too_large() -> Explanation:
    backend = Gpu(allocated=70 * GIB)
    return train(backend, 60, "forward", "20.00 GiB", forward=5000, backward=-5000)


def test_a_growing_list_is_named_with_its_phases_and_rate() -> None:
    answer = growing_losses()
    assert answer.cause.kind == "growth"
    assert answer.cause.text == (
        "Memory on cuda:0 grows: +500 MiB per entry of step, 1.69 TiB an hour, over the last 68 of 151, and "
        "is retained across step/forward … step/backward."
    )
    assert answer.happened == "out of memory on cuda:0, in step/forward; tried to allocate 2.00 GiB"
    assert "loss.item()" in str(answer)


def test_memory_in_pieces_is_told_from_memory_that_is_not_there() -> None:
    answer = fragmented()
    assert answer.cause.kind == "fragmentation"
    assert answer.cause.text == (
        "cuda:0 is fragmented: 38.0 GiB are reserved and unused, more than the 20.0 GiB that were asked "
        "for in step/forward, but not in one block."
    )
    assert answer.cause.figures["slack_bytes"] == 38 * GIB
    assert answer.advice[0].startswith("PYTORCH_ALLOC_CONF=expandable_segments:True")


def test_advice_knows_what_is_set_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True,max_split_size_mb:512")
    advice = fragmented().advice
    assert advice[0].startswith("expandable_segments is on already (but torch 2.9 reads it from PYTORCH_CUDA_ALLOC_")
    assert not any("max_split_size_mb" in line for line in advice)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert fragmented().advice[0].startswith("expandable_segments is on already; the rest is in pools")


def test_another_process_is_named_as_the_cause() -> None:
    answer = squeezed()
    assert answer.cause.kind == "other_processes"
    assert answer.cause.text == (
        "Other processes hold 55.0 GiB of cuda:0, 69% of it: too little is left for the 10.0 GiB that were asked for "
        "in step/forward."
    )
    assert any("other processes 55.0 GiB" in line for line in answer.held)
    assert not any("other processes hold" in line for line in answer.unknown)


def test_a_batch_that_is_too_large_is_called_so() -> None:
    answer = too_large()
    assert answer.cause.kind == "too_large"
    assert answer.cause.text == (
        "One step needs more than cuda:0 has: 70.0 GiB of 80.0 GiB are live, which leaves no room for the 20.0 GiB "
        "that were asked for in step/forward."
    )
    assert answer.advice[0].startswith("a smaller batch")
    assert "begin with step/forward: it leaves 4.80 GiB behind, the mean per entry" in answer.advice


def test_the_four_have_four_first_lines() -> None:
    answers = [growing_losses(), fragmented(), squeezed(), too_large()]
    assert len({str(answer).splitlines()[0].split(":")[0] for answer in answers}) == 4


def healthy(state: str = "stopped") -> Explanation:
    session, rng = MadeSession(), random.Random(0)
    session.event("start")
    for number in range(300):
        entered = session.enter("step")
        session.run("step", "forward", change=rng.randint(300, 310) * MIB)
        if number % 50 == 0:
            session.run("step", "evaluate", change=800 * MIB)
        session.allocated = GIB + rng.randint(0, 20) * MIB
        entered.exit()
    if state == "stopped":
        session.event("stop")
    return explain(evidence(session.events, state))


def test_a_healthy_session_has_no_cause_and_no_advice() -> None:
    answer = healthy()
    assert answer.cause.kind == "none"
    assert answer.cause.text == "Its memory does not grow, and no phase ended by running out of it."
    assert answer.advice == ()


def test_below_the_verdict_that_nothing_grows_no_line_sounds_like_growth() -> None:
    """A batch that is still there at the end of a phase, and gone before the next, is added each time."""
    assert healthy().phases == ()


@pytest.mark.parametrize(("mapped", "is_told"), [(GIB, True), (100 * MIB, False)])
def test_pages_of_mapped_files_are_said_to_be_no_memory_of_its_own(mapped: int, is_told: bool) -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.event("start")
    session.allocated = 2 * GIB
    for _ in range(60):
        session.run("step", ms=10)
        device = {"device_total_bytes": 16 * GIB, "device_used_bytes": 4 * GIB}
        session.event("sample", metadata={"shared_bytes": mapped}, **device)
    session.event("stop")
    held = "\n".join(explain(evidence(session.events)).held)
    assert ("1.00 GiB are pages of mapped files, which the kernel takes back" in held) is is_told


def test_a_session_that_was_killed_says_that_its_memory_was_not_short() -> None:
    answer = explain(evidence(steps(300).events, "dead"))
    assert answer.cause.kind == "killed"
    assert answer.cause.text == (
        "Its process ended without stopping the session: killed from outside, or crashed; its memory was not short."
    )


def test_of_a_host_that_nobody_looked_at_that_is_not_said() -> None:
    answer = healthy("dead")
    assert answer.cause.kind == "killed"
    assert answer.cause.text == (
        "Its process ended without stopping the session: killed from outside, or crashed; whether its memory was short "
        "is not known."
    )
    assert "faulthandler" in answer.advice[0]
    assert any("who killed it, or whether it crashed" in line for line in answer.unknown)


def test_the_kernels_counter_tells_who_killed_it() -> None:
    session = MadeSession()
    for _ in range(10):
        session.run("step")
    answer = explain(evidence(session.events, "dead", oom_kills=1))
    assert answer.cause.text == "The kernel's OOM killer struck in its control group, once."


def test_memory_that_ran_out_and_was_caught_is_told_of_a_session_that_went_on() -> None:
    backend = Gpu(allocated=GIB)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("find the batch size"):
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 99.00 GiB.")
        for _ in range(5):
            with phase("step"):
                pass
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "none"
    assert answer.cause.text == (
        "Memory ran out once and was caught, and the training went on; whether its memory grows is not known: too few "
        "steps to tell (step ended 5 times, and 104 are needed); train for longer."
    )
    assert answer.happened == "finished; memory ran out 1 time before, and the training went on"


def test_of_too_few_steps_it_is_not_said_that_memory_does_not_grow() -> None:
    for events, why in (
        ([], 'no phase was entered; put one around each step (`with phase("step"):`)'),
        (steps(3).events, "too few steps to tell (step ended 3 times, and 104 are needed); train for longer"),
    ):
        answer = explain(evidence(events))
        assert (answer.cause.kind, answer.cause.certain) == ("none", False)
        assert answer.cause.text == (
            f"Nothing went wrong, as far as is known; whether its memory grows is not known: {why}."
        )


def test_memory_that_ran_out_and_was_caught_is_in_the_headline() -> None:
    session = steps(300)
    for _ in range(5):
        runs_out(session, None)
        session.run("step")
    session.event("stop")
    answer = explain(evidence(session.events))
    assert (answer.cause.kind, answer.cause.certain) == ("none", True)
    assert answer.cause.text == (
        "Memory ran out 5 times and was caught, and the training went on; its memory does not grow."
    )


@pytest.mark.parametrize(
    ("name", "where"),
    [("MemoryError", "the host"), ("OutOfMemoryError", "a device"), ("_ArrayMemoryError", "the host")],
)
def test_out_of_memory_outside_of_any_phase_has_no_figures_of_an_earlier_one(name: str, where: str) -> None:
    session = steps(3)
    runs_out(session, 2 * GIB)
    session.run("step")
    session.event("stop", context=f"the interpreter exited after {name}")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "unknown"
    assert answer.cause.text == (
        f"Memory ran out on {where}, outside of any phase ({name}): its figures are not known."
    )
    assert not any("ran out in" in line for line in answer.phases)


def test_growth_names_the_limit_that_it_came_to_and_no_time_until_full_once_it_is_over() -> None:
    session = steps(104, grown=10 * MIB)
    assert "full in" in str(explain(evidence(session.events, "running")))
    runs_out(session, 2 * GIB)
    session.event("stop", context="the interpreter exited after MemoryError")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "growth"
    assert answer.cause.text.endswith("So it ran into its own limit of 2.00 GiB (RLIMIT_AS, `ulimit -v`).")
    assert answer.cause.figures["address_space_limit_bytes"] == 2 * GIB
    assert "the process's own limit: 2.00 GiB (RLIMIT_AS, `ulimit -v`)" in answer.held
    assert "full in" not in str(answer)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KeyboardInterrupt", "It was interrupted with Ctrl-C, in step; its memory did not grow."),
        (
            "KeyError",
            "It was ended by an exception: KeyError, in step; its memory did not grow and is not known to have run "
            "out.",
        ),
    ],
)
def test_what_has_nothing_to_do_with_memory_is_said_in_a_sentence(name: str, text: str) -> None:
    session = steps(300)
    session.enter("step").exit(status="error", error_type=name)
    session.event("stop", context=f"the interpreter exited after {name}")
    cause = explain(evidence(session.events)).cause
    assert (cause.kind, cause.text, cause.certain) == ("exception", text, True)


def ended_by(words: str, **asked: Any) -> Explanation:
    """A step ends with an exception of these words, and the program with it."""
    session = steps(3)
    session.enter("step").exit(status="error", error_type="RuntimeError")["metadata"]["error"] = words
    session.event("stop", context="the interpreter exited after RuntimeError")
    return explain(evidence(session.events, **asked))


KILLED = "RuntimeError: DataLoader worker (pid 123) is killed by signal: Killed. "
SHM = (
    "RuntimeError: DataLoader worker (pid 123) is killed by signal: Bus error. It is possible that dataloader's workers"
)


def test_a_bus_error_of_a_worker_is_no_proof_of_a_small_dev_shm() -> None:
    answer = ended_by(SHM)
    assert (answer.cause.kind, answer.cause.certain) == ("shared_memory", False)
    assert answer.cause.text == (
        "A data loader worker (pid 123) died of a bus error: the shared memory (/dev/shm) through which it hands over "
        "its batches was too small, most likely; a mapped file that was shortened under it does the same."
    )
    assert any("mapped file (LMDB, np.memmap)" in line for line in answer.advice)
    assert answer.phases == ()  # what its phases leave behind has nothing to do with it


@pytest.mark.parametrize(
    ("oom_kills", "text"),
    [
        (None, ": by the kernel's OOM killer, most likely, which is not known for certain."),
        (2, ", and the kernel's OOM killer struck in its control group, 2 times."),
        (0, ", though not by the kernel's OOM killer, which has not struck in its control group."),
    ],
)
def test_a_killed_worker_is_recognised_and_the_killer_as_surely_as_it_is_known(
    oom_kills: int | None, text: str
) -> None:
    answer = ended_by(f"RuntimeError: the loader failed, from {KILLED}", oom_kills=oom_kills)
    assert (answer.cause.kind, answer.cause.certain) == ("worker_killed", False)
    assert answer.cause.text == "A data loader worker (pid 123) was killed" + text
    assert any("fewer workers (num_workers, num_proc)" in line for line in answer.advice)


@pytest.mark.parametrize(
    "words",
    [
        f"{SHM} are out of shared memory. Please try to raise your shared memory limit.",
        "RuntimeError: unable to write to file </torch_12_34_0>: No space left on device (28)",
        "RuntimeError: unable to open shared memory object </torch_1_2_0> in read-write mode: No space left on device",
    ],
)
def test_a_dev_shm_that_is_too_small_is_recognised(words: str) -> None:
    answer = ended_by(words)
    assert answer.cause.kind == "shared_memory"
    assert "--shm-size" in answer.advice[0]


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (
            "ProcessExitedException: process 3 terminated with signal SIGKILL",
            "A child process (number 3) was killed",
        ),
        (
            "TerminatedWorkerError: A worker process managed by the executor was unexpectedly terminated. The exit "
            "codes of the workers are {SIGKILL(-9)}",
            "A child process was killed",
        ),
        ("CalledProcessError: a command exited with code -9", "A child process was killed"),
    ],
)
def test_a_child_that_was_killed_is_told_like_a_worker(words: str, who: str) -> None:
    answer = ended_by(words)
    assert answer.cause.kind == "worker_killed"
    assert answer.cause.text == f"{who}: by the kernel's OOM killer, most likely, which is not known for certain."


def test_a_broken_pool_is_about_memory_where_the_kernel_is_known_to_have_struck() -> None:
    words = "BrokenProcessPool: A process in the process pool was terminated abruptly while the future was pending."
    assert ended_by(words).cause.kind == "exception"
    assert ended_by(words, oom_kills=0).cause.kind == "exception"
    struck = ended_by(words, oom_kills=1)
    assert struck.cause.text == (
        "A worker process disappeared, and the kernel's OOM killer struck in its control group, 1 time."
    )


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("OSError: Too many open files", "open_files"),
        ("RuntimeError: unable to open shared memory object </torch_1_2> in read-write mode: Too many open files (24)",
         "open_files"),
        ("RuntimeError: received 0 items of ancdata", "open_files"),
        ("RuntimeError: unable to mmap 88 bytes from file </torch_1_2_0>: Cannot allocate memory (12)", "mappings"),
        ("RuntimeError: unable to mmap 88 bytes from file </torch_1_2_0>: No such device (19)", "exception"),
    ],
)  # fmt: skip
def test_what_was_used_up_is_told_apart(words: str, kind: str) -> None:
    assert ended_by(words).cause.kind == kind


def test_other_words_are_shown_and_claim_nothing_about_memory() -> None:
    answer = ended_by("RuntimeError: No space left on device")
    assert answer.cause.text.startswith(
        "It was ended by an exception: RuntimeError: No space left on device, in step; its memory is not known to have "
    )
    struck = ended_by("ConnectionResetError: Connection reset by peer", oom_kills=1)
    assert struck.cause.kind == "host_full"
    assert struck.cause.text.startswith("The kernel's OOM killer struck in its control group, once; it was ended by")


def test_an_exit_code_is_something_that_went_wrong() -> None:
    session = steps(3)
    session.enter("step").exit(status="error", error_type="SystemExit")["metadata"]["exit_code"] = 3
    session.event("stop", context="the interpreter exited")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "exception"
    assert answer.cause.text.startswith(
        "It was ended with exit code 3, in step; its memory is not known to have run out"
    )


@pytest.mark.parametrize(
    ("code", "oom_kills", "text"),
    [
        (-9, None, "It ended with exit code -9, by which launchers pass on that a child process was killed: by the"),
        (137, 0, "It ended with exit code 137, by which launchers pass on that a child process was killed, though not"),
        (-9, 1, "It ended with exit code -9, by which launchers pass on that a child process was killed, and the kern"),
    ],
)
def test_an_exit_code_that_passes_on_sigkill_is_of_a_child_that_was_killed(
    code: int, oom_kills: int | None, text: str
) -> None:
    """As DeepSpeed's launcher does it."""
    session = steps(3)
    session.enter("step").exit(status="error", error_type="SystemExit")["metadata"]["exit_code"] = code
    session.event("stop", context="the interpreter exited")
    answer = explain(evidence(session.events, oom_kills=oom_kills))
    assert answer.cause.kind == "worker_killed"
    assert answer.cause.text.startswith(text)
    assert not answer.cause.certain


def test_out_of_memory_after_which_nothing_was_begun_keeps_its_figures_and_its_words() -> None:
    session = steps(300)
    runs_out(session, 2 * GIB)
    session.event("stop", context="the interpreter exited")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "limit"
    assert "nothing was begun after it; the exit code is not known" in answer.happened
    assert "  it said: MemoryError" in str(answer).splitlines()


TOLD = {"backend": "cuda", "device_id": 1, "total_bytes": TOTAL, "free_bytes": 12 * MIB}


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        ({}, "unknown", "Memory ran out on a device in step; its figures are not known."),
        (
            {**TOLD, "allocated_bytes": 79 * GIB, "slack_bytes": MIB},
            "too_large",
            "One step needs more than cuda:1 has: 79.0 GiB of 80.0 GiB are live, which leaves no room for the 2.00 GiB "
            "that were asked for in step.",
        ),
        (
            {**TOLD, "allocated_bytes": 38 * GIB},
            "unknown",
            "Memory ran out on cuda:1 in step: 38.0 GiB of 80.0 GiB are live here, and who holds the rest is not "
            "known.",
        ),
        (
            {
                **TOLD,
                "allocated_bytes": 38 * GIB,
                "slack_bytes": 0,
                "process_used_bytes": 39 * GIB,
                "other_processes_bytes": 40 * GIB,
            },
            "other_processes",
            "Other processes hold 40.0 GiB of cuda:1, 50% of it: too little is left for the 2.00 GiB that were asked "
            "for in step.",
        ),
    ],
)
def test_of_a_device_that_nobody_measured_only_what_the_error_says_is_known(
    told: dict[str, Any], kind: str, text: str
) -> None:
    session = steps(3)
    entered = session.enter("step")
    entered.exit(status="error", error_type="OutOfMemoryError")
    what = {"error_type": "OutOfMemoryError", "out_of_memory": True, "memory": "device", "requested_bytes": 2 * GIB}
    session.event("error", metadata={"phase_scope": entered.scope(), **what, "told": told})
    session.event("stop", context="the interpreter exited after OutOfMemoryError")
    answer = explain(evidence(session.events))
    assert answer.evidence.ending.kind == "device_out_of_memory"
    assert (answer.cause.kind, answer.cause.text) == (kind, text)


def test_what_mps_says_of_a_device_that_nobody_measured_is_enough() -> None:
    words = (
        "MPS backend out of memory (MPS allocated: 9.50 GiB, other allocations: 17.25 GiB, max allowed: 27.20 GiB). "
        "Tried to allocate 512.00 MiB on private pool."
    )
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError), phase("forward"):
            raise RuntimeError(words)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "outside_allocator"
    assert answer.cause.text == (
        "This process holds 17.2 GiB of a device outside of its allocator, beside 9.50 GiB of 27.2 GiB that are live: "
        "too little is left for the 512 MiB that were asked for in forward."
    )
    assert "empty_cache" in answer.advice[0]


def test_ages_do_not_count_the_time_that_reading_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    with phasescope.start(backends=[FakeBackend()], interval_ms=100) as session, session.reader() as reader:
        with phase("step"):
            fold, now = reader.fold, time.time_ns

            def slow(*arguments: Any) -> Any:
                found = fold(*arguments)
                monkeypatch.setattr(time, "time_ns", lambda: now() + 14_000_000_000)
                return found

            monkeypatch.setattr(reader, "fold", slow)
            answer = reader.explain()
    assert answer.evidence.ending.kind == "running"
    (open_phase,) = answer.evidence.ending.open_phases
    assert (open_phase.open_ns or 0) < 10_000_000_000


def test_one_request_for_more_than_the_host_has_is_a_wrong_shape() -> None:
    session = steps(3)
    runs_out(session, 2 * GIB, requested_bytes=8192 * GIB)
    session.event("stop", context="the interpreter exited after MemoryError")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "too_large"
    assert answer.cause.text == (
        "One request is for more than the whole host has: 8.00 TiB were asked for, in load, of 64.0 GiB."
    )
    assert answer.advice[0].startswith("check the shape and the type of the allocation in load: 8.00 TiB")
    assert not any("workers" in line for line in answer.advice)


@pytest.mark.parametrize(
    ("used", "asked", "kind"),
    [
        (2 * GIB, 63 * GIB, "host_full"),
        (63 * GIB, None, "host_full"),
        (2 * GIB, 20 * GIB, "unknown"),
        (2 * GIB, None, "unknown"),
    ],
)
def test_a_host_that_had_room_is_not_called_full(used: int, asked: int | None, kind: str) -> None:
    session = steps(3)
    session.allocated = used
    runs_out(session, None, requested_bytes=asked)
    session.event("stop", context="the interpreter exited after MemoryError")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == kind
    if kind == "unknown":
        assert "which was not full: 2.00 GiB of 64.0 GiB were in use" in answer.cause.text
        assert answer.advice[0].startswith("check the shape and the type of the allocation in load")


def test_an_error_that_the_training_raised_itself_is_no_failed_allocation_unless_the_host_was_full() -> None:
    session = steps(3)
    session.allocated = 2 * GIB
    runs_out(session, None, raised_at="train.py:40")
    session.event("stop", context="the interpreter exited after MemoryError")
    answer = explain(evidence(session.events))
    assert answer.cause.text == (
        "The host was not full, and train.py:40 raised the error itself, in load: 2.00 GiB of 64.0 GiB were in use."
    )
    assert len(answer.advice) == 1
    assert answer.advice[0].startswith("train.py:40: a `raise` statement")
    session = steps(3)
    session.allocated = 63 * GIB
    runs_out(session, None, raised_at="train.py:40")
    assert explain(evidence(session.events)).cause.kind == "host_full"


def phases_that_keep(session: MadeSession, **kept: int) -> Explanation:
    """Explain steps whose phases keep these KiB each."""
    session.allocated = GIB
    for _ in range(200):
        entered = session.enter("step")
        for name, kib in kept.items():
            session.run("step", name, change=kib * 1024, ms=10)
        entered.exit()
    session.event("stop")
    return explain(evidence(session.events))


def test_a_phase_that_shrinks_is_never_advised() -> None:
    answer = phases_that_keep(MadeSession(), forward=-664, backward=5000, optimizer=-3300)
    assert len(answer.evidence.growth[0].phases) > 1
    assert answer.advice[0].startswith("look in step/backward for objects kept")
    kept = [line.split()[0] for line in answer.phases if " keeps " in line]
    assert kept == ["step/backward", "step/forward", "step/optimizer"]


def test_on_the_host_the_phase_in_which_it_shows_is_not_called_the_one_that_keeps_it() -> None:
    answer = phases_that_keep(MadeSession(backend="cpu", device_id=-1), data=2048, forward=0)
    assert answer.cause.text.endswith("It shows in step/data, but which phase keeps it is not clear.")
    assert answer.advice[0].startswith("look in all of step, and around it, not in step/data alone, for objects kept")
    assert any("MALLOC_MMAP_THRESHOLD_" in line for line in answer.advice)


def test_on_the_host_several_phases_in_which_it_shows_are_one_around_them() -> None:
    answer = phases_that_keep(MadeSession(backend="cpu", device_id=-1), data=-664, forward=5000, optimizer=-3300)
    assert answer.cause.text.endswith(
        "It shows across step/data … step/optimizer, but which phase of step keeps it is not clear."
    )
    assert answer.advice[0].startswith("look in all of step, and around it, for objects kept")


def test_on_the_host_what_grows_between_the_phases_is_looked_for_there() -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    for _ in range(200):
        session.run("step", ms=10)
        session.allocated += 2 * MIB
    answer = explain(evidence(session.events))
    assert answer.cause.text.endswith("Which phase keeps it, or whether one does, is not clear.")
    assert answer.advice[0].startswith("look in all of the loop, in its phases and between them, for objects kept")


def steps(count: int, grown: int = 0) -> MadeSession:
    """`count` steps on the host, each of which keeps `grown` bytes."""
    session = MadeSession(backend="cpu", device_id=-1)
    session.event("start")
    for _ in range(count):
        session.run("step", change=grown)
        session.now_ns += 100_000_000
        session.sample(
            backend="cpu",
            device_id=-1,
            device_used_bytes=4 * GIB,
            device_free_bytes=60 * GIB,
            device_total_bytes=64 * GIB,
        )
    return session


def runs_out(
    session: MadeSession, limit: int | None, requested_bytes: int | None = None, raised_at: str | None = None
) -> None:
    session.run_out(
        session.enter("load"),
        {"allocator_allocated_bytes": GIB, "device_total_bytes": 64 * GIB},
        settings={} if limit is None else {"address_space_limit_bytes": limit},
        requested_bytes=requested_bytes,
        raised_at=raised_at,
    )


def test_a_limit_of_the_process_is_named() -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    runs_out(session, 2 * GIB)
    session.event("stop", context="the interpreter exited after MemoryError")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "limit"
    assert answer.cause.text == (
        "The process ran into its own limit of 2.00 GiB (RLIMIT_AS, `ulimit -v`): more memory was asked for, in load, "
        "with 1.00 GiB resident."
    )


def test_what_was_overwritten_is_said_to_be_unknown() -> None:
    answer = explain(evidence([], missed=lambda: (1200, 3)))
    assert "1,200 older events are overwritten: what grew before them does not show" in answer.unknown
    assert "3 places of the recording could not be read" in answer.unknown


ODD: list[dict[str, Any]] = [
    {},
    {"event_type": "error"},
    {"event_type": "error", "metadata": None},
    {"event_type": "error", "metadata": {"out_of_memory": True}},
    {"event_type": "error", "metadata": {"out_of_memory": True, "backend": "cuda"}, "device_id": 0},
    {
        "event_type": "error",
        "metadata": {
            "out_of_memory": True,
            "backend": "cpu",
            "memory": "device",
            "told": {"backend": [], "device_id": 2**70, "total_bytes": -1, "allocated_bytes": "x"},
        },
        "device_id": -1,
    },
    {
        "event_type": "error",
        "metadata": {"out_of_memory": True, "backend": "cuda", "settings": {"a": []}},
        "device_id": 0,
    },
]


@pytest.mark.parametrize("event", ODD)
@pytest.mark.parametrize("state", ["running", "stopped", "dead"])
def test_odd_events_are_no_trouble(event: dict[str, Any], state: str) -> None:
    answer = explain(evidence([event], state))
    assert str(answer)
    assert answer.to_dict()["schema_version"] == 1


def test_a_leak_that_noise_hides_is_called_too_noisy_and_nothing_sounds_otherwise() -> None:
    kinds = set()
    for seed in range(40):
        rng, session = random.Random(seed), MadeSession()
        session.event("start")
        for number in range(200):
            entered = session.enter("step")
            session.now_ns += 10_000_000
            session.allocated = GIB + number * MIB + round(rng.gauss(0, 60) * MIB)
            entered.exit(allocated_delta_bytes=MIB)
        session.event("stop")
        answer = explain(evidence(session.events))
        kinds.add(answer.cause.kind)
        if answer.cause.kind == "none":
            assert "whether its memory grows is not known: too noisy to tell (cuda:0: between " in answer.cause.text
            assert answer.phases == ()
            assert not answer.cause.certain
    assert kinds == {"none", "growth"}
