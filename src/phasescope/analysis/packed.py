"""The same summary from a ring's packed events, several times as fast: no event is made of a plain phase boundary.

All but a few of the events of a training are those. What differs between two of them is some numbers; the path and the
device are compared as the bytes they are packed in.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .devices import device_label
from .phasetree import MAX_PATHS
from .summary import SummaryFold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .devices import DeviceRow
    from .phasetree import _Node
    from .spans import Scope, Span
    from .summary import Summary

_INT64 = 1 << 63
_MAX_KNOWN = 4096
_NOTHING: Mapping[Any, Any] = {}
_NO_ALLOCATED = 1
"""The bit of a device's mask that says that the allocated figure is unknown."""


class Boundary(Protocol):
    """A plain phase boundary; its integers are of 64 bits. `device` and `path` are for `Unpack`."""

    timestamp: int
    allocated: int
    duration: int | None
    allocated_delta: int | None
    peak_allocated: int | None

    @property
    def sequence(self) -> int | str | None:
        """The phase's id, less the prefix that all ids have."""

    @property
    def scope(self) -> int | None:
        """The same where it is not `sequence`."""

    @property
    def parent(self) -> int | str | None:
        """The enclosing phase's."""

    @property
    def event_type(self) -> str:
        """`phase_enter` or `phase_exit`."""

    @property
    def status(self) -> str:
        """`ok`, `error` or `abandoned`."""

    @property
    def device(self) -> Any:
        """As packed bytes."""

    @property
    def path(self) -> Any:
        """As packed bytes."""


class Unpack(Protocol):
    """How packed things are unpacked; all raise ValueError for what is none."""

    def event(self, payload: bytes) -> dict[str, Any]:
        """A whole event."""

    def boundary(self, payload: bytes) -> Boundary | None:
        """A plain boundary, or None."""

    def path(self, packed: bytes) -> tuple[str, ...]:
        """A path."""

    def device(self, packed: bytes) -> tuple[str, int, int]:
        """A device's backend, its id and the mask of its unavailable counters."""


class Watch(Protocol):
    """Looks on while a summary is made: at whole events, and in short at the exits of phases that ended well."""

    @property
    def raised(self) -> Mapping[Any, Any]:
        """While there is anything in it, every boundary is wanted as an event. Always the same object."""

    @property
    def ended(self) -> Callable[[str, tuple[str, ...], int, int | None, int, int], None] | None:
        """Told of an exit its device, path, allocated bytes, delta, time and duration; None: not wanted. Only of
        devices whose allocated bytes are known."""

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """An event with its `scope_of` and the span that it ends, if any."""

    def note_time(self, time_ns: int) -> None:
        """Of the newest boundary so far."""


class _Device(NamedTuple):
    label: str
    knows_allocated: bool


class PackedFold(SummaryFold):
    """A summary that takes packed events as well."""

    def __init__(self, prefix: str, unpack: Unpack, watch: Watch | None = None) -> None:
        """`prefix` is what the ids of all phases begin with, and packed boundaries leave out."""
        super().__init__()
        self._prefix = prefix
        self._unpack = unpack
        self._watch = watch
        self._nodes: dict[bytes, _Node] = {}
        self._known: dict[bytes, _Device] = {}
        self._newest: dict[bytes, bytes] = {}  # of each device the payload that spoke of it last

    def add_packed(self, payloads: Iterable[bytes]) -> int:
        """The next events; how many of them were none.

        One long loop without calls that can be spared: over a million events this is where the time goes.
        """
        boundary_of, nodes, known, prefix = self._unpack.boundary, self._nodes, self._known, self._prefix
        entered, ended, newest = self._spans.entered, self._spans.ended, self._newest
        parent_number: int | str | None = None
        entries = exits = damaged = last_ns = 0
        first_ns = _INT64
        watch = self._watch
        raised, told = (_NOTHING, None) if watch is None else (watch.raised, watch.ended)
        for payload in payloads:
            boundary = boundary_of(payload)
            if boundary is None or raised or (watch is not None and boundary.status != "ok"):
                damaged += self._add_event(payload)
                continue
            path_key, device_key = bytes(boundary.path), bytes(boundary.device)
            node, device = nodes.get(path_key), known.get(device_key)
            if node is None or device is None:
                damaged += self._add_event(payload, path_key, device_key)  # as an event once, then as what it is
                continue
            time_ns, allocated = boundary.timestamp, boundary.allocated
            is_exit = boundary.event_type == "phase_exit"
            parent = None
            if boundary.parent != parent_number:  # the same parent twice in a row says nothing new
                parent_number = boundary.parent
                parent = None if parent_number is None else f"{prefix}{parent_number}"
            label, knows_allocated = device
            scope_id = f"{prefix}{boundary.sequence if boundary.scope is None else boundary.scope}"
            node.devices[label] = None
            if knows_allocated and allocated > node.seen.get(label, -1):
                node.seen[label] = allocated
            if is_exit:
                exits += 1
                ended(scope_id, node.path, time_ns, parent)
                delta = boundary.allocated_delta if knows_allocated else None
                duration_ns = boundary.duration or 0
                node.ended(boundary.status, duration_ns, delta, boundary.peak_allocated, label)
                if told is not None and knows_allocated:
                    told(label, node.path, allocated, delta, time_ns, duration_ns)
            else:
                entries += 1
                entered(scope_id, node.path, time_ns, parent)
            if time_ns > last_ns:
                last_ns = time_ns
            if time_ns < first_ns:
                first_ns = time_ns
            newest[device_key] = payload
        self._note_boundaries(entries, exits, first_ns, last_ns)
        return damaged

    def _note_boundaries(self, entries: int, exits: int, first_ns: int, last_ns: int) -> None:
        for event_type, count in (("phase_enter", entries), ("phase_exit", exits)):
            if count:
                self._count_type(event_type, count)
        self._events += entries + exits
        if entries or exits:
            self._note_time(first_ns)
            self._note_time(last_ns)
            if self._watch is not None:
                self._watch.note_time(last_ns)

    def _add_event(self, payload: bytes, path: bytes | None = None, device: bytes | None = None) -> int:
        """The event as an event, and what the next boundaries like it need; 1 where it is none."""
        try:
            event = self._unpack.event(payload)
        except ValueError:
            return 1
        if path is not None and device is not None:
            with contextlib.suppress(ValueError):  # then the next ones are added as events too
                self._learn(path, device)
        self._settle()
        scope, span = self.add(event)
        if self._watch is not None:
            self._watch.take(event, scope, span)
        return 0

    def _learn(self, packed_path: bytes, packed_device: bytes) -> None:
        path = self._unpack.path(packed_path)
        node = self._tree.node(path)
        if node.path == path and len(self._nodes) < 2 * MAX_PATHS:  # else it is counted with others
            self._nodes[packed_path] = node
        backend, device_id, mask = self._unpack.device(packed_device)
        if -_INT64 <= device_id < _INT64:
            if len(self._known) >= _MAX_KNOWN:  # the driver's figures are in it, and change with every sample
                self._known.clear()
            self._known[packed_device] = _Device(device_label(backend, device_id), not mask & _NO_ALLOCATED)

    def _settle(self) -> None:
        """Let the devices see what spoke of each last."""
        for payload in self._newest.values():
            self._devices.see(self._unpack.event(payload))
        self._newest.clear()

    def device_rows(self) -> tuple[DeviceRow, ...]:
        self._settle()
        return super().device_rows()

    def summary(self, missed: int = 0, damaged: int = 0) -> Summary:
        self._settle()
        return super().summary(missed, damaged)
