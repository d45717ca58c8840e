"""A session's events in batches of rows. No event is made of a plain phase boundary: that saves most of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from phasescope.recordings.columns import (
    ROWS,
    Rows,
    common_of,
    repeated_of,
)
from phasescope.recordings.row_template import Template
from phasescope.wire.codec import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from phasescope.readers.ring_reader import RingReader
    from phasescope.recordings.columns import Row
    from phasescope.wire.codec import Boundary

_MAX_KNOWN = 4096
MAX_BATCH_BYTES = 1 << 25  # rows may be few and long
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class RowBatches:
    """Rows in the making. `full` are those that will not be added to."""

    def __init__(self) -> None:
        self.full: list[Rows] = []
        self.rows = Rows(())
        self.number = 1  # of these rows
        self.size_bytes = 0  # of what they were made of, about

    def begin(self, common: Row) -> None:
        """Take new rows."""
        if len(self.rows):
            self.full.append(self.rows)
        self.rows = Rows(common)
        self.number += 1
        self.size_bytes = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Take a whole event."""
        common = common_of(event)
        if common != self.rows.common or len(self.rows) >= ROWS:
            self.begin(common)
        self.rows.add(event)

    def taken(self) -> list[Rows]:
        """Return what is full, and here no longer."""
        full, self.full = self.full, []
        return full

    def rest(self) -> list[Rows]:
        """Return all that is left."""
        self.begin(())
        return self.taken()


def of_events(events: Iterable[Mapping[str, Any]]) -> Iterator[Rows]:
    """Yield the rows of any events."""
    batches = RowBatches()
    for event in events:
        batches.add(event)
        if batches.full:
            yield from batches.taken()
    yield from batches.rest()


def of_ring(reader: RingReader) -> Iterator[Rows]:
    """Yield what `of_events` makes of a ring's events."""
    batches = _RingBatches(reader)
    for payloads in reader.iter_payloads():
        batches.add_packed(payloads)
        yield from batches.taken()
    reader.damaged += batches.damaged
    yield from batches.rest()


class _BoundaryTemplate:
    """Boundaries that differ in numbers only: made of the first of them, which is an event.

    `head` and `between` are the text of their metadata up to the phase's number, and from the parent's id up to the
    boundary's number. `place` is that in the rows of this `batch`.
    """

    __slots__ = ("batch", "between", "head", "place", "repeated")

    def __init__(self, event: Mapping[str, Any], prefix: str) -> None:
        self.repeated: Row = repeated_of(event)
        template = Template.of(event, prefix)
        self.head, self.between = template.before + template.head, template.between
        self.batch = self.place = 0


_Kinds = dict[bytes, _BoundaryTemplate]


class _RingBatches(RowBatches):
    """From a ring's packed events."""

    def __init__(self, reader: RingReader) -> None:
        super().__init__()
        self.damaged = 0
        self._decoder = reader.decoder
        self._prefix = _encode(f"{reader.constants['session_id']}:").decode()[:-1]  # as JSON, open at its end
        self._kinds: dict[tuple[bytes, bytes], tuple[_Kinds, _Kinds]] = {}
        self._learned = 0

    def add_packed(self, payloads: Sequence[bytes]) -> None:
        """Take the next events. One long loop without calls that can be spared, as in a summary."""
        prefix, number = self._prefix, 0
        device: bytes | None = None
        thread: object = None
        parent: int | None = None
        parent_text = "null"
        for payload, decoded in zip(payloads, self._decoder.boundaries(payloads), strict=True):
            if decoded is None or not _is_plain(decoded[0]):
                self._add_payload(payload)
                continue
            boundary, _, packed = decoded
            if packed is not device or boundary.thread != thread:
                device, thread = packed, boundary.thread
                entered, ended = self._kinds_of(device, bytes(thread))
            duration, sequence = boundary.duration, boundary.sequence
            kinds, path = entered if duration is None else ended, bytes(boundary.path)
            kind = kinds.get(path)
            if kind is None:
                self._add_payload(payload, kinds, path)
                continue
            if number != self.number:
                rows, number = self.rows, self.number
                places, metadata, measured, phases = rows.places, rows.metadata, rows.measured, rows.phases
            if kind.batch != number:
                kind.batch, kind.place = number, rows.place(kind.repeated)
            if boundary.parent != parent:
                parent = boundary.parent
                parent_text = "null" if parent is None else f'{prefix}{parent}"'
            places.append(kind.place)
            measured.append(boundary)
            phases.append(boundary)
            if duration is None:
                metadata.append(f'{kind.head}{sequence}","parent_scope_id":{parent_text}{kind.between}{sequence}}}}}')
                continue
            scope, delta, peak = boundary.scope, boundary.allocated_delta, boundary.peak_allocated
            metadata.append(
                f'{kind.head}{sequence if scope is None else scope}","parent_scope_id":{parent_text}{kind.between}'
                f'{sequence},"duration_ns":{duration},"status":"ok"'
                + ("" if delta is None else f',"allocated_delta_bytes":{delta}')
                + ("}}" if peak is None else f',"peak_allocated_bytes":{peak}}}}}')
            )
        if len(self.rows) >= ROWS:
            self.begin(self.rows.common)

    def _kinds_of(self, device: bytes, thread: bytes) -> tuple[_Kinds, _Kinds]:
        """Return the kinds of phases entered there, and of those ended."""
        if self._learned >= _MAX_KNOWN:  # the driver's figures are in the device, and change with every sample
            self._kinds.clear()
            self._learned = 0
        return self._kinds.setdefault((device, thread), ({}, {}))

    def _add_payload(self, payload: bytes, kinds: _Kinds | None = None, path: bytes = b"") -> None:
        """Add any event, and if it is a boundary of a new kind, its kind."""
        try:
            event = self._decoder.event(payload)
        except PayloadError:
            self.damaged += 1
            return
        self.add(event)
        if kinds is not None:
            kinds[path] = _BoundaryTemplate(event, self._prefix)
            self._learned += 1


def _is_plain(boundary: Boundary) -> bool:
    """Return whether there is nothing in it but what most boundaries have."""
    if boundary.attributes is not None or boundary.context is not None or boundary.error_type is not None:
        return False
    if boundary.duration is not None:
        return boundary.event_type == "phase_exit" and boundary.status == "ok"
    return (
        boundary.event_type == "phase_enter"
        and boundary.scope is None
        and boundary.allocated_delta is None
        and boundary.peak_allocated is None
    )
