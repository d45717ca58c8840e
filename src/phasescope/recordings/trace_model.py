"""Events as a trace: slices on tracks, counters, instants. What the trace formats have in common.

A viewer nests slices by their order on a track, so a track must be a stack. Phases of one thread need not be one:
two asyncio tasks interleave. Such phases get further tracks (lanes) of the same thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.devices import device_row
from phasescope.analysis.event_fields import device_of, int_or_none, scope_of, size_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.event_fields import Scope

COUNTERS = ("allocated_bytes", "reserved_bytes", "used_bytes")
_SILENT = ("sample", "phase_enter", "phase_exit", "memory_categories", "census", "allocation_lines")
_MAX_OPEN = 65_536
_MAX_FIGURES = 4096


class Process(NamedTuple):
    """One session's process. `key` is unique in the trace; `pid` is what it is called there."""

    key: int
    pid: int
    name: str
    command: tuple[str, ...]


class Track(NamedTuple):
    """A stack of slices of one thread: lane 0, or a further one for what does not nest in those before."""

    key: int
    process: Process
    thread: str
    thread_id: int
    lane: int


class Begin(NamedTuple):
    """A phase begins on a track."""

    track: Track
    time_ns: int
    name: str
    arguments: Mapping[str, Any]


class End(NamedTuple):
    """The innermost slice of a track ends."""

    track: Track
    time_ns: int
    arguments: Mapping[str, Any]


class Counter(NamedTuple):
    """A device's figure from now on. `name` is one of `COUNTERS`, or `parameters_bytes` and so on of its categories."""

    process: Process
    device: str
    name: str
    time_ns: int
    value_bytes: int


class Instant(NamedTuple):
    """Something that happened in a process."""

    process: Process
    time_ns: int
    name: str
    arguments: Mapping[str, Any]


Item = Begin | End | Counter | Instant


class _Lane:
    def __init__(self, track: Track) -> None:
        self.track = track
        self.open: list[str] = []
        self.free_from_ns = 0


