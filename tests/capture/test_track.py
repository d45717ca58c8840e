"""track(): each fetch is a phase, and nothing else about the loop changes."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase, track
from phasescope.testing import FakeBackend, FakeClock
from support.assertions import events_of, paths, scopes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


class Batch:
    """Something that can be seen to be gone."""


class Failure(Exception):
    """The loader's own."""


def test_each_fetch_is_a_phase_and_the_body_is_outside(session: Session, clock: FakeClock) -> None:
    def loader() -> Iterator[int]:
        for number in range(3):
            clock.advance(ms=2)
            yield number

    seen = []
    with phase("epoch"):
        for number in track(loader()):
            clock.advance(ms=50)
            with phase("step"):
                seen.append(number)
    assert seen == [0, 1, 2]
    assert paths(session) == [*["epoch/data", "epoch/step"] * 3, "epoch/data", "epoch"]
    fetches = [scope["duration_ns"] for scope in scopes(session) if scope["name"] == "data"]
    assert fetches == [2_000_000, 2_000_000, 2_000_000, 0]


def test_the_fetch_that_only_finds_the_end_is_marked(session: Session) -> None:
    assert list(track([1, 2], name="batches", split="train")) == [1, 2]
    marks = [event["metadata"].get("exhausted") for event in events_of(session, "phase_exit")]
    assert marks == [None, None, True]
    assert {scope["status"] for scope in scopes(session)} == {"ok"}
    assert all(scope["attributes"] == {"split": "train"} for scope in scopes(session))
    assert set(paths(session)) == {"batches"}


def test_an_empty_iterable_is_one_fetch(session: Session) -> None:
    assert list(track([])) == []
    assert [event["metadata"].get("exhausted") for event in events_of(session, "phase_exit")] == [True]


def test_length_and_truth_are_those_of_the_iterable() -> None:
    assert len(track([1, 2, 3])) == 3
    assert track([1])
    assert not track([])
    made = track(number for number in range(3))
    assert made
    with pytest.raises(TypeError, match="no len"):
        len(made)
    assert list(made) == [0, 1, 2]


def test_it_can_be_iterated_again_and_twice_at_once(session: Session) -> None:
    made = track([1, 2])
    assert list(made) == list(made) == [1, 2]
    assert [(a, b) for a in made for b in made] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_without_a_session_it_only_iterates() -> None:
    assert list(track(iter([1, 2]))) == [1, 2]


@pytest.mark.parametrize("kind", [Failure, KeyboardInterrupt, SystemExit, RuntimeError])
def test_what_the_loader_raises_comes_out_as_it_is(session: Session, kind: type[BaseException]) -> None:
    raised = kind()

    def loader() -> Iterator[int]:
        yield 1
        raise raised

    with pytest.raises(kind) as caught:
        for _ in track(loader()):
            pass
    assert caught.value is raised
    assert raised.__context__ is None
    assert scopes(session)[-1]["error_type"] == kind.__name__
    with phase("after"):
        pass
    assert paths(session)[-1] == "after"


def test_what_can_not_be_iterated_says_so_as_without_us(session: Session) -> None:
    wrong: Any = 7
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        for _ in track(wrong):
            pass
    assert scopes(session)[-1]["error_type"] == "TypeError"


def test_starting_the_iterator_counts_as_fetching(session: Session, clock: FakeClock) -> None:
    class Loader:
        def __iter__(self) -> Iterator[int]:
            clock.advance(ms=7)  # as a DataLoader that starts its workers
            return iter([1])

    assert list(track(Loader())) == [1]
    assert scopes(session)[0]["duration_ns"] == 7_000_000


def test_an_exception_in_the_body_is_no_business_of_the_loader(session: Session) -> None:
    with pytest.raises(Failure), phase("epoch"):
        for _ in track([1, 2]):
            raise Failure
    assert [(scope["name"], scope["status"]) for scope in scopes(session)] == [("data", "ok"), ("epoch", "error")]


def test_break_closes_the_loader_at_once(session: Session) -> None:
    closed = []

    def loader() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    with phase("epoch"):
        for number in track(loader()):
            if number == 2:
                break
        assert closed == [True]
    assert paths(session) == [*["epoch/data"] * 3, "epoch"]


def test_a_batch_lives_no_longer_than_without_us(session: Session) -> None:
    alive: list[int] = []
    refs: list[weakref.ref[Batch]] = []

    def loader() -> Iterator[Batch]:
        for _ in range(3):
            alive.append(sum(1 for ref in refs if ref() is not None))
            batch: Batch | None = Batch()
            assert batch is not None
            refs.append(weakref.ref(batch))
            made, batch = batch, None
            box.append(made)
            del made
            yield box.pop()

    box: list[Batch] = []
    for batch in track(loader()):
        del batch  # the body lets go of it: nobody else may hold it, now or while the next is fetched
        assert refs[-1]() is None
    assert alive == [0, 0, 0]


def test_phases_that_the_loader_opens_nest_in_the_fetch(session: Session) -> None:
    class Rows:
        def __init__(self) -> None:
            self.left = 2

        def __iter__(self) -> Rows:
            return self

        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            with phase("decode"):
                return self.left

    assert list(track(Rows())) == [1, 0]
    assert paths(session) == ["data/decode", "data", "data/decode", "data", "data"]


def test_a_session_that_starts_and_stops_within_the_loop() -> None:
    seen = []
    for number in track(range(6)):
        if number == 2:
            session = phasescope.start(backends=[FakeBackend()])
        if number == 4:
            session.stop()
        seen.append(number)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert paths(session) == ["data", "data"]
    assert session.irregular == 0
