"""Phases as spans: one per entry of a phase, put together from its events, or from those that are left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .event_fields import int_or_none, scope_of, size_or_none, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .event_fields import Scope

MAX_OPENED = 65_536
"""More phases than this are never open at once; a file that says so is not believed further."""

_LONGEST_NUMBER, _LONGEST_ENTRY = 20, 19  # digits, of 64 bits

_SPEAK_OF_NONE = ("sample", "start", "stop")
"""These events name the open phase if there is one; without a name they say that none is open."""


class Span(NamedTuple):
    """One entry of a phase. Times of day are wall clock; the duration is monotonic if the exit event has one, else
    it is by the wall clock too. None is: not known.

    `status` is `ok`, `error`, `abandoned` or `open`. `exhausted` marks the fetch of `phasescope.track` that
    only found the end. `start_ns` is computed from the duration where the enter event is lost (`entered` is
    False then), and for an open span that was entered before the first event it is the earliest time at which
    it was seen open.
    """

    path: tuple[str, ...]
    scope_id: str | None
    status: str
    start_ns: int | None
    end_ns: int | None
    duration_ns: int | None
    allocated_delta_bytes: int | None
    peak_allocated_bytes: int | None
    error_type: str | None
    exhausted: bool
    entered: bool


def spans(events: Iterable[Mapping[str, Any]]) -> Iterator[Span]:
    """Yield the spans of one session's events, each when it ends, then those that are still open."""
    builder = SpanBuilder()
    for event in events:
        span = builder.feed(event, scope_of(event))
        if span is not None:
            yield span
    yield from builder.open_spans()


def current_phase(events: Iterable[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """Return the path of the innermost phase open after these events, oldest first.

    None if none is, or if nothing says so. The newest event that names a phase wins, whatever thread it is about.
    """
    path: tuple[str, ...] | None = None
    for event in events:
        scope = scope_of(event)
        if scope is not None:
            path = scope.path[:-1] if scope.action == "exit" else scope.path
        elif event.get("event_type") in _SPEAK_OF_NONE:
            path = None
    return path or None


Key = str | int
"""The key of a phase: its id, or the number in it."""

_Open = tuple[tuple[str, ...], "int | None", bool]
"""The path of a phase that is open, when it was entered or first seen, and whether its enter event was there. A plain
tuple: one is made for every entry."""


class SpanBuilder:
    """Pairs the events of one session, oldest first, in memory bounded by the number of phases open at
    once.

    `opened` are the phases entered and not ended so far, by their ids; those that are `prefix` and a number, by the
    number alone: a fast loop makes no text of each. Such a loop may add entries to them itself, but not while
    `is_first`: no phase with a number was entered so far.
    """

    def __init__(self, prefix: str = "") -> None:
        self.opened: dict[Key, _Open] = {}
        self._prefix = prefix
        self.is_first = True
        self._first_entry: int | None = None
        self._ended_unentered: set[Key] = set()

    def feed(self, event: Mapping[str, Any], scope: Scope | None) -> Span | None:
        """Take the next event and its `scope_of`; the span that it ends, if it ends one."""
        if scope is None:
            return None
        time_ns = int_or_none(event.get("timestamp_ns"))
        span = None
        if scope.action == "enter":
            if scope.scope_id is not None:
                self.entered(self._key(scope.scope_id), scope.path, time_ns)
        elif scope.action == "exit":
            span = self._exit(event, scope, time_ns)
        elif scope.scope_id is not None:
            self.seen_open(self._key(scope.scope_id), scope.path, time_ns)
        parent = scope.fields.get("parent_scope_id")
        if isinstance(parent, str):
            self.seen_open(self._key(parent), scope.path[:-1], time_ns)
        return span

    def entered(self, key: Key, path: tuple[str, ...], time_ns: int | None) -> None:
        """Note that the phase was entered."""
        if len(self.opened) < MAX_OPENED:
            if self._first_entry is None:
                self._first_entry = _entry_number(key)
                self.is_first = self._first_entry is None
            self.opened[key] = (path, time_ns, True)

    def ended_unentered(self, key: Key) -> None:
        """Note that the phase has ended, and that it is not known when it was entered."""
        if len(self._ended_unentered) < MAX_OPENED:
            self._ended_unentered.add(key)

    def seen_open(self, key: Key, path: tuple[str, ...], time_ns: int | None) -> None:
        """Note that a phase is named as open that was entered before the first event that is left.

        Entries are numbered in order, so one with a number above the first entry seen is not such a phase: it
        has ended meanwhile, or its enter event is still to come.
        """
        if key in self.opened or not path or key in self._ended_unentered or len(self.opened) >= MAX_OPENED:
            return
        number = _entry_number(key)
        if number is not None and (self._first_entry is None or number < self._first_entry):
            self.opened[key] = (path, time_ns, False)

    def open_spans(self) -> list[Span]:
        """Return the spans entered and not ended so far, the outer before the inner."""
        return [
            Span(path, self._scope_id(key), "open", start_ns, None, None, None, None, None, False, entered)
            for key, (path, start_ns, entered) in self.opened.items()
        ]

    def _key(self, scope_id: str) -> Key:
        if not self._prefix or not scope_id.startswith(self._prefix):
            return scope_id
        number = scope_id[len(self._prefix) :]
        is_plain = number.isascii() and number.isdigit() and (number[0] != "0" or number == "0")
        return int(number) if is_plain and len(number) <= _LONGEST_NUMBER else scope_id

    def _scope_id(self, key: Key) -> str:
        return key if isinstance(key, str) else f"{self._prefix}{key}"

    def _exit(self, event: Mapping[str, Any], scope: Scope, time_ns: int | None) -> Span:
        key = None if scope.scope_id is None else self._key(scope.scope_id)
        entry = None if key is None else self.opened.pop(key, None)
        entered = entry is not None and entry[2]
        if not entered and key is not None:
            self.ended_unentered(key)
        duration_ns = size_or_none(scope.fields.get("duration_ns"))
        if entry is not None and entered:
            start_ns = entry[1]
            if duration_ns is None and time_ns is not None and start_ns is not None:
                duration_ns = max(0, time_ns - start_ns)  # other tools' events have the wall clock only
        else:
            start_ns = None if time_ns is None or duration_ns is None else time_ns - duration_ns
        return _ended(event, scope, start_ns, time_ns, duration_ns, entered)


def _ended(
    event: Mapping[str, Any],
    scope: Scope,
    start_ns: int | None,
    end_ns: int | None,
    duration_ns: int | None,
    entered: bool,
) -> Span:
    fields = scope.fields
    status, error_type = fields.get("status"), fields.get("error_type")
    is_measured = "allocator_allocated_bytes" not in unavailable(event)
    return Span(
        scope.path,
        scope.scope_id,
        status if status in ("ok", "error", "abandoned") else "ok",
        start_ns,
        end_ns,
        duration_ns,
        int_or_none(fields.get("allocated_delta_bytes")) if is_measured else None,
        size_or_none(fields.get("peak_allocated_bytes")),
        error_type if isinstance(error_type, str) else None,
        event["metadata"].get("exhausted") is True,
        entered,
    )


def _entry_number(key: Key) -> int | None:
    if isinstance(key, int):
        return key if key < 10**_LONGEST_ENTRY else None
    number = key.rpartition(":")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) <= _LONGEST_ENTRY else None
