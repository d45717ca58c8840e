"""Phases as spans: one per entry of a phase, put together from its events, or from what is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_OPENED = 65_536
"""More phases than this are never open at once; a file that says so is not believed further."""

_INT64 = 1 << 63
_LONGEST_NUMBER, _LONGEST_ENTRY = 20, 19  # digits, of 64 bits


class Scope(NamedTuple):
    """An event's `metadata.phase_scope`, as far as it is well-formed. `fields` is the object itself."""

    path: tuple[str, ...]
    action: str | None
    scope_id: str | None
    fields: Mapping[str, Any]


class Span(NamedTuple):
    """One entry of a phase. Times of day are wall clock; the duration is monotonic where the exit event has one, else
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
    """The spans of one session's events, each when it ends, then those that are still open."""
    builder = SpanBuilder()
    for event in events:
        span = builder.feed(event, scope_of(event))
        if span is not None:
            yield span
    yield from builder.open_spans()


def scope_of(event: Mapping[str, Any]) -> Scope | None:
    """The phase that an event is about; None where it names none, or nothing that can be read as one."""
    metadata = event.get("metadata")
    fields = metadata.get("phase_scope") if isinstance(metadata, dict) else None
    if not isinstance(fields, dict):
        return None
    path = fields.get("path")
    if not isinstance(path, (list, tuple)) or not path or not all(isinstance(name, str) for name in path):
        name = fields.get("name")
        if not isinstance(name, str):
            return None
        path = (name,)
    scope_id = fields.get("scope_id")
    action = fields.get("action")
    return Scope(
        tuple(path),
        action if isinstance(action, str) else None,
        scope_id if isinstance(scope_id, str) else None,
        fields,
    )


def device_times(event: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], int]]:
    """The phases, by path, whose time on the device a `device_time` event tells, in ns; what is ill-formed is not."""
    metadata = event.get("metadata")
    entries = metadata.get("device_times") if isinstance(metadata, dict) else None
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        path = entry.get("path") if isinstance(entry, dict) else None
        if isinstance(path, (list, tuple)) and path and all(isinstance(name, str) for name in path):
            duration_ns = size_or_none(entry.get("duration_ns"))
            if duration_ns is not None:
                yield tuple(path), duration_ns


def int_or_none(value: object) -> int | None:
    """The value if it is an int of 64 bits, which is all that the profiler writes; a bool is none."""
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def size_or_none(value: object) -> int | None:
    """The value if it is an int of 0 to 2**63 - 1."""
    return value if type(value) is int and 0 <= value < _INT64 else None


def unavailable(event: Mapping[str, Any]) -> frozenset[str]:
    """The counters of an event whose 0 is no measurement."""
    metadata = event.get("metadata")
    names = metadata.get("unavailable") if isinstance(metadata, dict) else None
    if not isinstance(names, (list, tuple)):
        return _NONE
    return frozenset(name for name in names if isinstance(name, str))


_NONE: frozenset[str] = frozenset()


Key = str | int
"""What a phase is known by: its id, or the number in it."""

_Open = tuple[tuple[str, ...], "int | None", bool]
"""The path of a phase that is open, when it was entered or first seen, and whether its enter event was there. A plain
tuple: one is made for every entry."""


class SpanBuilder:
    """Pairs the events of one session, oldest first, in memory bounded by the number of phases open at
    once.

    `opened` are the phases entered and not ended so far, by their ids; those that are `prefix` and a number, by the
    number alone: a fast loop makes no text of each. Such a loop may add to them itself what is entered, but not while
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
        """The phase was entered."""
        if len(self.opened) < MAX_OPENED:
            if self._first_entry is None:
                self._first_entry = _entry_number(key)
                self.is_first = self._first_entry is None
            self.opened[key] = (path, time_ns, True)

    def ended_unentered(self, key: Key) -> None:
        """The phase has ended, and when it was entered is not known."""
        if len(self._ended_unentered) < MAX_OPENED:
            self._ended_unentered.add(key)

    def seen_open(self, key: Key, path: tuple[str, ...], time_ns: int | None) -> None:
        """A phase is named as open that was entered before the first event that is left.

        Entries are numbered in order, so one with a number above the first entry seen is no such phase: it
        has ended meanwhile, or its enter event is still to come.
        """
        if key in self.opened or not path or key in self._ended_unentered or len(self.opened) >= MAX_OPENED:
            return
        number = _entry_number(key)
        if number is not None and (self._first_entry is None or number < self._first_entry):
            self.opened[key] = (path, time_ns, False)

    def open_spans(self) -> list[Span]:
        """The spans entered and not ended so far, the outer before the inner."""
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
                duration_ns = max(0, time_ns - start_ns)  # other tools' events tell by the wall clock only
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
    known = "allocator_allocated_bytes" not in unavailable(event)
    return Span(
        scope.path,
        scope.scope_id,
        status if status in ("ok", "error", "abandoned") else "ok",
        start_ns,
        end_ns,
        duration_ns,
        int_or_none(fields.get("allocated_delta_bytes")) if known else None,
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
