"""Phases in asyncio: every task has its own nesting, whichever way they interleave."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend
from support.assertions import events_of, paths, scopes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()]) as session:
        yield session


def notes(session: Session) -> set[str | None]:
    return {event["context"] for event in events_of(session, "phase_exit")}


def test_interleaved_tasks_keep_their_own_nesting(session: Session) -> None:
    async def work(name: str, turns: list[asyncio.Event]) -> None:
        with phase(name):
            turns[0].set()
            await turns[1].wait()
            with phase("inner"):
                turns[2].set()
                await turns[3].wait()

    async def main() -> None:
        a, b, c, d = (asyncio.Event() for _ in range(4))
        first = asyncio.create_task(work("first", [a, b, c, d]))
        second = asyncio.create_task(work("second", [b, a, d, c]))
        await asyncio.gather(first, second)

    asyncio.run(main())
    with phase("later"):
        pass
    assert sorted(paths(session)) == ["first", "first/inner", "later", "second", "second/inner"]
    assert notes(session) == {None}
    assert session.irregular == 0


def test_gathered_tasks_nest_in_the_phase_that_started_them(session: Session) -> None:
    async def fetch(number: int) -> None:
        with phase(f"fetch {number}"):
            await asyncio.sleep(0.001 * (3 - number))

    async def main() -> None:
        with phase("batch"):
            await asyncio.gather(*(fetch(number) for number in range(3)))

    asyncio.run(main())
    assert sorted(paths(session)) == ["batch", *(f"batch/fetch {number}" for number in range(3))]
    assert paths(session)[-1] == "batch"


def test_a_task_that_outlives_its_parents_phase_goes_on_outside_of_it(session: Session) -> None:
    async def outlive(over: asyncio.Event) -> None:
        with phase("long"):
            await over.wait()
            with phase("inner"):
                pass
        with phase("later"):
            pass

    async def main() -> None:
        over = asyncio.Event()
        with phase("parent"):
            task = asyncio.create_task(outlive(over))
            await asyncio.sleep(0)
        with phase("next"):
            over.set()
            await task

    asyncio.run(main())
    assert paths(session) == ["parent", "parent/long/inner", "parent/long", "later", "next"]
    assert notes(session) == {None}
    long = next(scope for scope in scopes(session) if scope["name"] == "long")
    parent = next(scope for scope in scopes(session) if scope["name"] == "parent")
    assert long["parent_scope_id"] == parent["scope_id"]


def test_tasks_that_start_each_other_forever_do_not_pile_up(session: Session) -> None:
    def live() -> int:
        gc.collect()
        return sum(1 for thing in gc.get_objects() if type(thing) is phase)

    async def relay(left: int) -> None:
        with phase("leg"):
            if left:
                following.append(asyncio.create_task(relay(left - 1)))
                await asyncio.sleep(0)
        if left:
            await asyncio.sleep(0)

    following: list[asyncio.Task[None]] = []

    async def main() -> None:
        following.append(asyncio.create_task(relay(300)))
        while following:
            await following.pop(0)
        assert live() - before < 20

    before = live()
    asyncio.run(main())
    assert len(paths(session)) == 301


def test_an_exception_in_a_task_is_the_one_that_comes_out(session: Session) -> None:
    raised = ValueError("no")

    async def fail() -> None:
        with phase("inner"):
            await asyncio.sleep(0)
            raise raised

    async def main() -> None:
        with phase("outer"):
            await asyncio.create_task(fail())

    with pytest.raises(ValueError, match="no") as caught:
        asyncio.run(main())
    assert caught.value is raised
    assert [scope["status"] for scope in scopes(session)] == ["error", "error"]


def test_a_cancelled_task_closes_its_phases(session: Session) -> None:
    async def wait() -> None:
        with phase("outer"), phase("inner"):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert paths(session) == ["outer/inner", "outer"]
    assert {scope["error_type"] for scope in scopes(session)} == {"CancelledError"}


def test_work_given_to_a_thread_nests_in_the_phase_of_its_task(session: Session) -> None:
    def decode() -> None:
        with phase("decode"):
            pass

    async def main() -> None:
        with phase("load"):
            await asyncio.to_thread(decode)

    asyncio.run(main())
    assert paths(session) == ["load/decode", "load"]
    assert len({scope["thread_id"] for scope in scopes(session)}) == 2


def test_an_async_generator_closed_late_disturbs_nobody(session: Session) -> None:
    async def stream() -> AsyncIterator[int]:
        with phase("stream"):
            yield 1
            yield 2

    async def main() -> None:
        with phase("consumer"):
            items = stream()
            assert await anext(items) == 1
        with phase("after"):
            pass
        del items
        gc.collect()
        await asyncio.sleep(0)  # the loop closes it in a task of its own
        await asyncio.sleep(0)
        with phase("last"):
            pass

    asyncio.run(main())
    assert sorted(paths(session)) == ["after", "consumer", "consumer/stream", "last"]
    assert {scope["status"] for scope in scopes(session)} == {"ok"}


def test_a_loop_that_ends_with_generators_open_closes_them(session: Session) -> None:
    async def stream() -> AsyncIterator[int]:
        with phase("stream"):
            yield 1

    kept = []

    async def main() -> None:
        items = stream()
        kept.append(items)
        await anext(items)

    asyncio.run(main())
    assert paths(session) == ["stream"]
    with phase("after"):
        pass
    assert paths(session)[-1] == "after"


def test_one_phase_object_shared_by_tasks(session: Session) -> None:
    shared = phase("shared")

    async def work(number: int) -> None:
        with shared:
            await asyncio.sleep(0)
            with phase(f"inner {number}"):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(5)))

    asyncio.run(main())
    assert sorted(paths(session)) == [*["shared"] * 5, *(f"shared/inner {number}" for number in range(5))]
    assert notes(session) == {None}
    assert session.irregular == 0