class Tracer:
    """Makes the items of one process. `keys` gives numbers that are unique in the trace."""

    def __init__(self, process: Process, keys: Iterator[int]) -> None:
        self._process = process
        self._keys = keys
        self._lanes: dict[int, list[_Lane]] = {}
        self._lane_of: dict[str, _Lane] = {}
        self._figures: dict[tuple[str, str], int] = {}
        self._last_ns = 0

    def items(self, events: Iterable[Mapping[str, Any]], open_before: Iterable[Mapping[str, Any]]) -> Iterator[Item]:
        """Iterate over the items of a session's events, oldest first. `open_before` are the exits of
        `entered_before`."""
        first = True
        for event in events:
            time_ns = size_or_none(event.get("timestamp_ns"))
            if time_ns is None:
                continue
            if first:
                yield from self._already_open(open_before, time_ns)
                first = False
            self._last_ns = max(self._last_ns, time_ns)
            yield from self._of_event(event, time_ns)
        for lanes in self._lanes.values():
            for lane in lanes:
                while lane.open:
                    yield self._pop(lane, self._last_ns, {"status": "open"})

    def _of_event(self, event: Mapping[str, Any], time_ns: int) -> Iterator[Item]:
        scope = scope_of(event)
        if scope is not None and scope.scope_id is not None:
            if scope.action == "enter":
                yield self._enter(scope, time_ns)
            elif scope.action == "exit":
                yield from self._exit(scope, time_ns)
        if device_of(event) is not None:
            yield from self._counters(device_row(event), time_ns)
        if event.get("event_type") not in _SILENT:
            arguments = {"context": event["context"]} if event.get("context") else {}
            yield Instant(self._process, time_ns, str(event.get("event_type")), arguments)

    def _enter(self, scope: Scope, time_ns: int) -> Begin:
        lane = self._lane_for(scope, time_ns)
        scope_id = str(scope.scope_id)
        lane.open.append(scope_id)
        if len(self._lane_of) < _MAX_OPEN:
            self._lane_of[scope_id] = lane
        attributes = scope.fields.get("attributes")
        arguments = {"path": "/".join(scope.path), **(attributes if isinstance(attributes, dict) else {})}
        return Begin(lane.track, time_ns, scope.path[-1], arguments)

    def _exit(self, scope: Scope, time_ns: int) -> Iterator[Item]:
        lane = self._lane_of.get(str(scope.scope_id))
        if lane is None:  # its beginning was missed in the middle of the session
            duration_ns = size_or_none(scope.fields.get("duration_ns"))
            if duration_ns is None:
                return
            yield self._enter(scope, max(0, time_ns - duration_ns))
            lane = self._lane_of[str(scope.scope_id)]
        while lane.open:
            inner = lane.open[-1]
            own = inner == scope.scope_id
            yield self._pop(lane, time_ns, _outcome(scope) if own else {"status": "ended after its parent"})
            if own:
                break

    def _pop(self, lane: _Lane, time_ns: int, arguments: Mapping[str, Any]) -> End:
        self._lane_of.pop(lane.open.pop(), None)
        lane.free_from_ns = time_ns
        return End(lane.track, time_ns, arguments)

    def _lane_for(self, scope: Scope, time_ns: int) -> _Lane:
        """Return the lane on which the phase lies on top: its parent's if nothing else does, else an empty one."""
        thread_id = int_or_none(scope.fields.get("thread_id")) or 0
        if thread_id not in self._lanes and len(self._lanes) >= _MAX_OPEN:
            thread_id = 0
        parent = scope.fields.get("parent_scope_id")
        lanes = self._lanes.setdefault(thread_id, [])
        for lane in lanes:
            if lane.open and lane.open[-1] == parent and lane.free_from_ns <= time_ns:
                return lane
        for lane in lanes:
            if not lane.open and lane.free_from_ns <= time_ns:
                return lane
        name = scope.fields.get("thread_name")
        thread = name if isinstance(name, str) else f"thread {thread_id}"
        lanes.append(_Lane(Track(next(self._keys), self._process, thread, thread_id, len(lanes))))
        return lanes[-1]

    def _already_open(self, exits: Iterable[Mapping[str, Any]], time_ns: int) -> Iterator[Begin]:
        scopes = [scope for event in exits if (scope := scope_of(event)) is not None]
        for scope in sorted(scopes, key=lambda scope: len(scope.path)):
            yield self._enter(scope, time_ns)

    def _counters(self, row: DeviceRow, time_ns: int) -> Iterator[Counter]:
        figures = [(name, getattr(row, name)) for name in COUNTERS]
        if row.categories is not None:
            figures += [(f"{part.name}_bytes", part.size_bytes) for part in row.categories.parts]
        for name, value in figures:
            last = self._figures.get((row.label, name))
            if last is None and len(self._figures) >= _MAX_FIGURES:
                continue
            if value is not None and last != value:
                self._figures[row.label, name] = value
                yield Counter(self._process, row.label, name, time_ns, value)


def entered_before(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the exits of the phases that were open when the events begin."""
    entered: set[str] = set()
    exits: list[Mapping[str, Any]] = []
    first_ns: int | None = None
    for event in events:
        time_ns = size_or_none(event.get("timestamp_ns"))
        first_ns = time_ns if first_ns is None else first_ns
        scope = scope_of(event)
        if scope is None or scope.scope_id is None or time_ns is None or first_ns is None:
            continue
        if scope.action == "enter" and len(entered) < _MAX_OPEN:
            entered.add(scope.scope_id)
        elif scope.action == "exit":
            duration_ns = size_or_none(scope.fields.get("duration_ns"))
            entered_here = scope.scope_id in entered
            entered.discard(scope.scope_id)
            if (
                not entered_here
                and duration_ns is not None
                and time_ns - duration_ns <= first_ns
                and len(exits) < _MAX_OPEN
            ):
                exits.append(event)
    return exits


def _outcome(scope: Scope) -> Mapping[str, Any]:
    names = ("status", "error_type", "duration_ns", "allocated_delta_bytes", "peak_allocated_bytes")
    return {name: scope.fields[name] for name in names if scope.fields.get(name) is not None}
