"""The projected envelope: one event as a small, deeply frozen record that other programs can compare.

`project_telemetry_mapping` is pure: it reads one mapping and builds one `ProjectedTelemetryRecord`. Live events, loaded
ones and those of other tools go through the same rules, so equal events give equal envelopes wherever they were read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NoReturn, final

from phasescope.wire.frozen import frozen_dict, frozen_event, thawed
from phasescope.wire.record_id import record_id_of, sorted_json

TELEMETRY_PROJECTION_SCHEMA_VERSION: Final = 1

_FIELD_NAMES: Final = (
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
_fields_of = attrgetter(*_FIELD_NAMES)
_set = object.__setattr__
_NO_MAPPING: Final[Mapping[str, Any]] = MappingProxyType({})


class _Fields:
    """An envelope while it is being filled in.

    A frozen class pays a call of `object.__setattr__` for every field, about 1 µs in all. So an envelope is filled in
    as this class, by plain stores, and then turned into a `ProjectedTelemetryRecord`: the same slots, closed to stores.
    """

    __slots__ = (
        "_event",
        "_frozen_metadata",
        *(f"_{name}" if name in _MADE_WHEN_READ else name for name in _FIELD_NAMES),
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
    # What they are made from: an event that nobody else can reach, and its metadata once `_metadata` has frozen it.
    _event: dict[str, Any]
    _frozen_metadata: tuple[Mapping[str, Any], set[type]] | None


@final
class ProjectedTelemetryRecord(_Fields):
    """One event's immutable envelope. `project_telemetry_mapping` makes it; the constructor takes fields as keywords.

    `timestamp_ns` is the event's wall clock, `observed_timestamp_ns` that of whoever observed it, both in ns since the
    Unix epoch. `source_kind` says what was measured (`cpu`, `cuda`, `rocm`, `mps`, `tensorflow`, else `gpu` or
    `other`), `stage` is the phase, `body` the event's line for a person. `resource`, `attributes` and `correlation`
    are read-only mappings with str keys; in them, at any depth, mappings are read-only, sequences are tuples and sets
    are frozensets. A value of any other kind is kept as it is.

    Two envelopes are equal where all fields are. A copy of an envelope is the envelope itself.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        schema_version: int,
        record_id: str,
        timestamp_ns: int,
        observed_timestamp_ns: int,
        session_id: str,
        source_kind: str,
        event_type: str,
        stage: str | None,
        severity: str | None,
        severity_text: str | None,
        body: str | None,
        resource: Mapping[str, Any] = _NO_MAPPING,
        attributes: Mapping[str, Any] = _NO_MAPPING,
        correlation: Mapping[str, Any] = _NO_MAPPING,
    ) -> ProjectedTelemetryRecord:
        fields = _Fields()
        fields.schema_version = schema_version
        fields._record_id = record_id
        fields.timestamp_ns = timestamp_ns
        fields.observed_timestamp_ns = observed_timestamp_ns
        fields.session_id = session_id
        fields.source_kind = source_kind
        fields.event_type = event_type
        fields.stage = stage
        fields.severity = severity
        fields.severity_text = severity_text
        fields.body = body
        fields._resource = MappingProxyType(frozen_dict(resource, set()))
        fields._attributes = MappingProxyType(frozen_dict(attributes, set()))
        fields._correlation = MappingProxyType(frozen_dict(correlation, set()))
        return _sealed(fields)

    @property
    def record_id(self) -> str:
        """`telemetry-` and 32 hex digits: the same for the same event, wherever and by whomever it is read."""
        record_id = self._record_id
        if record_id is None:
            record_id = record_id_of(self._event, _metadata(self)[1])
            _set(self, "_record_id", record_id)
        return record_id

    @property
    def resource(self) -> Mapping[str, Any]:
        """Where it was measured: collector, host, process, device, and the rank in its job."""
        resource = self._resource
        if resource is None:
            resource = MappingProxyType(_resource(self))
            _set(self, "_resource", resource)
        return resource

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The event's metadata, its counters in bytes and its sampling interval in ms; None where one is unknown."""
        attributes = self._attributes
        if attributes is None:
            attributes = MappingProxyType(_attributes(self))
            _set(self, "_attributes", attributes)
        return attributes

    @property
    def correlation(self) -> Mapping[str, Any]:
        """By what it belongs to other events: session, job, rank, and the phase's scope."""
        correlation = self._correlation
        if correlation is None:
            correlation = MappingProxyType(_correlation(self))
            _set(self, "_correlation", correlation)
        return correlation

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an envelope is immutable: {name!r} can not be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an envelope is immutable: {name!r} can not be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProjectedTelemetryRecord):
            return NotImplemented
        return self is other or bool(_fields_of(self) == _fields_of(other))

    def __hash__(self) -> int:
        return hash(self.record_id)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in projected_record_to_dict(self).items())
        return f"ProjectedTelemetryRecord({fields})"

    def __copy__(self) -> ProjectedTelemetryRecord:
        return self

    def __deepcopy__(self, memo: object) -> ProjectedTelemetryRecord:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_dict, (projected_record_to_dict(self),)


def _sealed(fields: Any) -> ProjectedTelemetryRecord:
    fields.__class__ = ProjectedTelemetryRecord
    sealed: ProjectedTelemetryRecord = fields
    return sealed


