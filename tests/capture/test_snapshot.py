"""A session answers a request for a snapshot while it trains: without the training's code, and without its objects."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, attach, phase
from phasescope.capture import other_threads
from phasescope.capture.snapshot import traced, types
from phasescope.readers import asking
from support.commands import needs_files
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session

pytestmark = needs_files
counts = pytest.mark.skipif(not _native.has_phases, reason="the compiled core counts")
has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
looks = pytest.mark.skipif(bool(other_threads.why_not()), reason=other_threads.why_not())
walks = pytest.mark.skipif(not has_gil, reason="objects are not counted while other threads run")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with phasescope.start(directory=tmp_path, backends=["cpu"], interval_ms=10) as started:
        yield started


def asked(session: Session, meanwhile: Callable[[], None], wait_s: float = 60.0) -> dict[str, Any]:
    """The answer to another thread's request, while this one does something again and again."""
    found: list[Any] = []

    def ask() -> None:
        try:
            with attach(str(session.path)) as reader:
                found.append(asking.snapshot(reader, wait_s=wait_s, timeout_s=60))
        except Exception as error:
            found.append(error)

    asker = threading.Thread(target=ask, name="asker")
    asker.start()
    while asker.is_alive():
        meanwhile()
        time.sleep(0.001)
    asker.join()
    (answer,) = found
    assert isinstance(answer, dict), answer
    return answer


def left_beside(session: Session) -> list[str]:
    return [path.name for path in Path(str(session.path)).parent.iterdir() if path.suffix != ".ring"]


def step() -> None:
    with phase("step"), phase("forward"):
        pass


@looks
def test_the_threads_are_told_with_names_lines_and_phases(session: Session) -> None:
    class Named(threading.Thread):
        @property
        def name(self) -> str:  # type: ignore[override]
            raise AssertionError("the training's code was run")

    told = threading.Event()
    go_on = threading.Event()

    def waiting_here() -> None:
        with phase("in the other"):
            told.set()
            go_on.wait()

    other = Named(target=waiting_here)
    other._name = "the other"  # type: ignore[attr-defined]
    other.start()
    told.wait()
    snapshot = asked(session, step)
    go_on.set()
    other.join()
    by_name = {thread["name"]: thread for thread in snapshot["threads"]}
    assert next(iter(by_name)) == "MainThread"
    assert by_name["the other"]["phase"] == ["in the other"]
    frame = next(each for each in by_name["the other"]["frames"] if "waiting_here" in each["function"])
    assert (frame["file"], frame["line"]) == (__file__, waiting_here.__code__.co_firstlineno + 3)
    assert not any("phasescope" in (thread["name"] or "") for thread in snapshot["threads"])
    assert not any(f"{os.sep}phasescope{os.sep}capture" in each["file"] for each in by_name["the other"]["frames"])


class Kept:
    pass


class _Meta(type):
    def __hash__(cls) -> int:
        raise AssertionError("the training's code was run")

    __eq__ = __hash__  # type: ignore[assignment]


class Hostile(metaclass=_Meta):
    pass


@walks
def test_objects_are_counted_by_class_without_running_their_code_or_keeping_them(session: Session) -> None:
    kept = [Kept() for _ in range(60_000)]  # more than other tests of this process have left of theirs
    hostile = [Hostile() for _ in range(40_000)]
    for each in (*kept, *hostile):
        each.__dict__["self"] = []  # the collector knows only of what can be in a cycle
    gone = weakref.ref(kept[0])
    snapshot = asked(session, step)
    found = dict(map(tuple, snapshot["objects"]["types"]))
    assert found.get(f"{__name__}.Kept") == 60_000
    assert found.get(f"{__name__}.Hostile") == 40_000
    assert snapshot["objects"]["objects"] > 100_000
    kept.clear()
    del each
    gc.collect()
    assert gone() is None
    assert (gc.isenabled(), session.dropped) == (True, 0)


@walks
def test_very_many_objects_are_not_counted_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "_MOST_BLOCKS", 10)
    assert "too many objects" in types.types()["why_not"]


