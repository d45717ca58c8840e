"""One line to one TelemetryEvent v3: checked, and older or foreign versions brought up to it.

Version 2 lacks the session; version 4 (Stormlog 0.4) lets a counter be null where version 3 wants a number and a note
in `metadata.unavailable`. A version 3 event comes out as it is, but for `metadata.backend`: where it is missing, what
the collector's name says is put there.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from phasescope.wire.event import (
    COUNTERS,
    SCHEMA_VERSION,
    InvalidEventError,
    validate_event,
)

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]

_BACKENDS = ("cuda", "rocm", "mps", "cpu", "tensorflow")
_MAY_NOT_BE_NULL = (
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "allocator_change_bytes",
    "device_used_bytes",
)


class EventLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line that is a TelemetryEvent v3; its fields are the event's keys, in the order of the specification."""

    schema_version: Annotated[int, msgspec.Meta(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    session_id: _Text
    timestamp_ns: _Count
    event_type: _Text
    collector: _Text
    sampling_interval_ms: _Count
    pid: Annotated[int, msgspec.Meta(ge=-1)]
    host: _Text
    device_id: int
    allocator_allocated_bytes: _Count
    allocator_reserved_bytes: _Count
    allocator_active_bytes: _Count | None
    allocator_inactive_bytes: _Count | None
    allocator_change_bytes: int
    device_used_bytes: _Count
    device_free_bytes: _Count | None
    device_total_bytes: _Count | None
    context: str | None
    metadata: dict[str, Any]
    job_id: _Text | msgspec.UnsetType | None = msgspec.UNSET
    rank: _Count | msgspec.UnsetType = msgspec.UNSET
    local_rank: _Count | msgspec.UnsetType = msgspec.UNSET
    world_size: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(EventLine).decode
_decode_any = msgspec.json.Decoder().decode


MAX_NAME = 1024
"""Characters in a name: of a session, a host, a device, a thread, … Readers keep those, so they are bounded."""

_MAX_PATH = 16 * 1024  # of a phase; more than the profiler writes
_SHORT_LINE_BYTES = 2048  # what it holds is bounded by that

_NAMES = ("session_id", "event_type", "collector", "host", "job_id")
_NAMES_OF_PHASES = ("scope_id", "parent_scope_id", "thread_name", "error_type", "status", "action")


def parse(line: bytes) -> dict[str, Any]:
    """Return the event that a line holds. Raises InvalidEventError, whose text says what is wrong with the line."""
    try:
        event = msgspec.structs.asdict(_decode(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a ValidationError is a DecodeError
        return upgraded(_any(line))
    unset = msgspec.UNSET
    if unset in (event["job_id"], event["rank"], event["local_rank"], event["world_size"]):
        event = {key: value for key, value in event.items() if value is not unset}
    if not _holds_together(event):
        validate_event(event)
    if len(line) > _SHORT_LINE_BYTES:
        _check_names(event)
    return event if "backend" in event["metadata"] else _with_backend(event)


def _holds_together(event: dict[str, Any]) -> bool:
    """Return what a line's types do not say: no text is blank, no figure is above its total, no rank beyond the
    world."""
    total = event["device_total_bytes"]
    if total is not None and (event["device_used_bytes"] > total or (event["device_free_bytes"] or 0) > total):
        return False
    world_size, rank = event.get("world_size", 1), event.get("rank", 0)
    if rank >= world_size or event.get("local_rank", rank) >= world_size:
        return False
    job_id = event.get("job_id")
    return not (
        event["session_id"].isspace()
        or event["event_type"].isspace()
        or event["collector"].isspace()
        or event["host"].isspace()
        or (job_id is not None and job_id.isspace())
    )


def _check_names(event: dict[str, Any]) -> None:
    """Raise InvalidEventError if a name is too long.

    A small compressed file can hold any number of long names, and a reader must not keep them all.
    """
    metadata = event["metadata"]
    named = [(key, event.get(key), MAX_NAME) for key in _NAMES] + [("backend", metadata.get("backend"), MAX_NAME)]
    scope = metadata.get("phase_scope")
    if isinstance(scope, dict):
        named += [(key, scope.get(key), MAX_NAME) for key in _NAMES_OF_PHASES]
        path = scope.get("path")
        named.append(("path", "/".join(map(str, path)) if isinstance(path, list) else scope.get("name"), _MAX_PATH))
    for key, name, most in named:
        if isinstance(name, str) and len(name) > most:
            raise InvalidEventError(key, f"a name of {len(name)} characters, over {most}")


def _any(line: bytes) -> Any:
    try:
        return _decode_any(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEventError("record", f"not JSON: {error}") from error


def upgraded(record: Any) -> dict[str, Any]:
    """Return an event of version 2, 3 or 4 as version 3. Raises InvalidEventError."""
    if not isinstance(record, dict):
        validate_event(record)
    version = record.get("schema_version")
    if version == 2 and type(version) is int:
        record = _from_v2(record)
    elif version == 4 and type(version) is int:
        record = _from_v4(record)
    validate_event(record)
    _check_names(record)
    return record if "backend" in record["metadata"] else _with_backend(record)


def _from_v2(record: dict[str, Any]) -> dict[str, Any]:
    """Return a session id for version 2, which has none.

    It is the metadata's, else one made of host and pid, the same for each event.
    """
    metadata = record.get("metadata")
    named = metadata.get("session_id") if isinstance(metadata, dict) else None
    session_id = named if isinstance(named, str) and named.strip() else f"v2-{record.get('host')}-{record.get('pid')}"
    return {"schema_version": SCHEMA_VERSION, "session_id": session_id, **_without_version(record)}


def _from_v4(record: dict[str, Any]) -> dict[str, Any]:
    null = [key for key in COUNTERS if key in _MAY_NOT_BE_NULL and key in record and record[key] is None]
    metadata = record.get("metadata")
    if isinstance(metadata, dict) and null:
        unknown = metadata.get("unavailable")
        before = unknown if isinstance(unknown, list) else []
        metadata = {**metadata, "unavailable": [*before, *(key for key in null if key not in before)]}
    return {
        "schema_version": SCHEMA_VERSION,
        **_without_version(record),
        **dict.fromkeys(null, 0),
        **({"metadata": metadata} if "metadata" in record else {}),
    }


def _without_version(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "schema_version"}


def _with_backend(event: dict[str, Any]) -> dict[str, Any]:
    """Return what measured the event, by its collector's name; nothing where that does not say."""
    metadata = event["metadata"]
    capabilities = metadata.get("memory_capabilities")
    named = capabilities.get("backend") if isinstance(capabilities, dict) else None
    collector = event["collector"].lower()
    backend = named if named in _BACKENDS else next((name for name in _BACKENDS if name in collector), None)
    if backend is None:
        return event
    return {**event, "metadata": {"backend": backend, **metadata}}
