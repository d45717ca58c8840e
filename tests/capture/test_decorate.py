"""@phase(...) on functions of every kind: each call is a phase, and the function stays what it was."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _log, phase
from phasescope.testing import FakeBackend, FakeClock
from support.assertions import events_of, paths, scopes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


class Failure(Exception):
    """The training's own."""


class Thing:
    """Something that can be seen to be gone."""


def test_a_function_stays_what_it_was(session: Session) -> None:
    @phase("forward", model="mlp")
    def forward(x: int, *, bias: int = 0) -> int:
        """Doubles."""
        return 2 * x + bias

    assert forward(2, bias=1) == 5
    assert forward(3) == 6
    assert forward.__name__ == "forward"
    assert forward.__doc__ == "Doubles."
    assert str(inspect.signature(forward)) == "(x: 'int', *, bias: 'int' = 0) -> 'int'"
    assert paths(session) == ["forward", "forward"]
    assert scopes(session)[0]["attributes"] == {"model": "mlp"}


def test_a_decorated_function_works_without_a_session() -> None:
    @phase("forward")
    def forward(x: int) -> int:
        return x + 1

    assert forward(1) == 2


def test_recursion_and_threads_each_get_their_own_phase(session: Session) -> None:
    @phase("level")
    def recurse(levels: int) -> int:
        return 1 + recurse(levels - 1) if levels else 0

    assert recurse(3) == 3
    assert paths(session) == ["level/level/level/level", "level/level/level", "level/level", "level"]


def test_methods_of_every_kind(session: Session) -> None:
    class Model:
        @phase("plain")
        def plain(self) -> Model:
            return self

        @phase("static")
        @staticmethod
        def static(x: int) -> int:
            return x

        @staticmethod
        @phase("static inside")
        def static_inside(x: int) -> int:
            return x

        @phase("class")
        @classmethod
        def of_class(cls) -> type[Model]:
            return cls

        @property
        @phase("property")
        def value(self) -> int:
            return 7

    model = Model()
    assert model.plain() is model
    assert (model.static(1), Model.static(2), model.static_inside(3)) == (1, 2, 3)
    assert model.of_class() is Model
    assert model.value == 7
    assert paths(session) == ["plain", "static", "static", "static inside", "class", "property"]


def test_builtins_partials_and_callable_objects(session: Session) -> None:
    class Model:
        def __call__(self, x: int) -> int:
            return x + 1

    assert phase("len")(len)([1, 2]) == 2
    assert phase("partial")(functools.partial(pow, 2))(5) == 32
    assert phase("model")(Model())(1) == 2
    assert paths(session) == ["len", "partial", "model"]


@pytest.mark.parametrize("thing", [Thing, 7, None, "text"])
def test_what_can_not_be_decorated_stays_as_it_is_with_one_log_line(
    session: Session, thing: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_log, "_said", set())
    with caplog.at_level(logging.WARNING):
        assert phase("no")(thing) is thing
        assert phase("no")(thing) is thing
    assert len(caplog.records) == 1


def plain(batch: Any) -> int:
    return len(batch)


async def coroutine() -> None: ...


def generator(batch: Any = None) -> Iterator[int]:
    yield 1


class CallableObject:
    def __call__(self) -> None: ...


@pytest.mark.parametrize("running", [True, False], ids=["with a session", "without one"])
@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (plain, 'not <function>: write @phase("plain") above the function'),
        (coroutine, 'not <function>: write @phase("coroutine") above the function'),
        (generator, 'write @phase("generator")'),
        (lambda: 1, 'write @phase("<lambda>")'),
        (staticmethod(plain), 'not <staticmethod>: write @phase("name") above the function'),
        (classmethod(generator), "not <classmethod>"),
        (property(plain), "not <property>"),
        (functools.partial(plain), "not <functools.partial>"),
        (functools.lru_cache(plain), "not <functools._lru_cache_wrapper>"),
        (Thing().__repr__, "not <method-wrapper>"),
        (len, "not <builtin_function_or_method>"),
        (CallableObject(), f"not <{__name__}.CallableObject>"),
        (Thing, 'phase() decorates functions, not a class: write @phase("name") on the methods of Thing'),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_bare_phase_raises_where_it_is_written(thing: Any, said: str, running: bool) -> None:
    with (
        phasescope.start(backends=[FakeBackend()]) if running else contextlib.nullcontext(),
        pytest.raises(TypeError) as raised,
    ):
        phase(thing)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_exception_comes_out_as_it_is(session: Session) -> None:
    raised = Failure()

    @phase("forward")
    def forward() -> None:
        raise raised

    with pytest.raises(Failure) as caught:
        forward()
    assert caught.value is raised
    assert raised.__context__ is None
    assert scopes(session)[0]["error_type"] == "Failure"


