"""Spans from events, whole or what is left of them, and the phase that is open."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope.analysis.event_fields import scope_of
from phasescope.analysis.spans import Span, current_phase, spans
from support.events import MIB, MS, START_NS, MadeSession
from support.strategies import odd_events


def by_path(events: list[dict[str, Any]]) -> dict[str, Span]:
    return {"/".join(span.path): span for span in spans(events)}


def test_an_enter_and_its_exit_are_one_span() -> None:
    session = MadeSession()
    session.run("forward", ms=5, change=3 * MIB)
    (span,) = spans(session.events)
    assert (span.path, span.status, span.entered) == (("forward",), "ok", True)
    assert (span.start_ns, span.end_ns, span.duration_ns) == (START_NS, START_NS + 5 * MS, 5 * MS)
    assert span.allocated_delta_bytes == 3 * MIB
    assert span.peak_allocated_bytes is None


def test_an_exit_whose_enter_was_overwritten_is_a_whole_span() -> None:
    session = MadeSession()
    session.run("forward", ms=5)
    (span,) = spans(session.events[1:])
    assert (span.entered, span.start_ns, span.duration_ns) == (False, START_NS, 5 * MS)


def test_interleaved_phases_are_kept_apart_by_their_ids() -> None:
    session = MadeSession()
    first = session.enter("work")
    session.now_ns += 2 * MS
    second = session.enter("work")
    session.now_ns += 3 * MS
    first.exit()
    session.now_ns += 4 * MS
    second.exit()
    assert [span.start_ns for span in spans(session.events)] == [START_NS, START_NS + 2 * MS]
    assert [span.duration_ns for span in spans(session.events)] == [5 * MS, 7 * MS]


def test_what_never_ended_is_open() -> None:
    session = MadeSession()
    session.enter("epoch")
    session.run("epoch", "forward")
    assert [(span.path[-1], span.status) for span in spans(session.events)] == [("forward", "ok"), ("epoch", "open")]


def test_a_parent_whose_enter_was_overwritten_is_open_until_it_ends() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    session.now_ns += MS
    inner = session.enter("epoch", "forward", parent=epoch)
    inner.exit()
    left = session.events[1:]
    assert by_path(left)["epoch"] == Span(
        ("epoch",), epoch.scope_id, "open", START_NS + MS, None, None, None, None, None, False, False
    )
    epoch.exit()
    assert by_path(session.events[1:])["epoch"].status == "ok"


def test_a_phase_that_ended_is_not_opened_again_by_a_late_mention() -> None:
    """The sampler, or a task that outlives the phase it was started in, names it after its end."""
    session = MadeSession()
    epoch = session.enter("epoch")
    epoch.exit()
    session.sample(epoch)
    task = session.enter("epoch", "task", parent=epoch)
    task.exit()
    assert [span.status for span in spans(session.events)] == ["ok", "ok"]
    # The same where its enter is lost: its end was seen.
    assert [span.status for span in spans(session.events[1:])] == ["ok", "ok"]


def test_a_sample_tells_of_an_open_phase_whose_enter_was_overwritten() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    session.sample(epoch)
    assert [span.status for span in spans(session.events[1:])] == ["open"]


def test_an_unknown_delta_is_none_even_where_a_number_stands() -> None:
    session = MadeSession()
    entered = session.enter("forward")
    entered.exit()["metadata"]["unavailable"] = ["allocator_allocated_bytes"]
    (span,) = spans(session.events)
    assert span.allocated_delta_bytes is None


def test_how_a_phase_ended_and_the_end_of_an_iterable_are_kept() -> None:
    session = MadeSession()
    session.run("a", status="error", error_type="ValueError")
    session.run("b", status="abandoned")
    session.run("c", exhausted=True, peak_allocated_bytes=5)
    a, b, c = spans(session.events)
    assert (a.status, a.error_type, a.exhausted) == ("error", "ValueError", False)
    assert b.status == "abandoned"
    assert (c.exhausted, c.peak_allocated_bytes) == (True, 5)


def test_the_number_of_open_phases_is_bounded() -> None:
    """A file may claim to enter phases for ever and end none."""

    def endless() -> Any:
        session = MadeSession()
        for _ in range(70_000):
            session.events.clear()
            session.enter("again")
            yield session.events[0]

    assert sum(1 for _ in spans(endless())) == 65_536


def test_the_newest_event_that_tells_names_the_open_phase() -> None:
    session = MadeSession()
    assert current_phase(session.events) is None
    session.event("start")
    epoch = session.enter("epoch")
    assert current_phase(session.events) == ("epoch",)
    forward = session.enter("epoch", "forward", parent=epoch)
    assert current_phase(session.events) == ("epoch", "forward")
    session.event("warning")
    assert current_phase(session.events) == ("epoch", "forward")
    forward.exit()
    assert current_phase(session.events) == ("epoch",)
    session.sample(epoch)
    assert current_phase(session.events) == ("epoch",)
    epoch.exit()
    assert current_phase(session.events) is None


@pytest.mark.parametrize("event_type", ["sample", "stop"])
def test_a_sample_without_a_phase_says_that_none_is_open(event_type: str) -> None:
    session = MadeSession()
    session.enter("epoch")
    session.event(event_type)
    assert current_phase(session.events) is None


@given(st.lists(odd_events, max_size=6))
def test_odd_events_raise_nothing(events: list[dict[str, Any]]) -> None:
    for span in spans(events):
        assert span.path
        assert all(isinstance(name, str) for name in span.path)
    current_phase(events)


@pytest.mark.parametrize("metadata", [None, [], {"phase_scope": []}, {"phase_scope": {"path": [1]}}])
def test_an_event_that_names_no_phase_has_no_scope(metadata: object) -> None:
    assert scope_of({"metadata": metadata}) is None
