"""What allocators did, phase by phase: from counts in the events to the lines that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.summary.summary import summarize
from phasescope.testing import FakeBackend, sample
from support.events import MadeSession

if TYPE_CHECKING:
    from phasescope.analysis.summary.phase_tree import Row
    from phasescope.analysis.summary.summary import Summary

GIB = 1 << 30


def rows(summary: Summary) -> dict[str, Row]:
    return {row.path[-1]: row for row in summary.rows}


def trained(backend: FakeBackend) -> phasescope.Session:
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        for _ in range(3):
            with phase("step"):
                with phase("forward"):
                    backend.allocate(8 * GIB)
                with phase("backward"):
                    backend.retry()
                    backend.retry()
                    backend.allocate(2 * GIB)
                backend.allocate(-10 * GIB)
        sample(session)
    return session


def test_each_phase_has_what_happened_in_it_and_in_those_inside() -> None:
    session = trained(FakeBackend("cuda", allocated=GIB, total=80 * GIB))
    with session.reader() as reader:
        found = rows(reader.summary())
    assert {name: row.alloc_retries for name, row in found.items()} == {"step": 6, "forward": 0, "backward": 6}
    assert (found["forward"].device_allocs, found["forward"].device_frees) == (1, 0)
    assert (found["backward"].reserved_bytes, found["backward"].slack_bytes) == (11 * GIB, 2 * GIB)
    assert found["step"].reserved_bytes == 11 * GIB
    assert found["step"].slack_bytes == 10 * GIB


def test_they_are_shown_by_summary_and_explain() -> None:
    session = trained(FakeBackend("cuda", allocated=GIB, total=80 * GIB))
    line = "allocator gave back its cache and retried: step/backward (6)"
    with session.reader() as reader:
        summary, answer = reader.summary(), reader.explain()
    assert line in str(summary)
    assert line in answer.phases
    titles = next(text for text in str(summary).splitlines() if text.startswith("the allocator, by phase"))
    assert line in summary._repr_html_()
    assert titles.split()[4:] == ["reserved", "slack", "from", "device", "given", "back", "retries", "failures"]


def test_a_failure_is_of_the_phase_in_which_it_came() -> None:
    backend = FakeBackend("cuda", allocated=GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError), phase("step"), phase("forward"):
            backend.run_out(2 * GIB)
    with session.reader() as reader:
        summary = reader.summary()
    assert {name: row.alloc_failures for name, row in rows(summary).items()} == {"step": 1, "forward": 1}
    assert "allocator had no memory even so: step/forward (1)" in str(summary)
    assert "retried" not in str(summary)  # torch counts that it gave back its cache for this one as well


def test_of_a_device_that_counts_nothing_nothing_is_known() -> None:
    session = trained(FakeBackend("mps", allocated=GIB))
    with session.reader() as reader:
        summary = reader.summary()
    assert {row.alloc_retries for row in summary.rows} == {None}
    assert "the allocator" not in str(summary)


def test_a_healthy_training_has_no_table_of_it() -> None:
    backend = FakeBackend("cuda", allocated=GIB, total=80 * GIB)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session, phase("step"):
        backend.allocate(GIB)
    with session.reader() as reader:
        summary = reader.summary()
    assert rows(summary)["step"].device_allocs == 1
    assert "by phase" not in str(summary)


def test_a_sessions_counts_begin_with_its_first_event() -> None:
    """The process had retries before; another session with the same backend begins again."""
    backend = FakeBackend("cuda", allocated=GIB, total=80 * GIB)
    backend.retry()
    for _ in range(2):
        with phasescope.start(backends=[backend], interval_ms=3_600_000) as session, phase("step"):
            pass
        with session.reader() as reader:
            assert rows(reader.summary())["step"].alloc_retries == 0


def told(session: MadeSession, event_type: str, retries: object, path: list[str] | None = None) -> None:
    scope = {} if path is None else {"phase_scope": {"path": path, "action": event_type.removeprefix("phase_")}}
    session.event(event_type, device_id=0, metadata={"num_alloc_retries": retries, **scope})


def test_what_came_between_phases_is_of_the_phase_around_them() -> None:
    session = MadeSession()
    told(session, "sample", 5)
    told(session, "phase_enter", 7, ["step"])  # before it, in no phase
    told(session, "phase_enter", 8, ["step", "forward"])
    told(session, "phase_exit", 10, ["step", "forward"])
    told(session, "phase_exit", 10, ["step"])
    found = rows(summarize(session.events))
    assert (found["step"].alloc_retries, found["forward"].alloc_retries) == (3, 2)


@pytest.mark.parametrize("odd", [-3, "many", None, 1.5, [], 2])
def test_odd_counts_and_such_that_fall_are_left_out(odd: object) -> None:
    session = MadeSession()
    told(session, "sample", 5)
    told(session, "phase_exit", odd, ["step"])
    told(session, "phase_exit", 6, ["step"])
    assert rows(summarize(session.events))["step"].alloc_retries == 1
