"""phase() in one thread: what is written, and that nothing which goes wrong comes out."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.capture import phase_context, sampler
from phasescope.capture import phase_paths as path_module
from phasescope.capture.attributes import MAX_TEXT
from phasescope.testing import FakeBackend, FakeClock, sample
from support.assertions import events_of, exit_of, only, paths, scopes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral

MIB = 2**20


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend("cuda", total=80 * 2**30)


@pytest.fixture
def session(backend: FakeBackend, clock: FakeClock) -> Iterator[Session]:
    with phasescope.start(backends=[backend], clock=clock) as session:
        yield session


def notes(session: Session) -> dict[str, str | None]:
    """What the exits say for a person, by path."""
    exits = events_of(session, "phase_exit")
    return {"/".join(event["metadata"]["phase_scope"]["path"]): event["context"] for event in exits}


def test_without_a_session_a_phase_does_nothing() -> None:
    with phase("forward") as entered:
        with phase("inner"):
            pass
    assert isinstance(entered, phase)
    with phasescope.start(backends=[FakeBackend()]) as session:
        pass
    assert paths(session) == []


def test_a_phase_writes_its_enter_and_its_exit(session: Session, backend: FakeBackend, clock: FakeClock) -> None:
    with phase("forward"):
        backend.allocate(200 * MIB)
        clock.advance(ms=5)
    enter, leave = only(session, "phase_enter"), only(session, "phase_exit")
    assert leave["timestamp_ns"] - enter["timestamp_ns"] == 5_000_000
    assert (enter["allocator_allocated_bytes"], leave["allocator_allocated_bytes"]) == (0, 200 * MIB)
    assert leave["allocator_change_bytes"] == 200 * MIB
    assert leave["collector"] == "phasescope.cuda"
    entered, left = enter["metadata"]["phase_scope"], leave["metadata"]["phase_scope"]
    assert entered["action"] == "enter"
    assert entered["scope_id"] == left["scope_id"] == f"{session.session_id}:{entered['sequence']}"
    assert left["duration_ns"] == 5_000_000
    assert left["status"] == "ok"
    assert left["allocated_delta_bytes"] == 200 * MIB
    assert "error_type" not in left
    assert "peak_allocated_bytes" not in left


def test_memory_is_measured_at_both_ends_not_carried_over(session: Session, backend: FakeBackend) -> None:
    with phase("outer"):
        backend.allocate(1024 * MIB)
        with phase("inner"):
            backend.allocate(-1000 * MIB)
    assert exit_of(session, "outer/inner")["metadata"]["phase_scope"]["allocated_delta_bytes"] == -1000 * MIB
    assert exit_of(session, "outer")["metadata"]["phase_scope"]["allocated_delta_bytes"] == 24 * MIB


def test_phases_nest(session: Session) -> None:
    with phase("epoch"):
        with phase("forward"):
            with phase("attention"):
                pass
        with phase("backward"):
            pass
    assert paths(session, "enter") == ["epoch", "epoch/forward", "epoch/forward/attention", "epoch/backward"]
    epoch, forward, attention, backward = scopes(session, "enter")
    assert epoch["parent_scope_id"] is None
    assert forward["parent_scope_id"] == backward["parent_scope_id"] == epoch["scope_id"]
    assert attention["parent_scope_id"] == forward["scope_id"]
    assert attention["depth"] == 3


def test_a_sample_names_the_innermost_open_phase(session: Session) -> None:
    with phase("epoch"):
        with phase("forward"):
            sample(session)
    event = events_of(session, "sample")[-1]
    assert event["metadata"]["phase_scope"]["path"] == ["epoch", "forward"]
    assert "action" not in event["metadata"]["phase_scope"]


class Failure(Exception):
    """The training's own."""


