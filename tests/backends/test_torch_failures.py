"""What is known at the failing allocation is what is told, whatever is freed on the way out of the phase."""

from __future__ import annotations

import contextlib
import pickle
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from support.fakes.fake_cuda import FakeCuda, OutOfMemoryError

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.analysis.diagnosis.explanation import Explanation

pytestmark = pytest.mark.neutral

GIB, MIB = 1 << 30, 1 << 20


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda().install(monkeypatch)
    fake.use(0, GIB, GIB, GIB)
    return fake


def explained(fake: FakeCuda, asked: int, *, free: int, frees: int) -> Explanation:
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"), phase("optimizer"):
            fake.run_out(0, asked, free=free, frees=frees)
    with session.reader() as reader:
        return reader.explain()


def test_what_is_freed_on_the_way_out_is_no_slack(cuda: FakeCuda) -> None:
    cuda.use(0, 70 * GIB + 100 * MIB, 70 * GIB + 417 * MIB, 70 * GIB, 317 * MIB)
    answer = explained(cuda, 8 * GIB, free=7 * GIB, frees=8 * GIB)
    assert answer.cause.kind == "too_large"
    assert answer.cause.figures["allocated_bytes"] == 70 * GIB + 100 * MIB  # to the byte, which no message has
    assert answer.cause.figures["slack_bytes"] == 317 * MIB
    assert answer.cause.figures["inactive_bytes"] == 317 * MIB
    assert any("allocator slack 317 MiB" in line for line in answer.held)


def test_a_limit_is_what_the_observer_is_given_in_place_of_the_total(cuda: FakeCuda) -> None:
    cuda.limits[0] = 18 * GIB
    cuda.use(0, 17 * GIB, 17 * GIB + 200 * MIB, 17 * GIB)
    answer = explained(cuda, 996 * MIB, free=60 * GIB, frees=GIB)
    assert answer.cause.kind == "limit_of_device"
    assert answer.cause.figures["allowed_bytes"] == 18 * GIB
    assert answer.cause.figures["total_bytes"] == 80 * GIB


def test_a_failure_that_an_operator_caught_is_not_taken_for_the_one_that_ends_it(cuda: FakeCuda) -> None:
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        cuda.use(0, 40 * GIB, 41 * GIB, 40 * GIB)
        cuda.run_out(0, 3 * GIB, free=GIB, caught=True)  # as the search for an algorithm does
        cuda.use(0, 75 * GIB, 76 * GIB, 75 * GIB)
        with pytest.raises(OutOfMemoryError), phase("step"):
            cuda.run_out(0, 2 * GIB, free=GIB, frees=10 * GIB)
        (error,) = [event for event in session.events() if event["event_type"] == "error"]
    assert error["metadata"]["told"]["allocated_bytes"] == 75 * GIB
    assert error["metadata"]["requested_bytes"] == 2 * GIB
    assert error["allocator_allocated_bytes"] == 65 * GIB


def test_a_request_that_no_observer_sees_is_not_given_the_figures_of_an_earlier_one(cuda: FakeCuda) -> None:
    """torch 2.13 refuses requests for a limit without a word to observers; an operator had caught one of that size."""
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        cuda.use(0, 60 * GIB, 61 * GIB, 60 * GIB)
        cuda.run_out(0, 2 * GIB, free=7 * GIB, caught=True)
        cuda.use(0, 17 * GIB, 18 * GIB, 17 * GIB)
        with pytest.raises(OutOfMemoryError), phase("step"):
            cuda.reject(0, 2 * GIB)
        (error,) = [event for event in session.events() if event["event_type"] == "error"]
    assert "allocated_bytes" not in error["metadata"].get("told", {})
    assert "free_bytes" not in error["metadata"].get("told", {})
    assert error["allocator_allocated_bytes"] == 17 * GIB


def test_figures_that_contradict_the_message_are_of_an_earlier_failure(cuda: FakeCuda) -> None:
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        cuda.use(0, 60 * GIB, 61 * GIB, 60 * GIB)
        cuda.run_out(0, 2 * GIB, free=7 * GIB, caught=True)
        observers, cuda.observers = cuda.observers, []  # as where another library has put its own allocator in place
        cuda.use(0, 75 * GIB + 5, 76 * GIB, 75 * GIB)
        with pytest.raises(OutOfMemoryError), phase("step"):
            cuda.run_out(0, 2 * GIB, free=GIB)
        cuda.observers = observers
        (error,) = [event for event in session.events() if event["event_type"] == "error"]
    assert error["metadata"]["told"]["allocated_bytes"] == 75 * GIB
    assert error["metadata"]["told"]["free_bytes"] == GIB


