"""A phase that nobody can enter again is left in its context when it ends: whoever looks there passes it over."""

from __future__ import annotations

import gc
import sys
from contextvars import copy_context
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.capture import phase_context
from phasescope.testing import FakeBackend
from support.assertions import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = [
    pytest.mark.skipif(not _native.has_phases, reason=f"no compiled phases here: {_native.why_not}"),
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="there a `with` may borrow its phase"),
]


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend("cuda", allocated=1)], interval_ms=3_600_000) as session:
        for _ in range(2):  # a name's first phase goes the Python way
            with phase("outer"), phase("inner"):
                pass
        session.events()
        yield session


def paths(session: Session) -> list[str]:
    """Return the paths of the phases that were entered after the fixture's."""
    return ["/".join(event["metadata"]["phase_scope"]["path"]) for event in events_of(session, "phase_enter")[4:]]


def left() -> phase:
    scope = phase_context.get_current()
    assert isinstance(scope, phase)
    assert not scope.is_open
    return scope


def test_what_is_left_holds_no_session(session: Session) -> None:
    with phase("outer"):
        pass
    scope = left()
    assert (scope.event_writer, scope.reentry_of, scope.phase_name) == (None, None, "outer")
    assert not hasattr(scope, "device_state")
    assert not hasattr(scope, "phase_path")


def test_only_what_nobody_else_holds_is_left(session: Session) -> None:
    kept = phase("kept")
    for _ in range(2):
        with kept:
            pass
        assert phase_context.get_current() is None
    with phase("named") as named:
        pass
    assert phase_context.get_current() is None
    assert not named.is_open
    leave = phase("outer").__enter__().__exit__
    leave(None, None, None)
    assert phase_context.get_current() is None


def test_nothing_nests_in_what_is_left(session: Session) -> None:
    inside, after = copy_context(), copy_context()

    def inner() -> None:
        with phase("inner"):
            pass

    with phase("outer"):
        with phase("inner"):
            inside = copy_context()
        between = copy_context()
        inner()
        inside.run(inner)
    after = copy_context()
    for context in (inside, between, after):
        context.run(inner)
    inner()
    assert paths(session) == ["outer", "outer/inner", "outer/inner", "outer/inner", *["inner"] * 4]
    assert session.irregular == 0


def test_an_exception_passes_through_a_phase_that_has_left_one_inside(session: Session) -> None:
    def fail() -> None:
        with phase("outer"):
            with phase("inner"):
                pass
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    exits = events_of(session, "phase_exit")[-2:]
    assert [event["metadata"]["phase_scope"]["status"] for event in exits] == ["ok", "error"]
    assert [event["context"] for event in exits] == [None, None]
    assert phase_context.get_current() is None


def test_one_that_is_entered_again_elsewhere_is_no_parent_where_it_was_left(session: Session) -> None:
    with phase("outer", n=1):
        pass
    scope = left()

    def enter_twice() -> None:
        with scope, phase("inner"):
            pass
        scope.__enter__()

    elsewhere = copy_context()
    elsewhere.run(enter_twice)
    with phase("inner"):
        pass
    elsewhere.run(scope.__exit__, None, None, None)
    assert paths(session) == ["outer", "outer", "outer/inner", "outer", "inner"]
    exits = [event["metadata"]["phase_scope"] for event in events_of(session, "phase_exit")]
    assert [(scope["path"][-1], scope["status"]) for scope in exits[4:]] == [
        ("outer", "ok"),
        ("inner", "ok"),
        ("outer", "ok"),
        ("inner", "ok"),
        ("outer", "ok"),
    ]
    assert {str(scope["attributes"]) for scope in exits[4:] if scope["path"] == ["outer"]} == {"{'n': 1}"}
    assert session.irregular == 0


def test_a_context_holds_one_chain_of_them(session: Session) -> None:
    def nest(depth: int) -> None:
        with phase("step"):
            if depth:
                nest(depth - 1)

    def made() -> int:
        return sum(type(each) is type(phase("x")) for each in gc.get_objects())

    nest(30)
    before = made()
    for _ in range(20):
        nest(30)
    assert made() == before
    with phase("outer"):
        pass
    assert made() <= before - 30
