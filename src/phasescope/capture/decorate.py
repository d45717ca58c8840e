"""@phase(...) on functions of every kind. Imported when the first one is decorated."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope._log import log_once
from phasescope.capture import compiled, phase_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from phasescope.capture.phase import phase

F = TypeVar("F", bound="Callable[..., Any]")


def decorate(function: F, make_scope: Callable[[], phase]) -> F:
    """Make each call of the function a phase.

    Anything that cannot be decorated is returned as it is, with one log line.
    """

    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(function.__func__, make_scope))
    if isinstance(function, type) or not callable(function):
        log_once("decorate", "phase() decorates functions; %s is left as it is", type(function).__name__)
        return function
    return functools.update_wrapper(_wrapper_for(function)(function, make_scope), function)  # type: ignore[return-value]


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


def _function(function: Callable[..., Any], make_scope: Callable[[], phase]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with make_scope():
            return function(*args, **kwargs)

    return wrapper


def _coroutine(function: Callable[..., Any], make_scope: Callable[[], phase]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        coroutine = function(*args, **kwargs)
        del args, kwargs  # the function may want to let go of its arguments
        with make_scope():
            return await coroutine

    return wrapper


class _Suspended:
    """A phase around a generator: open from the first item to the end, but enclosing only what the generator runs.

    A generator shares its consumer's context. Between two items the consumer's own phases must not end up inside.
    """

    @compiled.seen_as(compiled.suspend)
    def __init__(self, scope: phase) -> None:
        self._scope = scope
        self._outer = phase_context.get_current()
        scope.__enter__()
        self._inner = phase_context.get_current()

    @compiled.seen_as(compiled.nothing)
    def resume(self) -> None:
        if self._is_open():  # asked first: at the interpreter's end the module may be unloaded
            self._outer = phase_context.get_current()
            phase_context.set_current(self._inner)

    @compiled.seen_as(compiled.nothing)
    def suspend(self) -> None:
        if self._is_open():
            self._inner = phase_context.get_current()
            phase_context.set_current(self._outer)

    @compiled.seen_as(compiled.nothing)
    def end(self, error: BaseException | None) -> None:
        if self._is_open():
            self._scope.__exit__(None if error is None else type(error), error, None)
            phase_context.set_current(self._outer)

    def _is_open(self) -> bool:
        """Return whether its phase is open.

        Without a session, or after it ended, the generator runs in its consumer's context.
        """
        return self._scope.is_open and self._scope.event_writer is phase_context.event_writer


def _generator(function: Callable[..., Any], make_scope: Callable[[], phase]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        del args, kwargs  # the generator may want to let go of its arguments
        span = _Suspended(make_scope())
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


def _async_generator(function: Callable[..., Any], make_scope: Callable[[], phase]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        del args, kwargs
        span = _Suspended(make_scope())
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
