"""The same summary from packed events, several times as fast: no event is made of a plain phase boundary.

All but a few of the events of a training are those. What differs between two of them is some numbers; the path and the
device are compared as the bytes they are packed in.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from phasescope.analysis.devices import device_label
from phasescope.analysis.spans import MAX_OPENED

from .phase_tree import MAX_PATHS
from .summary import SummaryFold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.spans import Scope, Span

    from .phase_tree import _Node
    from .summary import Summary

_INT64 = 1 << 63
_MAX_KNOWN = 4096
_MAX_DEVICES = 256
_NOTHING: Mapping[Any, Any] = {}
_NO_ALLOCATED = 1
"""The bit of a device's mask that says that the allocated figure is unknown."""


class Boundary(Protocol):
    """A plain phase boundary; its integers are of 64 bits."""

    timestamp: int
    allocated: int

    @property
    def event_type(self) -> str:
        """`phase_enter` or `phase_exit`."""


class Phase(Protocol):
    """What a boundary says of its phase. Phases are known by numbers or by their whole ids."""

    duration: int | None
    allocated_delta: int | None
    peak_allocated: int | None

    @property
    def scope(self) -> int | str | None:
        """Which phase it is; None where that is `sequence`."""

    @property
    def sequence(self) -> int:
        """The boundary's own number."""

    @property
    def parent(self) -> int | str | None:
        """The enclosing phase."""

    @property
    def status(self) -> str:
        """`ok`, `error` or `abandoned`."""

    @property
    def path(self) -> Any:
        """As packed bytes."""


Found = tuple[Boundary, Phase, bytes]
"""A boundary, its phase, and its device as packed bytes: the same object as before where these are equal."""


class Payloads(Protocol):
    """Packed events by their place."""

    def __getitem__(self, at: int, /) -> bytes: ...


class Unpack(Protocol):
    """How packed things are unpacked; all raise ValueError for what is none."""

    def event(self, payload: bytes) -> dict[str, Any]:
        """A whole event."""

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


class _Kind:
    """The boundaries of one phase on one device: what its node has not been told of them yet."""

    __slots__ = ("deltas", "durations", "highest", "node", "path")

    def __init__(self, node: _Node) -> None:
        self.node = node
        self.path = node.path
        self.highest = -1  # of the allocated figures; below 0 there is nothing to tell
        self.durations: list[int] = []
        self.deltas: list[int] = []

    def tell(self, label: str, knows_allocated: bool) -> None:
        self.node.saw(label, True, self.highest if knows_allocated else None)
        if self.durations:
            self.node.ended(len(self.durations), self.durations, self.deltas)
            self.durations.clear()
            self.deltas.clear()
        self.highest = -1


class _Device(NamedTuple):
    """`kinds` are by packed path. Devices that differ in the driver's figures only have them in common."""

    label: str
    knows_allocated: bool
    kinds: dict[bytes, _Kind]


_UNKNOWN = _Device("", False, {})


