"""phasescope.testing does what its docstring shows, for the tests of those who use us."""

from __future__ import annotations

import re
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase, testing
from phasescope.testing import FakeBackend, FakeClock, sample
from support.assertions import events_of, exit_of, only, scopes
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from phasescope import Session

pytestmark = pytest.mark.neutral

GIB = 2**30
MIB = 2**20


def test_the_example_of_its_docstring_works_as_it_stands() -> None:
    example = textwrap.dedent(str(testing.__doc__).split("\n\n")[1])
    assert "FakeBackend(" in example
    names: dict[str, Any] = {**vars(testing), "phasescope": phasescope, "phase": phase}
    exec(example, names)
    session: Session = names["session"]
    (scope,) = scopes(session)
    assert (scope["name"], scope["duration_ns"]) == ("forward", 5_000_000)
    assert scope["allocated_delta_bytes"] == 200 * MIB
    event = exit_of(session, "forward")
    assert event["metadata"]["backend"] == "cuda"
    assert event["device_total_bytes"] == 80 * GIB
    assert event["timestamp_ns"] == names["clock"].wall_ns()


def test_its_public_names_are_the_fakes_and_what_takes_a_sample() -> None:
    assert testing.__all__ == ["FakeBackend", "FakeClock", "OutOfMemoryError", "sample"]


# --- the backend -----------------------------------------------------------------------------------------------------


def test_it_stands_in_for_the_host_where_nothing_is_said() -> None:
    with phasescope.start(backends=[FakeBackend(allocated=7)]) as session:
        pass
    start = only(session, "start")
    assert (start["device_id"], start["allocator_allocated_bytes"], start["allocator_reserved_bytes"]) == (-1, 7, 7)
    assert start["metadata"]["backend"] == "cpu"


def test_what_is_not_given_is_unknown_and_never_0() -> None:
    with phasescope.start(backends=[FakeBackend("cuda", total=100, active=3)]) as session:
        pass
    start = only(session, "start")
    assert set(start["metadata"]["unavailable"]) == {
        *("allocator_inactive_bytes", "device_used_bytes", "device_free_bytes"),
    }
    assert (start["allocator_active_bytes"], start["device_total_bytes"]) == (3, 100)
    assert (start["allocator_inactive_bytes"], start["device_free_bytes"]) == (None, None)


def test_reserved_grows_with_what_is_allocated_and_never_shrinks() -> None:
    backend = FakeBackend("cuda", allocated=10, reserved=15)
    backend.allocate(2)
    assert backend.allocator(0)[:4] == (12, 15, None, None)
    backend.allocate(8)
    assert backend.allocator(0)[:4] == (20, 20, None, None)
    backend.allocate(-20)
    assert backend.allocator(0)[:4] == (0, 20, None, None)
    with pytest.raises(ValueError, match="size_bytes frees more than is allocated on device 0"):
        backend.allocate(-1)
    assert backend.allocator(0)[:4] == (0, 20, None, None)


def test_set_says_everything_anew() -> None:
    backend = FakeBackend("cuda", allocated=10, active=1, inactive=2)
    backend.set(3)
    assert backend.allocator(0)[:4] == (3, 3, None, None)
    backend.set(3, 9, active=4, inactive=5)
    assert backend.allocator(0)[:4] == (3, 9, 4, 5)


def test_devices_have_their_own_counters_and_one_is_current() -> None:
    backend = FakeBackend("cuda", devices=[0, 2])
    assert (backend.devices(), backend.current_device()) == ([0, 2], 0)
    backend.allocate(5, device=2)
    backend.set(1)
    assert [backend.allocator(device)[0] for device in (0, 2)] == [1, 5]
    backend.selected_device = 2
    with phasescope.start(backends=[backend]) as session:
        with phase("step"):
            backend.allocate(7)
    assert exit_of(session, "step")["device_id"] == 2
    assert scopes(session)[0]["allocated_delta_bytes"] == 7


def test_it_fails_while_it_is_told_to_and_answers_again_afterwards() -> None:
    clock, backend = FakeClock(), FakeBackend("cuda", allocated=5)
    backend.fail_with = RuntimeError("driver gone")
    with phasescope.start(backends=[backend], clock=clock) as session:
        backend.fail_with = None
        clock.advance(ms=5000)
        until(lambda: events_of(session, "collector_recovered"))
    assert re.search("cuda .*RuntimeError: driver gone", only(session, "collector_degraded")["context"])


def test_it_can_be_a_framework_that_is_not_in_use_yet() -> None:
    backend = FakeBackend("cuda", allocated=5)
    backend.is_ready = False
    with phasescope.start(backends=[backend, FakeBackend("cpu")]) as session:
        with phase("before"):
            pass
        backend.is_ready = True
        with phase("after"):
            pass
    assert [exit_of(session, name)["metadata"]["backend"] for name in ("before", "after")] == ["cpu", "cuda"]


# --- the clock -------------------------------------------------------------------------------------------------------


def test_the_clock_stands_still_until_it_is_told_to_go_on() -> None:
    clock = FakeClock(wall_ns=1_000)
    assert (clock.monotonic_ns(), clock.wall_ns()) == (0, 1_000)
    clock.advance(ms=2.5)
    assert (clock.monotonic_ns(), clock.wall_ns()) == (2_500_000, 2_501_000)


def test_only_the_wall_clock_jumps() -> None:
    clock = FakeClock(wall_ns=10**10)
    clock.jump(seconds=-1.5)
    assert (clock.monotonic_ns(), clock.wall_ns()) == (0, 10**10 - 1_500_000_000)


