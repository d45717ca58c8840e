"""Events as rows of columns: what varies from event to event, apart from what a session has in common.

Rows come from TelemetryEvent v3 dicts, or straight from a ring's packed events, which saves half of the time.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from phasescope.event import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from phasescope.codec import Wire
    from phasescope.reader import Reader

COMMON = (
    "schema_version",
    "session_id",
    "sampling_interval_ms",
    "pid",
    "host",
    "job_id",
    "rank",
    "local_rank",
    "world_size",
)
"""The same in every event that one process writes."""

MEASURED = (
    "timestamp_ns",
    "event_type",
    "collector",
    "device_id",
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "allocator_active_bytes",
    "allocator_inactive_bytes",
    "allocator_change_bytes",
    "device_used_bytes",
    "device_free_bytes",
    "device_total_bytes",
    "context",
)
PHASE = (
    "phase_path",
    "phase_action",
    "phase_status",
    "phase_error_type",
    "phase_thread_name",
    "phase_thread_id",
    "phase_duration_ns",
    "phase_allocated_delta_bytes",
    "phase_peak_allocated_bytes",
)
COLUMNS = (*MEASURED, "backend", *PHASE, "metadata")
"""Of a row. `phase_path` is joined by slashes, `metadata` JSON in UTF-8."""

TEXTS = frozenset(
    {"session_id", "host", "job_id", "event_type", "collector", "context", "backend", "metadata", *PHASE[:5]}
)
"""Of all columns those that hold text; the others hold integers of 64 bits."""

ROWS = 8192

_NO_PHASE = (None,) * len(PHASE)
_INT64 = 1 << 63
_encode = msgspec.json.Encoder().encode
_measured = itemgetter(*MEASURED)

Row = tuple[Any, ...]


def batches(reader: Reader) -> Iterator[tuple[Row, list[Row]]]:
    """The reader's events: what a number of rows has in common (`COMMON`), and the rows (`COLUMNS`)."""
    return _of_ring(reader) if reader.packed else _of_events(reader.iter_events())


def _of_events(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Row, list[Row]]]:
    common: Row = ()
    rows: list[Row] = []
    for event in events:
        own = _common(event)
        if rows and (own != common or len(rows) == ROWS):
            yield common, rows
            rows = []
        common = own
        rows.append(_row(event))
    if rows:
        yield common, rows


def _common(event: Mapping[str, Any]) -> Row:
    """What an event may leave out has its value from the specification."""
    rank = event.get("rank", 0)
    return (
        SCHEMA_VERSION,
        event["session_id"],
        event["sampling_interval_ms"],
        event["pid"],
        event["host"],
        event.get("job_id"),
        rank,
        event.get("local_rank", rank),
        event.get("world_size", 1),
    )


def _row(event: Mapping[str, Any]) -> Row:
    metadata = event["metadata"]
    backend, scope = metadata.get("backend"), metadata.get("phase_scope")
    return (
        *_measured(event),
        backend if type(backend) is str else None,
        *(_phase(scope) if type(scope) is dict else _NO_PHASE),
        _encode(metadata),
    )


def _phase(scope: dict[str, Any]) -> Row:
    get = scope.get
    path = get("path")
    joined = "/".join(map(str, path)) if isinstance(path, list) else get("name")
    texts = (joined, get("action"), get("status"), get("error_type"), get("thread_name"))
    numbers = (get("thread_id"), get("duration_ns"), get("allocated_delta_bytes"), get("peak_allocated_bytes"))
    return (
        *[text if type(text) is str else None for text in texts],
        *[number if type(number) is int and -_INT64 <= number < _INT64 else None for number in numbers],
    )


def _of_ring(reader: Reader) -> Iterator[tuple[Row, list[Row]]]:
    common = _common({"session_id": None, **reader.constants})
    metadata = reader.decoder.metadata
    rows: list[Row] = []
    for wire in reader.iter_wires():
        rows.append(_wire_row(wire, _encode(metadata(wire))))
        if len(rows) == ROWS:
            yield common, rows
            rows = []
    if rows:
        yield common, rows


def _wire_row(wire: Wire, metadata: bytes) -> Row:
    device = wire.device
    return (
        wire.timestamp,
        wire.event_type,
        "phasescope." + device.backend,
        device.device_id,
        wire.allocated,
        wire.reserved,
        wire.active,
        wire.inactive,
        wire.change,
        device.used,
        device.free,
        device.total,
        wire.context,
        device.backend,
        *(_NO_PHASE if wire.sequence is None else _wire_phase(wire)),
        metadata,
    )


def _wire_phase(wire: Wire) -> Row:
    path = "/".join(wire.path) if wire.path else "?"
    number, name = wire.thread
    if wire.event_type == "phase_exit":
        return (
            path,
            "exit",
            wire.status,
            wire.error_type,
            name,
            number,
            wire.duration or 0,
            wire.allocated_delta,
            wire.peak_allocated,
        )
    return (path, "enter" if wire.event_type == "phase_enter" else None, None, None, name, number, None, None, None)
