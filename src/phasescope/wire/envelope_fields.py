"""The fields of an envelope while it is filled in, and the rules that fill them from an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from phasescope.wire.frozen import frozen_dict

FIELD_NAMES: Final = (
    "schema_version",
    "record_id",
    "timestamp_ns",
    "observed_timestamp_ns",
    "session_id",
    "source_kind",
    "event_type",
    "stage",
    "severity",
    "severity_text",
    "body",
    "resource",
    "attributes",
    "correlation",
)
_MADE_WHEN_READ: Final = frozenset({"record_id", "resource", "attributes", "correlation"})
_set = object.__setattr__
NO_MAPPING: Final[Mapping[str, Any]] = MappingProxyType({})


class Fields:
    """An envelope while it is being filled in.

    A frozen class pays a call of `object.__setattr__` for every field, about 1 µs in all. So an envelope is filled in
    as this class, by plain stores, and then turned into a `ProjectedTelemetryRecord`: the same slots, closed to stores.
    """

    __slots__ = (
        "_event",
        "_frozen_metadata",
        "_unpack",
        *(f"_{name}" if name in _MADE_WHEN_READ else name for name in FIELD_NAMES),
    )

    schema_version: int
    timestamp_ns: int
    observed_timestamp_ns: int
    session_id: str
    source_kind: str
    event_type: str
    stage: str | None
    severity: str | None
    severity_text: str | None
    body: str | None
    # Made when they are read, and kept: few readers want all of them, and a listing holds thousands of envelopes.
    _record_id: str | None
    _resource: Mapping[str, Any] | None
    _attributes: Mapping[str, Any] | None
    _correlation: Mapping[str, Any] | None
    # They are made from these: an event that nobody else can reach, and its metadata once `metadata_of` has frozen it.
    # While nobody asks for them, the event is what `_unpack` makes it of.
    _event: dict[str, Any] | bytes
    _unpack: Callable[[bytes], dict[str, Any]]
    _frozen_metadata: tuple[Mapping[str, Any], set[type]] | None


_SOURCE_KINDS: Final = ("cuda", "rocm", "mps", "cpu", "tensorflow")  # in the order in which a collector is searched
_SEVERITY_BY_EVENT_TYPE: Final = {
    "critical": "critical",
    "error": "error",
    "warning": "warning",
    "collector_degraded": "warning",
    "collector_recovered": "info",
    "start": "info",
    "stop": "info",
    "phase_enter": "info",
    "phase_exit": "info",
    "sample": "info",
}
_RESOURCE_KEYS: Final = ("collector", "host", "pid", "device_id", "job_id", "rank", "local_rank", "world_size")
_CORRELATION_KEYS: Final = ("session_id", "job_id", "rank", "local_rank", "world_size")
_SCOPE_CORRELATION_KEYS: Final = ("scope_id", "parent_scope_id", "sequence")
_KEY_BY_ATTRIBUTE: Final = {
    "sampling.interval_ms": "sampling_interval_ms",
    "memory.allocator.allocated_bytes": "allocator_allocated_bytes",
    "memory.allocator.reserved_bytes": "allocator_reserved_bytes",
    "memory.allocator.active_bytes": "allocator_active_bytes",
    "memory.allocator.inactive_bytes": "allocator_inactive_bytes",
    "memory.allocator.change_bytes": "allocator_change_bytes",
    "memory.device.used_bytes": "device_used_bytes",
    "memory.device.free_bytes": "device_free_bytes",
    "memory.device.total_bytes": "device_total_bytes",
}
TOO_DEEP: Final = "the record is nested too deeply, or contains itself"


def checked(record: Mapping[str, Any]) -> dict[str, Any]:
    event = record if isinstance(record, dict) else _as_dict(record)
    for key in ("session_id", "event_type"):
        value = event.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key} must be a str that is not blank")
    if not is_int(event.get("timestamp_ns")):
        raise ValueError("timestamp_ns must be an int (ns since the Unix epoch)")
    if not _is_mapping(event.get("metadata", NO_MAPPING)):
        raise ValueError("metadata must be a mapping if it is given")
    return event


def _as_dict(record: object) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise ValueError(f"a record must be a mapping, not {type(record).__name__}")
    return dict(record)


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_mapping(value: object) -> bool:
    return type(value) is dict or isinstance(value, Mapping)  # asking the abstract class costs ten times as much


def projected(event: Mapping[str, Any], observed_timestamp_ns: int) -> Fields:
    """Return all that is read from the event as it was given: a frozen list, say, would have another text."""
    event_type = event["event_type"]
    metadata = event.get("metadata", NO_MAPPING)
    text, body, scope = metadata.get("severity_text"), event.get("context"), metadata.get("phase_scope")
    fields = Fields()
    fields.timestamp_ns = event["timestamp_ns"]
    fields.observed_timestamp_ns = observed_timestamp_ns
    fields.session_id = event["session_id"]
    fields.source_kind = _source_kind(metadata.get("backend"), event.get("collector"), event.get("device_id"))
    fields.event_type = event_type
    fields.stage = _stage(scope) if _is_mapping(scope) else None
    fields.severity = _severity(metadata.get("severity"), event_type)
    fields.severity_text = None if text is None else str(text)
    fields.body = None if body is None else str(body)
    fields._resource = fields._attributes = fields._correlation = None
    return fields


def _source_kind(backend: object, collector: object, device_id: object) -> str:
    if isinstance(backend, str) and (kind := backend.strip().lower()) in _SOURCE_KINDS:
        return kind
    if isinstance(collector, str):
        lowered = collector.lower()
        for kind in _SOURCE_KINDS:
            if kind in lowered:
                return kind
    # Here, unlike everywhere else, a bool counts as an int: that is how the published envelopes are.
    return "gpu" if isinstance(device_id, int) and device_id >= 0 else "other"


def _stage(scope: Mapping[str, Any]) -> str | None:
    name = scope.get("name")
    if isinstance(name, str) and name.strip():
        return name
    path = scope.get("path")
    if isinstance(path, list) and path and isinstance(path[-1], str) and path[-1].strip():
        return path[-1]
    return None


def _severity(given: object, event_type: str) -> str | None:
    if isinstance(given, str) and given.strip():
        return given.strip().lower()
    return _SEVERITY_BY_EVENT_TYPE.get(event_type.strip().lower())


def event_of(fields: Fields) -> dict[str, Any]:
    """Return the event that the envelope is of, but for its metadata where `_frozen_metadata` has them."""
    event = fields._event
    if isinstance(event, bytes):
        event = fields._unpack(event)
        _set(fields, "_event", event)
    return event


def _taken(fields: Fields, keys: Iterable[str]) -> dict[str, Any]:
    event = event_of(fields)
    return {key: event.get(key) for key in keys}


def resource_of(fields: Fields) -> dict[str, Any]:
    return {"source_kind": fields.source_kind, **_taken(fields, _RESOURCE_KEYS)}


def attributes_of(fields: Fields) -> dict[str, Any]:
    event = event_of(fields)
    return {**metadata_of(fields)[0], **{name: event.get(key) for name, key in _KEY_BY_ATTRIBUTE.items()}}


def correlation_of(fields: Fields) -> dict[str, Any]:
    correlation = _taken(fields, _CORRELATION_KEYS)
    scope = metadata_of(fields)[0].get("phase_scope")
    if type(scope) is MappingProxyType:
        for key in _SCOPE_CORRELATION_KEYS:
            value = scope.get(key)
            if value is not None:
                correlation[f"phase.{key}"] = value
    return correlation


def metadata_of(fields: Fields) -> tuple[Mapping[str, Any], set[type]]:
    """Return the frozen metadata, and which of its types were odd."""
    frozen = fields._frozen_metadata
    if frozen is None:
        odd: set[type] = set()
        try:
            frozen = (frozen_dict(event_of(fields)["metadata"], odd), odd)
        except RecursionError:
            raise ValueError(TOO_DEEP) from None
        _set(fields, "_frozen_metadata", frozen)
    return frozen