def test_a_coroutine_function_is_a_phase_while_it_runs(session: Session, clock: FakeClock) -> None:
    @phase("fetch")
    async def fetch(x: int) -> int:
        clock.advance(ms=2)
        await asyncio.sleep(0)
        with phase("inner"):
            return x

    async def main() -> tuple[int, int]:
        first, second = await asyncio.gather(fetch(1), fetch(2))
        return first, second

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.run(main()) == (1, 2)
    assert sorted(paths(session)) == ["fetch", "fetch", "fetch/inner", "fetch/inner"]
    assert all(scope["duration_ns"] >= 2_000_000 for scope in scopes(session) if scope["name"] == "fetch")


def test_an_object_whose_call_is_a_coroutine_is_awaited_inside_the_phase(session: Session, clock: FakeClock) -> None:
    class Model:
        async def __call__(self) -> int:
            clock.advance(ms=3)
            return 7

    assert asyncio.run(phase("model")(Model())()) == 7
    assert scopes(session)[0]["duration_ns"] == 3_000_000


def test_a_coroutine_that_is_never_awaited_opens_nothing(session: Session) -> None:
    @phase("fetch")
    async def fetch() -> None:
        pass

    fetch().close()
    assert paths(session, "enter") == []


@phase("numbers")
def numbers(count: int) -> Generator[int, Any, str]:
    with phase("make"):
        pass
    yield from range(count)
    with phase("end"):
        pass
    return "done"


def test_a_generator_is_a_phase_from_its_first_item_to_its_end(session: Session) -> None:
    made = numbers(2)
    assert inspect.isgeneratorfunction(numbers)
    assert paths(session, "enter") == []
    assert list(made) == [0, 1]
    assert paths(session) == ["numbers/make", "numbers/end", "numbers"]
    assert events_of(session, "phase_exit")[-1]["context"] is None


def test_what_the_consumer_opens_between_two_items_is_not_inside(session: Session) -> None:
    with phase("epoch"):
        for _ in numbers(2):
            with phase("step"):
                pass
    assert paths(session) == [
        "epoch/numbers/make",
        "epoch/step",
        "epoch/step",
        "epoch/numbers/end",
        "epoch/numbers",
        "epoch",
    ]
    assert {event["context"] for event in events_of(session, "phase_exit")} == {None}


def test_a_generator_consumed_across_phases_returns_to_each(session: Session) -> None:
    made = numbers(2)
    with phase("first"):
        next(made)
        with phase("inside first"):
            pass
    with phase("second"):
        assert list(made) == [1]
        with phase("inside second"):
            pass
    with phase("third"):
        pass
    assert paths(session, "enter") == [
        "first",
        "first/numbers",
        "first/numbers/make",
        "first/inside first",
        "second",
        "first/numbers/end",
        "second/inside second",
        "third",
    ]


def test_a_phase_open_inside_a_generator_across_a_yield(session: Session) -> None:
    @phase("outer")
    def make() -> Iterator[int]:
        with phase("held"):
            yield 1
            with phase("deep"):
                yield 2

    for _ in make():
        with phase("body"):
            pass
    assert paths(session, "enter") == ["outer", "outer/held", "body", "outer/held/deep", "body"]
    assert {event["context"] for event in events_of(session, "phase_exit")} == {None}


def test_what_is_sent_thrown_and_returned_goes_through(session: Session) -> None:
    raised = Failure()
    seen: list[Any] = []

    @phase("echo")
    def echo() -> Generator[Any, Any, str]:
        seen.append((yield "first"))
        try:
            yield "second"
        except Failure as error:
            seen.append(error)
        yield "third"
        return "value"

    made = echo()
    assert next(made) == "first"
    assert made.send("hello") == "second"
    assert made.throw(raised) == "third"
    with pytest.raises(StopIteration) as caught:
        next(made)
    assert caught.value.value == "value"
    assert seen == ["hello", raised]
    assert scopes(session)[0]["status"] == "ok"


def test_yield_from_a_decorated_generator(session: Session) -> None:
    def outer() -> Generator[int, Any, None]:
        assert (yield from numbers(2)) == "done"

    assert list(outer()) == [0, 1]


def test_a_generator_that_raises_is_an_error(session: Session) -> None:
    raised = Failure()

    @phase("fails")
    def fails() -> Iterator[int]:
        yield 1
        raise raised

    made = fails()
    next(made)
    with pytest.raises(Failure) as caught:
        next(made)
    assert caught.value is raised
    assert raised.__context__ is None
    assert scopes(session)[0]["error_type"] == "Failure"
    with phase("after"):
        pass
    assert paths(session)[-1] == "after"


def test_a_generator_that_is_closed_early_ends_well(session: Session) -> None:
    cleaned = []

    @phase("partly")
    def partly() -> Iterator[int]:
        try:
            yield 1
        finally:
            with phase("clean up"):
                cleaned.append(True)

    with phase("epoch"):
        for _ in partly():
            with phase("step"):
                break
    assert cleaned == [True]
    assert paths(session, "enter")[:3] == ["epoch", "epoch/partly", "epoch/step"]
    assert "epoch/partly/clean up" in paths(session)
    assert {scope["status"] for scope in scopes(session)} == {"ok"}


