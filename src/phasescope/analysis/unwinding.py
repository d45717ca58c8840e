"""The exception that a training last died of, told from its phases: they end in an error one after the other, from the
inside out, and nothing is entered any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .devices import device_label
from .spans import int_or_none, size_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .spans import Scope, Span

_MAX_THREADS = 256


class Raised(NamedTuple):
    """An exception that left phases, the innermost of which is `path` (empty where it left none); `context` is its
    class and text, where that was written. `requested_bytes` and `on_host` are of one that says that memory ran out."""

    path: tuple[str, ...]
    error_type: str | None
    context: str | None
    out_of_memory: bool
    on_host: bool
    device: str | None
    requested_bytes: int | None


class _Way(NamedTuple):
    """How far out an exception has come in one thread."""

    at: tuple[str, ...]
    number: int
    raised: Raised


class Unwinding:
    """Follows exceptions on their way out, thread by thread."""

    def __init__(self) -> None:
        self._ways: dict[object, _Way] = {}
        self._number = 0

    @property
    def raised(self) -> Mapping[object, object]:
        """By thread what is on its way; while it is empty, phases that are entered or end well change nothing."""
        return self._ways

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """The next event with its `scope_of` and the span that it ends, if any."""
        event_type = event.get("event_type")
        if event_type == "error":
            self._error(event, scope)
        if scope is None or scope.action is None:
            return
        thread = scope.fields.get("thread_id")
        thread = thread if type(thread) is int else None
        if span is None or span.status == "ok":
            self._ways.pop(thread, None)
        elif span.status == "error":
            self._exit(thread, span)

    def _exit(self, thread: object, span: Span) -> None:
        way = self._ways.get(thread)
        if way is not None and way.at[:-1] == span.path and way.raised.error_type == span.error_type:
            raised = way.raised
        else:
            raised = Raised(span.path, span.error_type, None, False, False, None, None)
        self._keep(thread, span.path, raised)

    def _error(self, event: Mapping[str, Any], scope: Scope | None) -> None:
        """It is written right behind the exit of the innermost phase that the exception left."""
        details: Mapping[str, Any] = event["metadata"] if isinstance(event.get("metadata"), dict) else {}
        thread = scope.fields.get("thread_id") if scope is not None else None
        thread = thread if type(thread) is int else None
        error_type, context = details.get("error_type"), event.get("context")
        device_id, backend = int_or_none(event.get("device_id")), details.get("backend")
        path = () if scope is None else scope.path
        raised = Raised(
            path,
            error_type if isinstance(error_type, str) else None,
            context if isinstance(context, str) else None,
            details.get("out_of_memory") is True,
            details.get("memory") == "host" or device_id == -1,
            device_label(backend, device_id) if isinstance(backend, str) and device_id is not None else None,
            size_or_none(details.get("requested_bytes")),
        )
        self._keep(thread, path, raised)

    def _keep(self, thread: object, at: tuple[str, ...], raised: Raised) -> None:
        self._number += 1
        if thread in self._ways or len(self._ways) < _MAX_THREADS:
            self._ways[thread] = _Way(at, self._number, raised)

    def last(self) -> Raised | None:
        """The last exception that left all phases of its thread, or says that memory ran out; None: there is none."""
        ways = (way for way in self._ways.values() if len(way.at) <= 1 or way.raised.out_of_memory)
        latest = max(ways, key=lambda way: way.number, default=None)
        return None if latest is None else latest.raised