def test_the_very_same_exception_comes_out(session: Session) -> None:
    raised, cause = Failure("no"), KeyError("cause")

    def fail() -> None:
        raise raised from cause

    with pytest.raises(Failure) as caught:
        with phase("outer"):
            with phase("inner"):
                fail()
    assert caught.value is raised
    assert raised.__cause__ is cause
    assert raised.__context__ is None
    frames = [entry.name for entry in caught.traceback]
    assert frames == ["test_the_very_same_exception_comes_out", "fail"]
    assert not hasattr(raised, "__notes__")
    assert vars(raised) == {}
    for scope in scopes(session):
        assert scope["status"] == "error"
        assert scope["error_type"] == "Failure"


def test_an_exception_keeps_the_context_that_it_had(session: Session) -> None:
    first = KeyError("first")
    with pytest.raises(Failure) as caught:
        try:
            raise first
        except KeyError:
            with phase("retry"):
                raise Failure  # noqa: B904 - the implicit context is what is looked at
    assert caught.value.__context__ is first
    assert first.__context__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Failure, MemoryError, RecursionError])
def test_every_exception_passes_and_is_named(session: Session, kind: type[BaseException]) -> None:
    raised = kind()
    with pytest.raises(kind) as caught, phase("step"):
        raise raised
    assert caught.value is raised
    scope = exit_of(session, "step")["metadata"]["phase_scope"]
    assert (scope["status"], scope["error_type"]) == ("error", kind.__name__)


@pytest.mark.parametrize("kind", [GeneratorExit, StopIteration, StopAsyncIteration])
def test_the_end_of_an_iteration_is_no_error(session: Session, kind: type[BaseException]) -> None:
    with pytest.raises(kind), phase("step"):
        raise kind
    assert exit_of(session, "step")["metadata"]["phase_scope"]["status"] == "ok"


def test_return_break_and_continue_leave_phases(session: Session) -> None:
    def returns() -> int:
        for step in range(3):
            with phase("step"):
                if step == 0:
                    continue
                with phase("inner"):
                    if step == 1:
                        break
        with phase("last"):
            return 7

    assert returns() == 7
    assert paths(session) == ["step", "step/inner", "step", "last"]
    assert {scope["status"] for scope in scopes(session)} == {"ok"}


def test_stop_inside_a_phase_closes_it_as_abandoned() -> None:
    session = phasescope.start(backends=[FakeBackend()])
    raised = Failure()
    with pytest.raises(Failure) as caught:
        with phase("outer"):
            with phase("inner"):
                phasescope.stop()
                with phase("after the end"):
                    pass
                raise raised
    assert caught.value is raised
    assert paths(session) == ["outer/inner", "outer"]
    assert {scope["status"] for scope in scopes(session)} == {"abandoned"}
    assert events_of(session)[-1]["event_type"] == "stop"
    assert session.irregular == 2


def test_a_phase_of_an_ended_session_writes_nothing_into_a_new_one() -> None:
    first = phasescope.start(backends=[FakeBackend()])
    with phase("old"):
        first.stop()
        second = phasescope.start(backends=[FakeBackend()])
        with phase("new"):
            pass
    with phase("later"):
        pass
    second.stop()
    assert paths(first) == ["old"]
    assert paths(second, "enter") == paths(second) == ["new", "later"]


def test_a_phase_that_began_without_a_session_ends_without_one() -> None:
    with phase("before"):
        session = phasescope.start(backends=[FakeBackend()])
        with phase("inside"):
            pass
    session.stop()
    assert paths(session, "enter") == paths(session) == ["inside"]


def test_closing_twice_is_counted_and_nothing_else(session: Session) -> None:
    with phase("outer"):
        inner = phase("inner")
        with inner:
            pass
        inner.__exit__(None, None, None)
        with phase("next"):
            pass
    assert paths(session) == ["outer/inner", "outer/next", "outer"]
    assert session.irregular == 1


