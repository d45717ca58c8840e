"""@phase(...) on functions of every kind. Imported when the first one is decorated."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope._log import log_once
from phasescope.capture import compiled, phases

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from phasescope.capture.attributes import Scalar

F = TypeVar("F", bound="Callable[..., Any]")


def decorate(function: F, name: str, attributes: dict[str, Scalar] | None) -> F:
    """The function, each call of it a phase. What can not be decorated comes back as it is, with one log line."""

    def fresh() -> phases.phase:
        return phases.PreparedPhase(name, attributes)

    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(function.__func__, name, attributes))
    if isinstance(function, type) or not callable(function):
        log_once("decorate", "phase() decorates functions; %s is left as it is", type(function).__name__)
        return function
    return functools.update_wrapper(_wrapper_for(function)(function, fresh), function)  # type: ignore[return-value]


def _wrapper_for(function: Callable[..., Any]) -> Callable[..., Callable[..., Any]]:
    is_plain = inspect.isroutine(function) or isinstance(function, functools.partial)
    called = function if is_plain else getattr(type(function), "__call__", function)  # noqa: B004
    if inspect.isasyncgenfunction(called):
        return _async_generator
    if inspect.isgeneratorfunction(called):
        return _generator
    if inspect.iscoroutinefunction(called):
        return _coroutine
    return _function


def _function(function: Callable[..., Any], fresh: Callable[[], phases.phase]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return function(*args, **kwargs)

    return wrapper


def _coroutine(function: Callable[..., Any], fresh: Callable[[], phases.phase]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        coroutine = function(*args, **kwargs)
        del args, kwargs  # the function may want to let go of what it was given
        with fresh():
            return await coroutine

    return wrapper


class _Suspended:
    """A phase around a generator: open from the first item to the end, but enclosing only what the generator runs.

    A generator shares its consumer's context. Between two items the consumer's own phases must not end up inside.
    """

    @compiled.seen_as(compiled.suspend)
    def __init__(self, scope: phases.phase) -> None:
        self._scope = scope
        self._outer = phases._get_current()
        scope.__enter__()
        self._inner = phases._get_current()

    @compiled.seen_as(compiled.nothing)
    def resume(self) -> None:
        if self._is_open():  # asked first: at the interpreter's end the module may be gone
            self._outer = phases._get_current()
            phases._set_current(self._inner)

    @compiled.seen_as(compiled.nothing)
    def suspend(self) -> None:
        if self._is_open():
            self._inner = phases._get_current()
            phases._set_current(self._outer)

    @compiled.seen_as(compiled.nothing)
    def end(self, error: BaseException | None) -> None:
        if self._is_open():
            self._scope.__exit__(None if error is None else type(error), error, None)
            phases._set_current(self._outer)

    def _is_open(self) -> bool:
        """Without a session, or after it ended, the generator simply runs in its consumer's context."""
        return self._scope._open and self._scope._recorder is phases._recorder


def _generator(function: Callable[..., Any], fresh: Callable[[], phases.phase]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        del args, kwargs  # the generator may want to let go of what it was given
        span = _Suspended(fresh())
        step, box = generator.send, [None]
        try:
            while True:
                # Items pass through a list, so that no variable here keeps one alive.
                box.append(step(box.pop()))
                span.suspend()
                try:
                    box.append((yield box.pop()))
                    step = generator.send
                except GeneratorExit:
                    span.resume()
                    generator.close()
                    raise
                except BaseException as error:
                    box.append(error)  # type: ignore[arg-type]
                    step = generator.throw
                span.resume()
        except StopIteration as stop:
            span.end(None)
            return stop.value
        except BaseException as error:
            span.end(error)
            raise

    return wrapper


def _async_generator(function: Callable[..., Any], fresh: Callable[[], phases.phase]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        del args, kwargs
        span = _Suspended(fresh())
        step, box = generator.asend, [None]
        try:
            while True:
                box.append(await step(box.pop()))
                span.suspend()
                try:
                    box.append((yield box.pop()))
                    step = generator.asend
                except GeneratorExit:
                    span.resume()
                    await generator.aclose()
                    raise
                except BaseException as error:
                    box.append(error)  # type: ignore[arg-type]
                    step = generator.athrow
                span.resume()
        except StopAsyncIteration:
            span.end(None)
        except BaseException as error:
            span.end(error)
            raise

    return wrapper