def _from_dict(fields: dict[str, Any]) -> ProjectedTelemetryRecord:
    return ProjectedTelemetryRecord(**fields)


def project_telemetry_mapping(
    record: Mapping[str, Any], *, observed_timestamp_ns: int | None = None
) -> ProjectedTelemetryRecord:
    """The envelope of one event: any mapping that is shaped like a TelemetryEvent v3; it need not be complete.

    `record` is neither changed nor kept. `observed_timestamp_ns` is when it was observed, in ns since the Unix epoch;
    by default the event's own time. Raises `ValueError` naming `session_id`, `timestamp_ns`, `event_type`, `metadata`
    or `observed_timestamp_ns` where that is missing or not what it must be, and for a record that contains itself.
    """
    event = _checked(record)
    observed_ns: int = event["timestamp_ns"] if observed_timestamp_ns is None else observed_timestamp_ns
    if observed_timestamp_ns is not None and (not _is_int(observed_ns) or observed_ns < 0):
        raise ValueError("observed_timestamp_ns must be an int >= 0 (ns since the Unix epoch) or None")
    odd: set[type] = set()
    try:
        frozen, metadata = frozen_event(event, odd)
        record_id = record_id_of(event, odd)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    fields = _projected(event, observed_ns)
    fields._record_id = record_id
    fields._event = frozen
    fields._frozen_metadata = (metadata, odd)
    return _sealed(fields)


def project_owned_event(event: dict[str, Any]) -> ProjectedTelemetryRecord:
    """The same envelope for an event of our own reader: a well-shaped v3 dict of JSON values that nobody else holds.

    It is not checked again, and what of it few readers want is made when it is read.
    """
    fields = _projected(event, event["timestamp_ns"])
    fields._record_id = None
    fields._event = event
    fields._frozen_metadata = None
    return _sealed(fields)


def projected_record_to_dict(record: ProjectedTelemetryRecord) -> dict[str, Any]:
    """All fields in their order, as plain dicts, lists and sets of their own; the constructor takes them back."""
    return {name: thawed(value) for name, value in zip(_FIELD_NAMES, _fields_of(record), strict=True)}


def unique_projected_resources(records: Iterable[ProjectedTelemetryRecord]) -> list[dict[str, Any]]:
    """The distinct resources as plain dicts, in the order first seen; the same are those whose sorted JSON is."""
    return _unique(record.resource for record in records)


def unique_projected_correlations(records: Iterable[ProjectedTelemetryRecord]) -> list[dict[str, Any]]:
    """The distinct correlations as plain dicts, in the order first seen; the same are those whose sorted JSON is."""
    return _unique(record.correlation for record in records)


def _unique(mappings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    distinct: dict[str, dict[str, Any]] = {}
    for mapping in mappings:
        plain = thawed(mapping)
        distinct.setdefault(sorted_json(plain), plain)
    return list(distinct.values())


# The rules

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
_TOO_DEEP: Final = "the record is nested too deeply, or contains itself"


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    event = record if isinstance(record, dict) else _as_dict(record)
    for key in ("session_id", "event_type"):
        value = event.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key} must be a str that is not blank")
    if not _is_int(event.get("timestamp_ns")):
        raise ValueError("timestamp_ns must be an int (ns since the Unix epoch)")
    if not _is_mapping(event.get("metadata", _NO_MAPPING)):
        raise ValueError("metadata must be a mapping where it is given")
    return event


def _as_dict(record: object) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise ValueError(f"a record must be a mapping, not {type(record).__name__}")
    return dict(record)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_mapping(value: object) -> bool:
    return type(value) is dict or isinstance(value, Mapping)  # asking the abstract class costs ten times as much


def _projected(event: Mapping[str, Any], observed_timestamp_ns: int) -> _Fields:
    """All that is read from the event as it was given: a frozen list, say, would not have the text of the list."""
    event_type = event["event_type"]
    metadata = event.get("metadata", _NO_MAPPING)
    text, body, scope = metadata.get("severity_text"), event.get("context"), metadata.get("phase_scope")
    fields = _Fields()
    fields.schema_version = TELEMETRY_PROJECTION_SCHEMA_VERSION
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


def _resource(fields: _Fields) -> dict[str, Any]:
    return {"source_kind": fields.source_kind, **{key: fields._event.get(key) for key in _RESOURCE_KEYS}}


def _attributes(fields: _Fields) -> dict[str, Any]:
    return {**_metadata(fields)[0], **{name: fields._event.get(key) for name, key in _KEY_BY_ATTRIBUTE.items()}}


def _correlation(fields: _Fields) -> dict[str, Any]:
    correlation = {key: fields._event.get(key) for key in _CORRELATION_KEYS}
    scope = _metadata(fields)[0].get("phase_scope")
    if type(scope) is MappingProxyType:
        for key in _SCOPE_CORRELATION_KEYS:
            value = scope.get(key)
            if value is not None:
                correlation[f"phase.{key}"] = value
    return correlation


def _metadata(fields: _Fields) -> tuple[Mapping[str, Any], set[type]]:
    """The frozen metadata, and which of its types were odd."""
    known = fields._frozen_metadata
    if known is None:
        odd: set[type] = set()
        try:
            known = (frozen_dict(fields._event["metadata"], odd), odd)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        _set(fields, "_frozen_metadata", known)
    return known
