"""Phases in many threads: each has its own nesting, and nothing of one is lost or mixed into another."""

from __future__ import annotations

import _thread
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.testing import FakeBackend, sample
from support.assertions import events_of, exit_of, paths, scopes
from support.fakes.processes import in_new_python
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral

WRITERS = 8


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()]) as session:
        yield session


@pytest.fixture
def _switching_often() -> Iterator[None]:
    """Threads take turns every few bytecodes instead of every 5 ms."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def run_in_threads(work: Callable[[int], object], count: int = WRITERS) -> None:
    """Run `work(number)` in `count` threads, all at once. What one raises fails the test."""
    gate = threading.Barrier(count)

    def begin(number: int) -> object:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count, thread_name_prefix="writer") as pool:
        for future in [pool.submit(begin, number) for number in range(count)]:
            future.result()


@pytest.mark.usefixtures("_switching_often")
def test_eight_writers_lose_nothing_and_keep_their_own_nesting(session: Session) -> None:
    def work(number: int) -> None:
        for step in range(300):
            with phase(f"writer {number}", step=step):
                with phase("forward"):
                    pass
                with phase("backward"):
                    pass

    run_in_threads(work)
    counted = Counter(paths(session))
    for number in range(WRITERS):
        for path in (f"writer {number}", f"writer {number}/forward", f"writer {number}/backward"):
            assert counted[path] == 300
    assert sum(counted.values()) == WRITERS * 900
    assert (session.dropped, session.irregular) == (0, 0)
    by_thread: dict[int, list[int]] = {}
    for scope in scopes(session):
        if scope["depth"] == 1:
            assert scope["thread_name"].startswith("writer_")
            by_thread.setdefault(scope["thread_id"], []).append(scope["attributes"]["step"])
    assert sorted(by_thread.values()) == [list(range(300))] * WRITERS


@pytest.mark.usefixtures("_switching_often")
def test_one_phase_object_shared_by_threads_loses_nothing(session: Session) -> None:
    shared = phase("shared")

    def work(number: int) -> None:
        for _ in range(300):
            with shared:
                with phase(f"inner {number}"):
                    pass

    run_in_threads(work)
    counted = Counter(paths(session))
    assert counted["shared"] == WRITERS * 300
    for number in range(WRITERS):
        assert counted[f"shared/inner {number}"] == 300
    assert len(paths(session, "enter")) == len(paths(session)) == WRITERS * 600
    assert {event["context"] for event in events_of(session, "phase_exit")} == {None}
    assert (session.dropped, session.irregular) == (0, 0)
    for scope in scopes(session):
        assert scope["duration_ns"] >= 0


@pytest.mark.usefixtures("_switching_often")
def test_stop_while_others_write_leaves_every_phase_closed() -> None:
    for _ in range(10):
        session = phasescope.start(backends=[FakeBackend()])
        going, started = threading.Event(), threading.Barrier(5)

        def work(going: threading.Event = going, started: threading.Barrier = started) -> None:
            started.wait()
            while not going.is_set():
                with phase("outer"):
                    with phase("inner"):
                        pass

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        session.stop()
        going.set()
        for thread in threads:
            thread.join()
        entered = {scope["scope_id"] for scope in scopes(session, "enter")}
        assert entered == {scope["scope_id"] for scope in scopes(session)}
        assert events_of(session)[-1]["event_type"] == "stop"


def test_a_phase_closed_from_another_thread_says_so(session: Session) -> None:
    scope = phase("handed over")
    scope.__enter__()
    thread = threading.Thread(target=scope.__exit__, args=(None, None, None), name="closer")
    thread.start()
    thread.join()
    event = exit_of(session, "handed over")
    assert event["context"] == "closed from thread 'closer'"
    assert event["metadata"]["phase_scope"]["thread_name"] == threading.current_thread().name
    with phase("next"):
        pass
    assert paths(session) == ["handed over", "next"]


def test_a_phase_closed_from_another_thread_does_not_disturb_what_is_open_there(session: Session) -> None:
    scope = phase("handed over")
    scope.__enter__()

    def close() -> None:
        with phase("other"):
            scope.__exit__(None, None, None)
            with phase("inside"):
                pass

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert paths(session) == ["handed over", "other/inside", "other"]


def test_a_thread_begins_outside_of_its_parents_phases(session: Session) -> None:
    def work(_number: int) -> None:
        with phase("inside"):
            pass

    with phase("outside"):
        run_in_threads(work, 1)
    assert paths(session) == ["inside", "outside"]


def test_samples_speak_of_the_thread_that_started_the_session(session: Session) -> None:
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with phase("loader"):
            inside.set()
            over.wait(CEILING_S)

    thread = threading.Thread(target=work)
    with phase("step"):
        thread.start()
        inside.wait(CEILING_S)
        sample(session)
    sample(session)
    over.set()
    thread.join()
    sample(session)
    named = [event["metadata"].get("phase_scope", {}).get("path") for event in events_of(session, "sample")[-3:]]
    assert named == [["step"], ["loader"], None]


@pytest.mark.parametrize(
    ("given", "said"),
    [("", "unnamed"), ("a\ud800b", "a?b"), ("n" * 1000, "n" * 199 + "…"), ("größer", "größer")],
)
def test_a_threads_name_is_always_text(session: Session, given: str, said: str) -> None:
    def work() -> None:
        with phase("step"):
            pass

    thread = threading.Thread(target=work)
    thread.name = given
    thread.start()
    thread.join()
    assert scopes(session)[0]["thread_name"] == said


def test_a_threads_own_idea_of_its_name_is_not_followed_into_an_error(session: Session) -> None:
    class Hostile(threading.Thread):
        @property
        def name(self) -> Any:
            raise RuntimeError("no name")

        @name.setter
        def name(self, value: str) -> None:
            pass

        def run(self) -> None:
            with phase("step"):
                pass

    thread = Hostile()
    thread.start()
    thread.join()
    assert scopes(session)[0]["thread_name"] == f"thread {thread.ident}"


def test_a_thread_that_python_does_not_know_is_not_made_known(session: Session) -> None:
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        with phase("step"):
            pass
        done.release()

    before = threading.enumerate()
    _thread.start_new_thread(work, ())
    done.acquire()
    assert threading.enumerate() == before
    assert scopes(session)[0]["thread_name"].startswith("thread ")


@pytest.mark.parametrize("pure", ["0", "1"])
@pytest.mark.parametrize("inside", ["", "inner.__enter__()"], ids=["innermost", "with another inside"])
def test_one_that_another_thread_has_closed_can_be_entered_again(
    inside: str, pure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its context still leads to it: as its own parent it would let the next phase look for an open one for ever."""
    monkeypatch.setenv(_native.SWITCH, pure)
    said = in_new_python(
        f"""
        import threading
        from phasescope import phase, start

        with start(backends=["cpu"], interval_ms=3_600_000) as session:
            closed, inner = phase("closed elsewhere"), phase("inner")
            with phase("outer"):
                closed.__enter__()
                {inside}
                thread = threading.Thread(target=closed.__exit__, args=(None, None, None))
                thread.start()
                thread.join()
                with closed, closed:
                    pass
                with phase("next"):
                    pass
            with phase("after"):
                pass
        exits = [event for event in session.events() if event["event_type"] == "phase_exit"]
        print(*("/".join(event["metadata"]["phase_scope"]["path"]) for event in exits), sep="\\n")
        """
    )
    around = "outer/closed elsewhere/inner" if inside else "outer"
    again = f"{around}/closed elsewhere"
    expected = ["outer/closed elsewhere", f"{again}/closed elsewhere", again, f"{around}/next", "outer", "after"]
    left_open = ["outer/closed elsewhere/inner"] if inside else []
    assert [line for line in said.splitlines() if line not in left_open] == expected
