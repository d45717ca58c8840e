"""Rows made by the compiled core: figures in buffers that pyarrow takes, without an object an event.

The same rows as `row_batches` makes in Python. What is not a plain boundary is made a row of here; for lines see
`packed_lines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope import _native
from phasescope.recordings.columns import (
    FIGURES,
    MAYBE,
    REPEATED,
    ROWS,
    RowsInCommon,
    common_of,
    fits,
    repeated_of,
    row_of,
)
from phasescope.recordings.row_template import Template
from phasescope.wire.codec import PayloadError
from phasescope.wire.payloads import SegmentPayloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phasescope.readers.ring_reader import RingReader
    from phasescope.recordings.columns import Row

GROUP_ROWS = 4 * ROWS
"""Of a row group. Two are in memory at once: the one in the making, and the one that is written."""

_MAX_GROUP_BYTES = 1 << 28
MAX_KNOWN = 4096
_FIRST, _LAST = REPEATED.index("device_used_bytes"), REPEATED.index("device_total_bytes")

_encode = msgspec.json.Encoder().encode


class PackedRows(RowsInCommon):
    """Some rows, as the core makes them; `unfit` more have a number beyond 64 bits.

    `buffers` are the places in `repeated` (32 bits), those of `FIGURES` (64 bits), a bitmap for each of `MAYBE`, the
    ends of the texts (32 bits), and the texts of the metadata, `text_bytes` of them. All have room for more.
    """

    __slots__ = ("buffers", "count", "text_bytes", "unfit")

    def __init__(self, common: Row) -> None:
        super().__init__(common)
        self.count = self.unfit = self.text_bytes = 0
        self.buffers = tuple(bytearray() for _ in range(3 + len(FIGURES) + len(MAYBE)))
        self.buffers[-2].extend(bytes(4))

    def __len__(self) -> int:
        return self.count

    @property
    def is_full(self) -> bool:
        """Whether no more is to be added."""
        is_long = self.count >= GROUP_ROWS or self.text_bytes >= _MAX_GROUP_BYTES
        return is_long or len(self.repeated) >= ROWS


class _Learnt(NamedTuple):
    """Boundaries that differ in numbers, and in what their driver says."""

    template: Template
    repeated: Row


def of_ring(reader: RingReader) -> Iterator[PackedRows]:
    """Yield the rows of a ring's events."""
    batches = _PackedBatches(reader)
    for payloads in reader.iter_payloads():
        batches.add(payloads)
        if batches.rows.is_full:
            yield batches.rows
            batches.begin_anew()
    reader.damaged += batches.damaged
    if len(batches.rows) or batches.rows.unfit:
        yield batches.rows


class _PackedBatches:
    """Rows in the making."""

    def __init__(self, reader: RingReader) -> None:
        self.rows = PackedRows(())
        self.damaged = 0
        self._decoder = reader.decoder
        self._prefix = _encode(f"{reader.constants['session_id']}:").decode()[:-1]  # as JSON, open at its end
        self._packed_prefix = self._prefix.encode()
        self._kinds: dict[bytes, tuple[dict[bytes, Any], dict[bytes, Any]]] = {}
        self._learnt: dict[tuple[Any, ...], _Learnt] = {}
        self._payloads = SegmentPayloads(b"")

    def add(self, payloads: Sequence[bytes] | SegmentPayloads) -> None:
        """Take the next events."""
        laid = payloads if isinstance(payloads, SegmentPayloads) else SegmentPayloads.of(payloads)
        self._payloads = laid
        if len(self._kinds) >= MAX_KNOWN:  # the driver's figures are in the device, and change with every sample
            self._kinds.clear()
        if len(self._learnt) >= MAX_KNOWN:
            self._learnt.clear()
        rows = self.rows
        rows.count, rows.text_bytes = _native.core.add_rows(
            *(laid.data, laid.spans, self._kinds, rows.buffers, rows.count, rows.text_bytes),
            *(self._packed_prefix, self._find_kind, self._add_event),
        )

    def begin_anew(self) -> None:
        """Let go of the rows so far, and take new ones."""
        self.rows = PackedRows(self.rows.common)
        self._kinds.clear()  # their places are in the rows

    def _find_kind(self, device: bytes, thread: bytes, path: bytes, is_exit: int) -> tuple[Any, ...] | None:
        """Return the place of such a boundary and the texts of its metadata; None if there was none yet."""
        wire = self._decoder.device_wire(device)
        learnt = self._learnt.get((wire.backend, wire.device_id, wire.unavailable, thread, path, is_exit))
        if learnt is None:
            return None
        figures = wire.used, wire.free, wire.total
        repeated = (*learnt.repeated[:_FIRST], *figures, *learnt.repeated[_LAST + 1 :])
        if not fits(repeated):
            return None
        return (self.rows.place(repeated), *(text.encode() for text in learnt.template))

    def _add_event(self, index: int, thread: bytes | None = None, path: bytes = b"") -> tuple[Any, ...] | None:
        """Return the row of any event, and if it is a boundary of a new kind, learn that."""
        try:
            event = self._decoder.event(self._payloads[index])
        except PayloadError:
            self.damaged += 1
            return None
        if not self.rows.common:
            self.rows.common = common_of(event)
        repeated, figures = repeated_of(event), row_of(event)
        if not (fits(repeated) and fits(figures) and fits(self.rows.common)):
            self.rows.unfit += 1
            return None
        if thread is not None:
            mask = self._decoder.wire(self._payloads[index]).device.unavailable
            is_exit = int(event["event_type"] == "phase_exit")
            key = (event["metadata"]["backend"], event["device_id"], mask, thread, path, is_exit)
            self._learnt[key] = _Learnt(Template.of(event, self._prefix), repeated)
        return (self.rows.place(repeated), *figures, _encode(event["metadata"]))