@counts
def test_tensors_are_counted_at_the_end_of_the_step_by_the_thread_that_trains(session: Session) -> None:
    torch = pytest.importorskip("torch")
    losses = [torch.zeros(32, 1000) for _ in range(40)]
    threads: set[int] = set()
    freed: list[int] = []
    weakref.finalize(losses[0], lambda: freed.append(threading.get_ident()))

    def training_step() -> None:
        threads.add(threading.get_ident())
        step()

    tensors = asked(session, training_step)["tensors"]
    assert (tensors["at"], tensors["is_step_end"]) == (["step"], True)
    group = next(each for each in tensors["largest"] if each["shape"] == [32, 1000])
    assert (group["dtype"], group["count"], group["bytes"]) == ("float32", 40, 40 * 32 * 1000 * 4)
    assert group["keeper"]["expression"].startswith("losses")
    losses.clear()
    assert freed == [threading.get_ident()]


@counts
def test_a_census_that_is_on_goes_on_as_if_nobody_had_asked(tmp_path: Path) -> None:
    with phasescope.start(directory=tmp_path, backends=["cpu"], interval_ms=10, census=True) as session:
        for _ in range(7):
            step()
        asked(session, lambda: None, wait_s=0)
        found = asked(session, step)["tensors"]
        assert found["is_step_end"]
        assert session._writer.asked is None
        until(lambda: step() or (session._optional.census and session._optional.census._taken))  # type: ignore[func-returns-value]


@counts
def test_a_training_that_ends_no_phase_says_so(session: Session) -> None:
    snapshot = asked(session, lambda: None, wait_s=0.05)
    assert "no phase ended" in snapshot["tensors"]["why_not"]
    assert snapshot["threads"]
    assert session._writer.asked is None


def test_two_askers_at_once_both_get_an_answer(session: Session) -> None:
    answers: list[Any] = []

    def ask() -> None:
        with attach(str(session.path)) as reader:
            answers.append(asking.snapshot(reader, wait_s=0, timeout_s=60))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert [answer["kind"] for answer in answers] == ["snapshot"] * 3
    assert left_beside(session) == []


def test_a_session_that_ends_meanwhile_answers_with_what_it_has(tmp_path: Path) -> None:
    session = phasescope.start(directory=tmp_path, backends=["cpu"], interval_ms=10)

    def stop_once_taken() -> None:
        requests = session._sampler.requests
        if requests is not None and requests._taken is not None:
            session.stop()

    try:
        tensors = asked(session, stop_once_taken)["tensors"]
    except AssertionError as error:
        assert "it ended before it answered" in str(error)  # noqa: PT017 - read as the session's lock went
    else:
        assert "ended" in tensors["why_not"] or "compiled core" in tensors["why_not"]
    session.stop()


def test_requests_can_be_off(tmp_path: Path) -> None:
    with phasescope.start(directory=tmp_path, backends=["cpu"], requests=False) as session:
        assert session._sampler.requests is None
        with attach(str(session.path)) as reader, pytest.raises(asking.NoAnswerError, match="requests=False"):
            asking.snapshot(reader, wait_s=0, timeout_s=0)


def test_a_sampler_that_does_not_come_to_look_is_said_and_the_request_is_withdrawn(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session._sampler.stop()
    with attach(str(session.path)) as reader, pytest.raises(asking.NoAnswerError, match="did not see the request"):
        asking.snapshot(reader, wait_s=0, timeout_s=0.05)
    assert left_beside(session) == []
    monkeypatch.setattr(asking, "silence_ns", lambda *_: 12_000_000_000)
    with attach(str(session.path)) as reader, pytest.raises(asking.NoAnswerError, match="held in C code"):
        asking.snapshot(reader, wait_s=0, timeout_s=0)


@pytest.fixture
def tracing() -> Iterator[None]:
    if tracemalloc.is_tracing():
        pytest.skip("it runs already")
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("tracing")
def test_lines_are_told_where_tracemalloc_runs(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [bytearray(1000) for _ in range(5000)]
    line = sys._getframe().f_lineno - 1
    told = asked(session, step)["traced"]
    (entry,) = (each for each in told["lines"] if (each["file"], each["line"]) == (__file__, line))
    assert entry["bytes"] >= 5000 * 1000
    assert entry["count"] >= 5000
    monkeypatch.setattr(traced, "MOST_TRACES_BYTES", 10)
    assert "too many allocations" in traced.traced()["why_not"]
    assert len(kept) == 5000


def test_without_tracemalloc_it_says_how_to_have_it(session: Session) -> None:
    with contextlib.suppress(AttributeError):
        assert not tracemalloc.is_tracing()
    assert "tracemalloc" in asked(session, step)["traced"]["why_not"]