def test_closing_what_was_never_entered_is_counted_and_nothing_else(session: Session) -> None:
    never = phase("never")
    never.__exit__(None, None, None)  # without a session when it was made: nothing to say
    with phase("outer"):
        never.__exit__(None, None, None)
    assert paths(session) == ["outer"]


def test_closing_in_the_wrong_order_says_so(session: Session) -> None:
    outer, middle, inner = phase("outer"), phase("middle"), phase("inner")
    for scope in (outer, middle, inner):
        scope.__enter__()
    outer.__exit__(None, None, None)
    with phase("next"):
        pass
    inner.__exit__(None, None, None)
    middle.__exit__(None, None, None)
    assert notes(session) == {
        "outer": "closed before the phases inside it: inner, middle",
        "next": None,
        "outer/middle/inner": "closed from another context",
        "outer/middle": "closed after the phase around it",
    }
    assert {scope["status"] for scope in scopes(session)} == {"ok"}
    with phase("later"):
        pass
    assert paths(session)[-1] == "later"


def test_a_phase_closed_earlier_is_not_named_as_one_still_inside(session: Session) -> None:
    outer, inner = phase("outer"), phase("inner")
    outer.__enter__()
    inner.__enter__()
    phases_current = phase_context.get_current()
    inner.__exit__(None, None, None)
    phase_context.set_current(phases_current)  # as in a context that did not see the closing
    outer.__exit__(None, None, None)
    assert notes(session) == {"outer/inner": None, "outer": None}


def test_many_phases_left_open_are_named_up_to_a_bound(session: Session) -> None:
    outer = phase("outer")
    outer.__enter__()
    for _ in range(30):
        phase("\ud800" + "x" * 1000).__enter__()
    outer.__exit__(None, None, None)
    note = exit_of(session, "outer")["context"]
    assert note is not None
    assert note.count("xxx…") == 8


def test_a_phase_can_be_entered_again_while_it_is_open(session: Session) -> None:
    step = phase("step", n=1)
    with step:
        with phase("between"):
            with step:
                with step:
                    pass
        with phase("after"):
            pass
    assert paths(session) == [
        "step/between/step/step",
        "step/between/step",
        "step/between",
        "step/after",
        "step",
    ]
    assert set(notes(session).values()) == {None}
    assert all(scope.get("attributes") == {"n": 1} for scope in scopes(session) if scope["name"] == "step")
    assert session.irregular == 0


def test_a_phase_can_be_used_again_and_again(session: Session, clock: FakeClock) -> None:
    step = phase("step")
    for ms in (1, 2, 3):
        with step:
            clock.advance(ms=ms)
    assert [scope["duration_ns"] for scope in scopes(session)] == [1_000_000, 2_000_000, 3_000_000]
    assert len({scope["scope_id"] for scope in scopes(session)}) == 3


def test_recursion_is_followed_to_64_levels_and_stays_bounded_beyond(session: Session) -> None:
    def recurse(levels: int) -> None:
        with phase("level"):
            if levels > 1:
                recurse(levels - 1)

    remembered = path_module._remembered_bytes
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        recurse(2000)
    finally:
        sys.setrecursionlimit(limit)
    entered = scopes(session, "enter")
    assert [scope["depth"] for scope in entered] == [*range(1, 65), *[64] * 1936]
    parents = [scope["parent_scope_id"] for scope in entered]
    assert parents == [None, *(scope["scope_id"] for scope in entered[:-1])]
    assert len(scopes(session)) == 2000
    assert path_module._remembered_bytes - remembered < 64 * 2000
    with phase("after"):
        pass
    assert paths(session)[-1] == "after"


def test_names_beyond_the_deepest_level_are_kept(session: Session) -> None:
    stack = [phase(f"level {n}") for n in range(66)]
    for scope in stack:
        scope.__enter__()
    for scope in reversed(stack):
        scope.__exit__(None, None, None)
    deepest = scopes(session, "enter")[-1]
    assert deepest["name"] == "level 65"
    assert deepest["path"][:-1] == [f"level {n}" for n in range(63)]


