"""The exception that a training last died of, derived from its phases: they end in an error one after another, from
inside out, and nothing is entered any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import int_or_none, size_or_none

from .error_messages import is_of_host, label_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

_MAX_THREADS = 256
_MAIN = "MainThread"
_OF_HOST, _OF_DEVICE = ("MemoryError", "_ArrayMemoryError"), ("OutOfMemoryError",)


class Raised(NamedTuple):
    """An exception that left phases, the innermost of which is `path` (empty if it left none); `context` is its
    class and text, if that was written. `requested_bytes` and `on_host` are of one that says that memory ran out,
    `exit_code` is of a SystemExit of the main thread."""

    path: tuple[str, ...]
    error_type: str | None
    context: str | None
    out_of_memory: bool
    on_host: bool
    device: str | None
    requested_bytes: int | None
    exit_code: int | None = None


def raised_outside(name: str | None, context: str | None = None, code: int | None = None, of: str = "") -> Raised:
    """Return an exception that only the stop states; `of` is the class of the out-of-memory error behind it."""
    names = (name, of)
    on_host = any(each in _OF_HOST for each in names)
    ran_out = bool(of) or on_host or name in _OF_DEVICE
    return Raised((), name, context, ran_out, on_host, None, None, code)


def ended_by(stop: Mapping[str, Any]) -> Raised | None:
    """Return the end of the script as its stop states it; without a class it ended normally.

    None if it states nothing.
    """
    details: Mapping[str, Any] = stop["metadata"] if isinstance(stop.get("metadata"), dict) else {}
    name, words, of = (
        text if isinstance(text, str) and text else None
        for text in (details.get(key) for key in ("error_type", "error", "raised_from"))
    )
    code = int_or_none(details.get("exit_code"))
    return None if name is None and code is None else raised_outside(name, words, code, of or "")


def is_same(raised: Raised, stated: Raised) -> bool:
    """Return whether an exception that left the phases is, by class, text and exit code, the one that the stop states.

    The further out the text was written, the more links it has.
    """
    if (raised.error_type, raised.exit_code) != (stated.error_type, stated.exit_code):
        return False
    one, other = raised.context or "", stated.context or ""
    return one.startswith(other) or other.startswith(one)


class _Way(NamedTuple):
    """How far out an exception has come in one thread. `raised` is None if the last phase that ended did so well,
    `ran_out` the last one that said that memory ran out: nothing was entered in this thread since."""

    path: tuple[str, ...]
    number: int
    raised: Raised | None
    ran_out: Raised | None
    ran_out_number: int
    is_main: bool


class Unwinding:
    """Follows exceptions on their way out, thread by thread."""

    def __init__(self) -> None:
        self._ways: dict[object, _Way] = {}
        self._number = 0
        self._entered = 0

    @property
    def raised(self) -> Mapping[object, object]:
        """Exceptions on their way, by thread.

        While there are none, phases that are entered or end well change nothing.
        """
        return self._ways

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event with its `scope_of` and the span that it ends, if any."""
        if event.get("event_type") == "error":
            self._error(event, scope)
        if scope is None or scope.action is None:
            return
        thread = _thread_of(scope)
        if span is None:
            self._entered = self._next()
            self._ways.pop(thread, None)
        elif span.status == "ok":
            self._ended_well(thread, span)
        elif span.status == "error":
            self._exit(thread, span, event, scope)

    def _ended_well(self, thread: object, span: Span) -> None:
        way = self._ways.pop(thread, None)
        if way is not None and way.ran_out is not None:
            self._ways[thread] = way._replace(path=span.path, raised=None)

    def _exit(self, thread: object, span: Span, event: Mapping[str, Any], scope: Scope) -> None:
        details: Mapping[str, Any] = event["metadata"] if isinstance(event.get("metadata"), dict) else {}
        way = self._ways.get(thread)
        raised = None if way is None or way.path[:-1] != span.path else way.raised
        if raised is None or raised.error_type not in (span.error_type, details.get("raised_from")):
            raised = Raised(span.path, span.error_type, None, False, False, None, None)
        words = details.get("error")
        code = int_or_none(details.get("exit_code")) if _is_main(scope) else None
        raised = raised._replace(
            error_type=span.error_type,
            context=words if raised.context is None and isinstance(words, str) else raised.context,
            exit_code=code,
        )
        self._keep(thread, span.path, raised, scope)

    def _error(self, event: Mapping[str, Any], scope: Scope | None) -> None:
        """Take an `error` event: it is written right after the exit of the innermost phase that the exception left."""
        details: Mapping[str, Any] = event["metadata"] if isinstance(event.get("metadata"), dict) else {}
        error_type, context = details.get("error_type"), event.get("context")
        path = () if scope is None else scope.path
        if details.get("out_of_memory") is True and self._has_come_from_within(scope, path, error_type):
            return
        raised = Raised(
            path,
            error_type if isinstance(error_type, str) else None,
            context if isinstance(context, str) else None,
            details.get("out_of_memory") is True,
            bool(details) and is_of_host(event),
            label_of(event) if details else None,
            size_or_none(details.get("requested_bytes")),
        )
        self._keep(_thread_of(scope), path, raised, scope)

    def _has_come_from_within(self, scope: Scope | None, path: tuple[str, ...], error_type: object) -> bool:
        """Return whether this exception has left a phase inside this one that says nothing of memory.

        Then the shortage had been handled before that phase began.
        """
        way = self._ways.get(_thread_of(scope))
        raised = None if way is None or way.path != path else way.raised
        return raised is not None and len(raised.path) > len(path) and raised.error_type == error_type

    def _keep(self, thread: object, path: tuple[str, ...], raised: Raised, scope: Scope | None) -> None:
        number = self._next()
        way = self._ways.get(thread)
        if way is None and len(self._ways) >= _MAX_THREADS:
            return
        ran_out, since = (None, 0) if way is None else (way.ran_out, way.ran_out_number)
        if raised.out_of_memory:
            ran_out, since = raised, number
        self._ways[thread] = _Way(path, number, raised, ran_out, since, _is_main(scope))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def last(self) -> Raised | None:
        """Return the last exception that left all phases of its thread, or says that memory ran out.

        None if there is none.
        """
        ways = [way for way in self._ways.values() if way.raised is not None]
        left = (way for way in ways if len(way.path) <= 1 or (way.raised is not None and way.raised.out_of_memory))
        latest = max(left, key=lambda way: way.number, default=None)
        return None if latest is None else latest.raised

    def ran_out(self) -> Raised | None:
        """Return the last exception that said that memory ran out, if no phase was entered after it.

        By the main thread if the exception was that one's, else by any.
        """
        ways = [way for way in self._ways.values() if way.is_main or way.ran_out_number > self._entered]
        latest = max(ways, key=lambda way: way.ran_out_number, default=None)
        return None if latest is None else latest.ran_out


def _thread_of(scope: Scope | None) -> int | None:
    thread = scope.fields.get("thread_id") if scope is not None else None
    return thread if type(thread) is int else None


def _is_main(scope: Scope | None) -> bool:
    return scope is not None and scope.fields.get("thread_name") == _MAIN