def test_waiting_ends_when_the_time_has_come_or_the_event_is_set() -> None:
    clock, event = FakeClock(), threading.Event()
    assert clock.wait_until(event, 0) is False
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(clock.wait_until(event, 1_000_000)))
    thread.start()
    clock.advance(ms=1)
    thread.join(CEILING_S)
    event.set()
    assert clock.wait_until(event, 10**12) is True
    assert ended == [False]


def test_a_sample_is_taken_when_it_is_asked_for_and_never_after_the_stop() -> None:
    backend = FakeBackend(allocated=7)
    with phasescope.start(backends=[backend], clock=FakeClock(), interval_ms=60_000) as session:
        before = len(events_of(session, "sample"))
        backend.set(11)
        sample(session, late_ns=5)
        taken = events_of(session, "sample")[before:]
        assert [event["allocator_allocated_bytes"] for event in taken] == [11]
        assert taken[0]["metadata"]["sampling_late_ns"] == 5
    sample(session)
    assert len(events_of(session, "sample")) == before + 1
    assert session.dropped == 0


@pytest.mark.parametrize(
    ("allocated", "reserved", "given", "kind"),
    [
        (70, 71, {"free_bytes": 7 * GIB, "freed_bytes": 20 * GIB}, "too_large"),
        (30, 60, {"free_bytes": GIB}, "fragmentation"),
        (17, 17, {"free_bytes": 50 * GIB, "allowed_bytes": 18 * GIB}, "limit_of_device"),
        (17, 17, {"free_bytes": 50 * GIB}, "refused_although_free"),
        (20, 20, {"free_bytes": GIB, "process_bytes": 21 * GIB, "other_bytes": 57 * GIB}, "other_processes"),
        (20, 20, {"free_bytes": GIB, "process_bytes": 78 * GIB}, "outside_allocator"),
    ],
)
def test_a_device_that_runs_out_is_explained_as_a_real_one(
    allocated: int, reserved: int, given: dict[str, int], kind: str
) -> None:
    backend = FakeBackend("cuda", allocated=allocated * GIB, reserved=reserved * GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(testing.OutOfMemoryError), phase("forward"):
            backend.run_out(8 * GIB, **given)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == kind, str(answer)
    assert answer.cause.figures["allocated_bytes"] == allocated * GIB
    assert answer.advice


def test_the_pools_of_graphs_are_told_as_torch_tells_them() -> None:
    backend = FakeBackend("cuda", allocated=4 * GIB, reserved=79 * GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(testing.OutOfMemoryError), phase("forward"):
            backend.run_out(2 * GIB, pools_bytes=74 * GIB)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "too_large"
    assert answer.cause.figures["allocated_bytes"] == 78 * GIB
    assert answer.advice[0].startswith("74.0 GiB lie in pools of their own")


@pytest.mark.parametrize(
    ("name", "raised", "words", "kind"),
    [
        ("rocm", testing.OutOfMemoryError, "HIP out of memory. Tried to allocate 8.00 GiB", "too_large"),
        ("xpu", testing.OutOfMemoryError, "XPU out of memory. Tried to allocate 8.00 GiB", "too_large"),
        ("mps", RuntimeError, "MPS backend out of memory (MPS allocated: 74.00 GiB", "too_large"),
        ("jax", RuntimeError, "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592", "too_large"),
        ("tensorflow", Exception, "OOM when allocating tensor with shape[8589934592]", "too_large"),
    ],
)
def test_each_library_runs_out_in_its_own_words(name: str, raised: type[Exception], words: str, kind: str) -> None:
    backend = FakeBackend(name, allocated=74 * GIB, used=75 * GIB, free=5 * GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(raised) as caught, phase("forward"):
            backend.run_out(8 * GIB, free_bytes=5 * GIB)
    assert words in str(caught.value)
    assert isinstance(caught.value, testing.OutOfMemoryError) == (name in ("rocm", "xpu"))
    assert (backend.failure(0, 8 * GIB) != {}) == (name == "rocm")  # torch has an observer for these alone
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == kind, str(answer)
    assert answer.cause.figures["requested_bytes"] == 8 * GIB
    assert answer.cause.text.startswith(f"One step needs more than {name}:0 has: 74.0 GiB of 80.0 GiB are live")


def test_the_host_runs_out_in_torchs_words() -> None:
    host = FakeBackend("cpu", allocated=30 * GIB, used=31 * GIB, free=GIB, total=32 * GIB)
    with phasescope.start(backends=[host], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError, match="you tried to allocate 4294967296 bytes"), phase("load"):
            host.run_out(4 * GIB)
    with session.reader() as reader:
        assert reader.explain().cause.kind == "host_full"


def test_a_library_without_words_is_not_given_anothers() -> None:
    with pytest.raises(ValueError, match="npu has no words of its own"):
        FakeBackend("npu", total=GIB).run_out(GIB)


@pytest.mark.parametrize(("own", "others", "kind"), [(20, 57, "other_processes"), (78, 0, "outside_allocator")])
def test_what_the_driver_lists_is_the_cause_where_an_error_has_no_figures(own: int, others: int, kind: str) -> None:
    backend = FakeBackend("cuda", allocated=19 * GIB, used=78 * GIB, free=2 * GIB, total=80 * GIB)
    backend.list_processes(own * GIB, others * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError), phase("forward"):
            raise RuntimeError("CUDA error: out of memory")
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == kind, str(answer)


def test_the_documented_play_of_a_shortage_names_its_cause() -> None:
    """The example runs as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
    example = page.partition("### Play a shortage")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(example, names)
    names["test_another_process_is_named"]()
    names["test_what_a_library_raises_is_understood"]()


def test_without_a_total_nothing_can_run_out() -> None:
    with pytest.raises(ValueError, match="total is needed"):
        FakeBackend("cuda").run_out(GIB)