def test_the_end_of_the_stack_comes_out_as_it_is(session: Session) -> None:
    depth = 0

    def endless() -> None:
        nonlocal depth
        depth += 1
        with phase("level"):
            endless()

    with pytest.raises(RecursionError), phase("root"):
        endless()
    assert depth > 50
    with phase("after"):
        pass
    sample(session)
    assert "after" in paths(session)
    assert list(session._writer.open) == []


@pytest.fixture
def paths_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the paths of the test afterwards: they count for the whole process, and later tests need theirs."""
    monkeypatch.setattr(path_module.ROOT, "children", dict(path_module.ROOT.children))
    monkeypatch.setattr(path_module, "_remembered_bytes", path_module._remembered_bytes)


@pytest.mark.usefixtures("paths_given_back")
def test_100000_names_take_bounded_memory(session: Session) -> None:
    before = path_module._remembered_bytes
    for number in range(100_000):
        with phase(f"step {number}"):
            pass
    assert before <= path_module._remembered_bytes <= path_module.MAX_REMEMBERED_BYTES
    held = sum(1 for thing in gc.get_objects() if type(thing) is path_module.Path)
    assert held <= path_module.MAX_REMEMBERED_BYTES // 700 + 1000
    newest = session.latest()
    assert newest is not None
    assert newest["metadata"]["phase_scope"]["path"] == ["step 99999"]


def test_a_long_name_is_cut_and_not_kept(session: Session) -> None:
    for number in range(10):
        with phase(f"{number}" * 10_000_000):
            pass
    assert [len(path) for path in paths(session)] == [MAX_TEXT] * 10
    assert not any(len(name) > MAX_TEXT for name in path_module.ROOT.children)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "unnamed"),
        (" \n", "unnamed"),
        ("a\ud800b", "a?b"),
        ("über µs", "über µs"),
        ("a\0b", "a\0b"),
        (None, "<NoneType>"),
        (7, "<int>"),
        (b"x" * 1000, "<bytes of 1000>"),
        (range(3), "<range>"),
    ],
)
def test_a_name_is_always_text(session: Session, given: Any, said: str) -> None:
    with phase(given):
        pass
    assert scopes(session)[0]["name"] == said


def exit_context(session: Session, index: int) -> Any:
    return events_of(session, "phase_exit")[index]["context"]


def live_phases() -> int:
    gc.collect()
    return sum(1 for thing in gc.get_objects() if type(thing) is phase)


def test_phases_that_are_never_left_are_closed_beyond_a_bound(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MAX_OPEN_PHASES", 1000)
    before = live_phases()
    for _ in range(3):
        for _ in range(1000):
            phase("leak").__enter__()
        sample(session)
        assert len(session._writer.open) == 1000
    assert live_phases() - before <= 1000 + 1
    abandoned = scopes(session)
    assert len(abandoned) == 2000
    assert {scope["status"] for scope in abandoned} == {"abandoned"}
    assert exit_context(session, 0) == "one of more than 1000 open phases"
    session.stop()
    assert len(scopes(session)) == 3000
    assert exit_context(session, -1) == "the session stopped while it was open"


def test_phases_handed_on_do_not_pile_up(session: Session) -> None:
    before = live_phases()
    open_phase = phase("step")
    open_phase.__enter__()
    for _ in range(1000):
        following = phase("step")
        following.__enter__()
        open_phase.__exit__(None, None, None)
        open_phase = following
    open_phase.__exit__(None, None, None)
    assert live_phases() - before < 10
    assert len(scopes(session)) == 1001


def test_nothing_is_dropped_or_irregular_in_a_normal_run(session: Session) -> None:
    for _ in range(100):
        with phase("epoch"), phase("step"):
            pass
    assert (session.dropped, session.irregular, session.degraded) == (0, 0, 0)
