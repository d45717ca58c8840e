"""The same summary from packed events, several times as fast: no event is made for a plain phase boundary.

All but a few of the events of a training are those. What differs between two of them is some numbers; the path and the
device are compared as the bytes they are packed in.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from phasescope import _native
from phasescope.analysis.event_fields import device_label
from phasescope.analysis.spans import MAX_OPENED

from .allocator_counts import KEYS, Counts
from .kept_boundaries import NO_DEVICE, Device, PackedEnds, PhaseBoundaries
from .packed_events import LaidPayloads
from .phase_tree import MAX_PATHS
from .summary import SummaryFold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

    from .kept_boundaries import Ends
    from .packed_events import Boundaries, DecodedBoundary, Payloads, Unpack
    from .summary import Summary

_INT64 = 1 << 63
_MAX_KNOWN = 4096
_MAX_DEVICES = 256
_NOTHING: Mapping[Any, Any] = {}
_NO_ALLOCATED, _NO_RESERVED = 1, 2
"""The bits of a device's mask that say that the allocated or the reserved figure is unknown."""


class SummaryObserver(Protocol):
    """Looks on while a summary is made: at whole events, and in short at the exits of phases that ended well."""

    @property
    def raised(self) -> Mapping[Any, Any]:
        """While there is anything in it, every boundary is wanted as an event. Always the same object."""

    @property
    def ended(self) -> Callable[[str, Sequence[Ends]], None] | None:
        """Told of a device whose allocated bytes are known, and of the exits on it since the last event that was
        taken; None: not wanted."""

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take an event with its `scope_of` and the span that it ends, if any."""

    def note_time(self, time_ns: int) -> None:
        """Note the time of the newest boundary so far."""


class PackedFold(SummaryFold):
    """A summary that takes packed events as well."""

    def __init__(self, prefix: str, unpack: Unpack, watch: SummaryObserver | None = None) -> None:
        """Begin a summary. `prefix` begins the ids of all phases whose boundaries have the numbers after it."""
        super().__init__(prefix)
        self._unpack = unpack
        self._watch = watch
        self._known: dict[bytes, Device] = {}
        self._kinds: dict[tuple[str, int], dict[bytes, PhaseBoundaries]] = {}
        self._learned = 0
        self._untold: list[tuple[PhaseBoundaries, str, bool]] = []
        self._newest: dict[str, Any] = {}  # of each device the payload that spoke of it last
        self._newest_at: dict[str, int] = {}  # the same of those that are being added, by their place

    def add_packed(self, payloads: Payloads, boundaries: Iterable[DecodedBoundary | None]) -> int:
        """Take the next events; return how many of them were ill-formed.

        `boundaries` has one for each payload, None if it is not a plain boundary.

        One long loop without needless calls: over a million events the time goes here.
        """
        known_devices, untold, newest_at, spans = self._known, self._untold, self._newest_at, self._spans
        opened = spans.opened
        packed_device: bytes | None = None
        last_parent: int | str | None = None
        entries = exits = damaged = last_ns = 0
        first_ns = _INT64
        watch = self._watch
        raised, watch_ended = (_NOTHING, None) if watch is None else (watch.raised, watch.ended)
        for place, unpacked in enumerate(boundaries):
            if unpacked is None or raised:
                damaged += self._add_event(payloads, place)
                continue
            boundary, phase, of_device = unpacked
            status = phase.status
            if status != "ok" and watch is not None:
                damaged += self._add_event(payloads, place)
                continue
            if of_device is not packed_device:
                packed_device = of_device
                label, knows_allocated, kinds = known_devices.get(of_device, NO_DEVICE)
            kind = kinds.get(bytes(phase.path))
            if kind is None:  # as an event once, then as a boundary
                damaged += self._add_event(payloads, place, bytes(phase.path), of_device)
                packed_device = None
                continue
            time_ns, allocated, scope = boundary.timestamp, boundary.allocated, phase.scope
            if scope is None:
                scope = phase.sequence
            if allocated > kind.highest:
                if kind.highest < 0:
                    untold.append((kind, label, knows_allocated))
                kind.highest = allocated
            reserved = boundary.reserved
            if reserved > kind.reserved:
                kind.reserved = reserved
            if reserved - allocated > kind.slack:
                kind.slack = reserved - allocated
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
                if watch_ended is not None and knows_allocated:
                    kind.ends.append((place, allocated, delta or 0, time_ns, duration_ns))
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
            newest_at[label] = place
        self._note_boundaries(entries, exits, first_ns, last_ns)
        self._tell(payloads)
        return damaged

    def add_payloads(self, payloads: Payloads | LaidPayloads, boundaries: Boundaries) -> int:
        """Add the next events of a ring, as `add_packed` does, in the compiled core where there is one and they are
        still where they were read."""
        if _native.core is None or not isinstance(payloads, LaidPayloads):
            return self.add_packed(payloads, boundaries(payloads))
        return self._add_fast(payloads, payloads.data, payloads.spans, None, boundaries)

    def add_lines(self, lines: Payloads, data: bytes, form: list[bytes], boundaries: Boundaries) -> int:
        """Add the next lines, as `add_packed` does, in the compiled core where there is one. `data` are all of them,
        and `form` is what plain ones have in common, as far as that is known."""
        return self._add_fast(lines, data, None, form, boundaries)

    def _add_fast(
        self,
        payloads: Any,
        data: bytes,
        payload_spans: bytearray | None,
        form: list[bytes] | None,
        boundaries: Boundaries,
    ) -> int:
        watch, core = self._watch, _native.core
        raised = None if watch is None else watch.raised
        if core is None or (raised is not None and type(raised) is not dict):
            return self.add_packed(payloads, boundaries(payloads))

        def add(index: int, path: bytes | None, device: bytes | None) -> int:
            if path is not None:
                return self._add_event(payloads, index, path, device)
            self._tell(payloads)
            return self.add_packed([payloads[index]], boundaries([payloads[index]]))

        wants_ends, spans = watch is not None and watch.ended is not None, self._spans
        entries, exits, damaged, first_ns, last_ns = core.fold(
            *(data, payload_spans, form, self._known, self._untold, self._newest_at, spans.opened, spans, raised),
            *(wants_ends, watch is not None, add, MAX_OPENED, PhaseBoundaries, self._counts.newest),
        )
        self._note_boundaries(entries, exits, first_ns, last_ns)
        self._tell(payloads)
        return int(damaged)

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

    def _add_event(self, payloads: Payloads, place: int, path: bytes | None = None, device: bytes | None = None) -> int:
        """Add it as an event, and learn what the next boundaries like it need; return 1 if it is ill-formed, else 0."""
        try:
            event = self._unpack.event(payloads[place])
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
            knows_reserved = not self._unpack.device(packed_device)[2] & _NO_RESERVED
            device.kinds[packed_path] = PhaseBoundaries(node, knows_reserved)
            self._learned += 1

    def _learned_device(self, packed: bytes) -> Device | None:
        backend, device_id, mask = self._unpack.device(packed)
        what = device_label(backend, device_id), mask & (_NO_ALLOCATED | _NO_RESERVED)
        if not -_INT64 <= device_id < _INT64 or (what not in self._kinds and len(self._kinds) >= _MAX_DEVICES):
            return None
        if len(self._known) >= _MAX_KNOWN:  # the driver's figures are in it, and change with every sample
            self._known.clear()
        kinds = self._kinds.setdefault(what, {})
        device = self._known[packed] = Device(what[0], not mask & _NO_ALLOCATED, kinds)
        return device

    def _tell(self, payloads: Payloads) -> None:
        """Pass on the boundaries that were kept so far."""
        ends: dict[str, list[Ends]] = {}
        for kind, label, knows_allocated in self._untold:
            kind.tell(label, knows_allocated)
            self._count_risen(kind)
            if kind.packed_ends:
                ends.setdefault(label, []).append((kind.path, PackedEnds(kind.packed_ends)))
                kind.packed_ends = bytearray()
            if kind.ends:
                ends.setdefault(label, []).append((kind.path, kind.ends))
                kind.ends = []
        self._untold.clear()
        if ends and self._watch is not None and self._watch.ended is not None:
            for label, phase_ends in ends.items():
                self._watch.ended(label, phase_ends)
        for label, place in self._newest_at.items():
            self._newest[label] = payloads[place]
        self._newest_at.clear()

    def _count_risen(self, kind: PhaseBoundaries) -> None:
        """Pass on what the allocator's counts have risen by."""
        for path, risen in ((kind.path, kind.risen), (kind.path[:-1], kind.risen_outside)):
            if any(risen):
                self._tree.count(path, Counts(*risen))
                risen[:] = [0] * len(KEYS)

    def _settle(self) -> None:
        """Let the devices see the newest payload of each."""
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