def test_a_request_refused_for_a_fraction_in_the_settings_names_the_limit(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "per_process_memory_fraction:0.25,throw_on_cudamalloc_oom:True")
    cuda.use(0, 18 * GIB, 19 * GIB, 18 * GIB)
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"):
            cuda.reject(0, 2 * GIB)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "limit_of_device", str(answer)
    assert answer.cause.figures["allowed_bytes"] == 20 * GIB
    assert "this process's limit on it: 20.0 GiB" in answer.held
    assert answer.advice[0].startswith("raise or drop the limit")


def test_sessions_one_after_the_other_attach_it_once_and_it_outlives_them(cuda: FakeCuda) -> None:
    for _ in range(3):
        with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000):
            pass
    assert len(cuda.observers) == 1
    with pytest.raises(OutOfMemoryError):
        cuda.run_out(0, GIB, free=0)
    assert cuda.initialisations == 0


def test_nothing_is_asked_of_torch_while_an_allocator_may_call_python_with_its_lock(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the figures all the same, rounded."""
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        monkeypatch.setitem(sys.modules, "vllm.cumem_allocator", ModuleType("vllm.cumem_allocator"))
        cuda.use(0, 70 * GIB + 5, 71 * GIB, 70 * GIB)
        with pytest.raises(OutOfMemoryError), phase("step"):
            cuda.run_out(0, 20 * GIB, free=GIB + 5, frees=5 * GIB)
        (error,) = [event for event in session.events() if event["event_type"] == "error"]
    assert error["metadata"]["told"]["allocated_bytes"] == 70 * GIB
    assert error["metadata"]["told"]["free_bytes"] == GIB + 5  # it was given, not asked for


def test_the_pools_of_graphs_are_no_fragmentation(cuda: FakeCuda) -> None:
    cuda.use(0, 6 * GIB, 78 * GIB, 6 * GIB, 72 * GIB)
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"):
            cuda.run_out(0, 3 * GIB, free=GIB, pools=71 * GIB)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "too_large"
    assert answer.cause.text.endswith("; 71.0 GiB lie in pools that only CUDA graphs use.")


def test_where_torch_fails_over_nvml_it_is_memory_that_ran_out_and_the_moment_is_not_known(cuda: FakeCuda) -> None:
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000) as session:
        cuda.use(0, 75 * GIB, 78 * GIB, 75 * GIB)
        with pytest.raises(RuntimeError), phase("step"):
            cuda.run_out(0, 3 * GIB, free=GIB, frees=40 * GIB, listed=None)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "too_large"
    assert answer.cause.text == (
        "One step needs more than cuda:0 has, most likely: its allocator has taken 78.0 GiB of 80.0 GiB; how much of "
        "it was live at that moment is not known."
    )


@pytest.mark.parametrize("backend", ["cudaMallocAsync", "pluggable"])
def test_an_allocator_without_observers_is_no_trouble(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    fake = FakeCuda(backend=backend).install(monkeypatch)
    fake.use(0, 70 * GIB, 71 * GIB, 70 * GIB)
    answer = explained(fake, 20 * GIB, free=GIB, frees=5 * GIB)
    assert (answer.cause.kind, fake.observers) == ("too_large", [])


def test_an_observer_never_raises(cuda: FakeCuda) -> None:
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000):
        cuda.stats[0].clear()  # an allocator that answers with nothing
        cuda.observers[0](0, GIB, 80 * GIB, 0)
        cuda.observers[0](99, GIB, 80 * GIB, 0)


def test_the_snapshot_is_taken_before_anything_is_freed(
    cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phasescope.backends.torch_snapshot import History

    def write(_history: History, path: str) -> None:
        with open(path, "wb") as file:  # noqa: PTH123
            pickle.dump(cuda.stats[0]["allocated_bytes"]["all"]["current"], file)

    monkeypatch.setattr("phasescope.backends.torch_cuda.Cuda._history", History(None, cuda.core))
    monkeypatch.setattr(History, "begin", lambda _history: None)
    monkeypatch.setattr(History, "end", lambda _history: None)
    monkeypatch.setattr(History, "label", lambda _history, _text: None)
    monkeypatch.setattr(History, "write", write)
    folder = tmp_path / "snapshots"
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=3_600_000, oom_snapshot=str(folder)) as session:
        with contextlib.suppress(OutOfMemoryError), phase("step"):
            cuda.use(0, 70 * GIB, 71 * GIB, 70 * GIB)
            cuda.run_out(0, 20 * GIB, free=GIB, frees=30 * GIB)
        (error,) = [event for event in session.events() if event["event_type"] == "error"]
    (written,) = folder.iterdir()
    assert error["metadata"]["snapshot"] == str(written)
    assert pickle.loads(written.read_bytes()) == 70 * GIB
    with contextlib.suppress(OutOfMemoryError):
        cuda.run_out(0, GIB, free=0)
    assert len(list(folder.iterdir())) == 1  # the session is over