def test_a_generator_that_refuses_to_close_is_told_so_as_without_us(session: Session) -> None:
    @phase("stubborn")
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    made = stubborn()
    next(made)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        made.close()  # type: ignore[attr-defined]


def test_a_generator_closed_by_the_garbage_collector_leaves_others_alone(session: Session) -> None:
    made: Any = numbers(3)
    next(made)
    holder = {"self": made}
    holder["cycle"] = holder  # only the collector can free it
    with phase("busy"):
        del made, holder
        gc.collect()
        with phase("inner"):
            pass
    assert paths(session) == ["numbers/make", "numbers", "busy/inner", "busy"]
    assert {scope["status"] for scope in scopes(session)} == {"ok"}


def test_a_generator_outlives_its_session() -> None:
    with phasescope.start(backends=[FakeBackend()]) as first:
        made = numbers(3)
        next(made)
    with phasescope.start(backends=[FakeBackend()]) as second, phase("consumer"):
        assert next(made) == 1
        with phase("inside"):
            pass
        assert list(made) == [2]
    assert paths(first) == ["numbers/make", "numbers"]
    assert paths(second) == ["consumer/inside", "consumer/end", "consumer"]


def test_a_generator_that_began_without_a_session(clock: FakeClock) -> None:
    made = numbers(2)
    next(made)
    with phasescope.start(backends=[FakeBackend()]) as session, phase("consumer"):
        assert list(made) == [1]
    assert paths(session) == ["consumer/end", "consumer"]


def lives_during(call: Callable[[], Any]) -> list[bool]:
    """What `call` gives, an iterator over whether its thing lives."""
    return list(call())


def test_arguments_and_items_are_not_kept_alive_by_a_generator(session: Session) -> None:
    @phase("consume")
    def consume(thing: Thing) -> Iterator[bool]:
        ref = weakref.ref(thing)
        yield ref() is not None
        del thing
        yield ref() is not None

    assert lives_during(lambda: consume(Thing())) == [True, False]

    @phase("make")
    def make() -> Iterator[Thing]:
        yield Thing()
        assert first() is None
        yield Thing()

    made = iter(make())
    first = weakref.ref(next(made))
    assert first() is None
    next(made)


def test_arguments_are_not_kept_alive_by_a_coroutine(session: Session) -> None:
    @phase("consume")
    async def consume(thing: Thing) -> bool:
        ref = weakref.ref(thing)
        del thing
        await asyncio.sleep(0)
        return ref() is None

    async def main() -> bool:
        return await consume(Thing())

    assert asyncio.run(main())


@phase("stream")
async def stream(count: int) -> AsyncIterator[int]:
    for number in range(count):
        with phase("make"):
            await asyncio.sleep(0)
        yield number


def test_an_async_generator_encloses_only_what_it_runs_itself(session: Session) -> None:
    async def main() -> list[int]:
        seen = []
        with phase("epoch"):
            async for number in stream(2):
                with phase("step"):
                    await asyncio.sleep(0)
                    seen.append(number)
        return seen

    assert inspect.isasyncgenfunction(stream)
    assert asyncio.run(main()) == [0, 1]
    assert paths(session) == [
        "epoch/stream/make",
        "epoch/step",
        "epoch/stream/make",
        "epoch/step",
        "epoch/stream",
        "epoch",
    ]
    assert {event["context"] for event in events_of(session, "phase_exit")} == {None}


def test_an_async_generator_takes_what_is_sent_and_thrown(session: Session) -> None:
    raised, seen = Failure(), []

    @phase("echo")
    async def echo() -> Any:
        seen.append((yield "first"))
        try:
            yield "second"
        except Failure as error:
            seen.append(error)
        yield "third"

    async def main() -> None:
        made = echo()
        assert await made.asend(None) == "first"
        assert await made.asend("hello") == "second"
        assert await made.athrow(raised) == "third"
        with pytest.raises(StopAsyncIteration):
            await made.asend(None)

    asyncio.run(main())
    assert seen == ["hello", raised]
    assert scopes(session)[0]["status"] == "ok"


def test_an_async_generator_left_early_ends_well(session: Session) -> None:
    async def main() -> None:
        with phase("epoch"):
            async for _ in stream(10):
                break
            gc.collect()
            await asyncio.sleep(0.001)
            with phase("after"):
                pass

    asyncio.run(main())
    assert "epoch/stream" in paths(session)
    assert "epoch/after" in paths(session)
    assert {scope["status"] for scope in scopes(session)} == {"ok"}


def test_an_async_generator_that_raises_is_an_error(session: Session) -> None:
    raised = Failure()

    @phase("fails")
    async def fails() -> AsyncIterator[int]:
        yield 1
        raise raised

    async def main() -> None:
        async for _ in fails():
            pass

    with pytest.raises(Failure) as caught:
        asyncio.run(main())
    assert caught.value is raised
    assert scopes(session)[0]["status"] == "error"
