"""A summary made while a table's rows are read: phase boundaries pass as columns, and no event is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from phasescope.analysis.summary.packed_summary import PackedFold
from phasescope.recordings.event_parser import upgraded
from phasescope.recordings.session_pass import BoundaryMetadata, NotOwnError, device_in, path_in
from phasescope.wire.event import EVENT_KEYS, OPTIONAL_KEYS, SCHEMA_VERSION, InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope.analysis.summary.packed_summary import SummaryObserver
    from phasescope.recordings.parquet_source import ParquetSource
    from phasescope.recordings.session_pass import BoundaryPhase, Reading

_ACTIONS = {"phase_enter": "enter", "phase_exit": "exit"}
_ALIKE = ("schema_version", "session_id", "collector", "host", "pid", "sampling_interval_ms", *OPTIONAL_KEYS)
_COUNTS = ("timestamp_ns", "allocator_allocated_bytes", "allocator_reserved_bytes", "device_used_bytes")
_MAY_BE_NULL = ("allocator_active_bytes", "allocator_inactive_bytes", "device_free_bytes", "device_total_bytes")

_decode_boundary = msgspec.json.Decoder(BoundaryMetadata).decode
_decode_any = msgspec.json.Decoder().decode
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Columns:
    """Some rows as lists of values by the event's keys, those that the file has. `first` is the number of the first
    row."""

    __slots__ = ("first", "size", "values")

    def __init__(self, first: int, size: int, values: dict[str, list[Any]]) -> None:
        self.first = first
        self.size = size
        self.values = values

    def __getitem__(self, index: int) -> tuple[Columns, int]:
        """Return what stands for the row: a payload, as a summary of packed events has it."""
        return self, index


class _RowBoundary(msgspec.Struct, gc=False):
    timestamp: int
    allocated: int
    reserved: int
    event_type: str


def fold_rows(source: ParquetSource, reading: Reading, watch: SummaryObserver | None = None) -> PackedFold:
    """Return the summary of a session's rows: what `SummaryFold` makes of the events."""
    unpack = _RowUnpack(reading, source.complain)
    fold = PackedFold("", unpack, watch)
    for columns in source.columns(reading.report, unpack.note):
        fold.add_packed(columns, unpack.boundaries(columns))
    return fold


class _RowUnpack:
    """Unpacks rows for a fold that takes packed events."""

    def __init__(self, reading: Reading, complain: Callable[[Callable[..., object], int, str], None]) -> None:
        self._reading = reading
        self._complain = complain
        self._refused: tuple[int, int] = (-1, -1)

    def note(self, event: dict[str, Any]) -> None:
        """Take a recorder's word that the file has beside its rows."""
        self._reading.is_own(event)

    def event(self, payload: Any) -> dict[str, Any]:
        columns, index = payload
        try:
            event = event_in(columns, index)
        except (InvalidEventError, *_NOT_DECODED) as error:
            self._complain(self._reading.report, columns.first + index, str(error))
            raise ValueError(str(error)) from error
        if not self._reading.is_own(event):
            raise NotOwnError
        return event

    def path(self, packed: bytes) -> tuple[str, ...]:
        return path_in(packed)

    def device(self, packed: bytes) -> tuple[str, int, int]:
        return device_in(packed)

    def boundaries(self, columns: Columns) -> Iterator[tuple[_RowBoundary, BoundaryPhase, bytes] | None]:
        """Yield each row's plain boundary, its phase, and its device as bytes, the same object as long as it is equal;
        None for any other row."""
        if not self._is_regular(columns):
            for _ in range(columns.size):
                yield None
            return
        device_id, backend, unavailable, packed = None, None, None, b""
        values = columns.values
        taken = ("event_type", *_COUNTS[:3], "device_id", "context", "metadata")
        for kind, timestamp, allocated, reserved, number, context, text in zip(
            *(values[name] for name in taken), strict=True
        ):
            action = _ACTIONS.get(kind)
            if action is None or context is not None:
                yield None
                continue
            try:
                metadata = _decode_boundary(text)
            except _NOT_DECODED:
                yield None
                continue
            phase = metadata.phase_scope
            if phase.action != action:
                yield None
                continue
            if number != device_id or metadata.backend != backend or metadata.unavailable != unavailable:
                device_id, backend, unavailable = number, metadata.backend, metadata.unavailable
                packed = b"[%d,%b,%b]" % (device_id, backend, unavailable)
            yield _RowBoundary(timestamp, allocated, reserved, kind), phase, packed

    def _is_regular(self, columns: Columns) -> bool:
        """Return whether all rows are events of this session, but for what is in their metadata."""
        values = columns.values
        if not columns.size or values.keys() != set(EVENT_KEYS):
            return False
        if values["schema_version"][0] != SCHEMA_VERSION or values["session_id"][0] != self._reading.session_id:
            return False
        if any(values[name].count(values[name][0]) != columns.size for name in _ALIKE):
            return False
        if any(None in values[name] or min(values[name]) < 0 for name in _COUNTS):
            return False
        if any(_least(values[name]) < 0 for name in _MAY_BE_NULL):
            return False
        if None in values["device_id"] or None in values["allocator_change_bytes"] or None in values["metadata"]:
            return False
        pairs = {*zip(*(values[f"device_{name}_bytes"] for name in ("used", "free", "total")), strict=True)}
        if any(total is not None and (used > total or (free or 0) > total) for used, free, total in pairs):
            return False
        try:
            event_in(columns, 0)  # what they have in common is checked with the first
        except (InvalidEventError, *_NOT_DECODED):
            return False
        return True


def _least(values: list[Any]) -> int:
    return min((value for value in {*values} if value is not None), default=0)


def event_in(columns: Columns, index: int) -> dict[str, Any]:
    """Return the event that a row holds. Raises InvalidEventError, and what a decoder raises."""
    row = {name: values[index] for name, values in columns.values.items()}
    if isinstance(row.get("metadata"), str):
        row["metadata"] = _decode_any(row["metadata"])
    return upgraded(row)