class PackedFold(SummaryFold):
    """A summary that takes packed events as well."""

    def __init__(self, prefix: str, unpack: Unpack, watch: Watch | None = None) -> None:
        """`prefix` is what the ids of all phases begin with, where boundaries have the numbers behind it."""
        super().__init__(prefix)
        self._unpack = unpack
        self._watch = watch
        self._known: dict[bytes, _Device] = {}
        self._kinds: dict[tuple[str, bool], dict[bytes, _Kind]] = {}
        self._learned = 0
        self._untold: list[tuple[_Kind, str, bool]] = []
        self._newest: dict[str, bytes] = {}  # of each device the payload that spoke of it last
        self._newest_at: dict[str, int] = {}  # the same of those that are being added, by their place

    def add_packed(self, payloads: Payloads, boundaries: Iterable[Found | None]) -> int:
        """The next events; how many of them were none. `boundaries` has one for each payload, None where it is no plain
        boundary.

        One long loop without calls that can be spared: over a million events this is where the time goes.
        """
        known, untold, newest_at, spans = self._known, self._untold, self._newest_at, self._spans
        opened = spans.opened
        packed_device: bytes | None = None
        last_parent: int | str | None = None
        entries = exits = damaged = last_ns = 0
        first_ns = _INT64
        watch = self._watch
        raised, told = (_NOTHING, None) if watch is None else (watch.raised, watch.ended)
        for at, found in enumerate(boundaries):
            if found is None or raised:
                damaged += self._add_event(payloads, at)
                continue
            boundary, phase, of_device = found
            status = phase.status
            if status != "ok" and watch is not None:
                damaged += self._add_event(payloads, at)
                continue
            if of_device is not packed_device:
                packed_device = of_device
                label, knows_allocated, kinds = known.get(of_device, _UNKNOWN)
            kind = kinds.get(bytes(phase.path))
            if kind is None:  # as an event once, then as what it is
                damaged += self._add_event(payloads, at, bytes(phase.path), of_device)
                packed_device = None
                continue
            time_ns, allocated, scope = boundary.timestamp, boundary.allocated, phase.scope
            if scope is None:
                scope = phase.sequence
            if allocated > kind.highest:
                if kind.highest < 0:
                    untold.append((kind, label, knows_allocated))
                kind.highest = allocated
            if boundary.event_type == "phase_exit":
                exits += 1
                entry = opened.pop(scope, None)
                if entry is None or not entry[2]:
                    spans.ended_unentered(scope)
                duration_ns = phase.duration or 0
                kind.durations.append(duration_ns)
                delta = phase.allocated_delta if knows_allocated else None
                if delta is not None:
                    kind.deltas.append(delta)
                if phase.peak_allocated is not None:
                    kind.node.measured(phase.peak_allocated, label)
                if status != "ok":
                    kind.node.went_wrong(status)
                if told is not None and knows_allocated:
                    told(label, kind.path, allocated, delta, time_ns, duration_ns)
            else:
                entries += 1
                if spans.is_first or len(opened) >= MAX_OPENED:
                    spans.entered(scope, kind.path, time_ns)
                else:
                    opened[scope] = (kind.path, time_ns, True)
            if phase.parent != last_parent:  # the same parent twice in a row says nothing new
                last_parent = phase.parent
                if last_parent is not None and last_parent not in opened:
                    spans.seen_open(last_parent, kind.path[:-1], time_ns)
            if time_ns > last_ns:
                last_ns = time_ns
            if time_ns < first_ns:
                first_ns = time_ns
            newest_at[label] = at
        self._note_boundaries(entries, exits, first_ns, last_ns)
        self._tell(payloads)
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

    def _add_event(self, payloads: Payloads, at: int, path: bytes | None = None, device: bytes | None = None) -> int:
        """The event as an event, and what the next boundaries like it need; 1 where it is none."""
        try:
            event = self._unpack.event(payloads[at])
        except ValueError:
            return 1
        self._tell(payloads)
        self._settle()
        if path is not None and device is not None:
            with contextlib.suppress(ValueError):  # then the next ones are added as events too
                self._learn(path, device)
        scope, span = self.add(event)
        if self._watch is not None:
            self._watch.take(event, scope, span)
        return 0

    def _learn(self, packed_path: bytes, packed_device: bytes) -> None:
        path = self._unpack.path(packed_path)
        node = self._tree.node(path)
        device = self._known.get(packed_device) or self._learned_device(packed_device)
        if device is not None and node.path == path and self._learned < 2 * MAX_PATHS:  # else it is counted with others
            device.kinds[packed_path] = _Kind(node)
            self._learned += 1

    def _learned_device(self, packed: bytes) -> _Device | None:
        backend, device_id, mask = self._unpack.device(packed)
        what = device_label(backend, device_id), not mask & _NO_ALLOCATED
        if not -_INT64 <= device_id < _INT64 or (what not in self._kinds and len(self._kinds) >= _MAX_DEVICES):
            return None
        if len(self._known) >= _MAX_KNOWN:  # the driver's figures are in it, and change with every sample
            self._known.clear()
        device = self._known[packed] = _Device(*what, self._kinds.setdefault(what, {}))
        return device

    def _tell(self, payloads: Payloads) -> None:
        """Pass on what was kept of the boundaries so far."""
        for kind, label, knows_allocated in self._untold:
            kind.tell(label, knows_allocated)
        self._untold.clear()
        for label, at in self._newest_at.items():
            self._newest[label] = payloads[at]
        self._newest_at.clear()

    def _settle(self) -> None:
        """Let the devices see what spoke of each last."""
        for payload in self._newest.values():
            with contextlib.suppress(ValueError):
                self._devices.see(self._unpack.event(payload))
        self._newest.clear()

    def device_rows(self) -> tuple[DeviceRow, ...]:
        self._settle()
        return super().device_rows()

    def summary(self, missed: int = 0, damaged: int = 0) -> Summary:
        self._settle()
        return super().summary(missed, damaged)
