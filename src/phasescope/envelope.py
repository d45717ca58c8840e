"""The projected envelope: one event as a small, deeply frozen record that other programs can compare.

`project_telemetry_mapping` is pure: it reads one mapping and builds one `ProjectedTelemetryRecord`. The same rules
serve live events, loaded ones and events of other tools, so that equal events give equal envelopes wherever they
were read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, MutableSequence, Set
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NoReturn, cast, final

import msgspec

TELEMETRY_PROJECTION_SCHEMA_VERSION: Final = 1

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
_NO_MAPPING: Final[Mapping[str, Any]] = MappingProxyType({})


class _Fields:
    """The fields while they are being filled in.

    A frozen class pays for each field with a call of `object.__setattr__`. So an envelope is filled in as this class,
    with plain stores, and then becomes a `ProjectedTelemetryRecord`, which has the same slots and refuses stores.
    """

    __slots__ = (
        "_identity",
        "attributes",
        "body",
        "correlation",
        "event_type",
        "observed_timestamp_ns",
        "resource",
        "schema_version",
        "session_id",
        "severity",
        "severity_text",
        "source_kind",
        "stage",
        "timestamp_ns",
    )
    _identity: str | tuple[dict[str, Any], set[type]]  # the record_id, or what it is still to be computed from
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
    resource: Mapping[str, Any]
    attributes: Mapping[str, Any]
    correlation: Mapping[str, Any]


@final
class ProjectedTelemetryRecord(_Fields):
    """One event's immutable envelope. `project_telemetry_mapping` makes it; the constructor takes the fields as they are.

    `timestamp_ns` is the event's wall clock and `observed_timestamp_ns` the wall clock of whoever observed it, both in ns
    since the Unix epoch. `source_kind` says what was measured (`cpu`, `cuda`, `rocm`, `mps`, `tensorflow`, `gpu`, `other`),
    `stage` is the phase, `body` the event's line for a person. `resource`, `attributes` and `correlation` are read-only
    mappings with str keys; in them, at any depth, mappings are read-only too, sequences are tuples, sets are frozensets.
    A value that is none of these is kept as it is.

    Two envelopes are equal where all their fields are. Copies are the envelope itself.
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
        fields._identity = record_id
        fields.timestamp_ns = timestamp_ns
        fields.observed_timestamp_ns = observed_timestamp_ns
        fields.session_id = session_id
        fields.source_kind = source_kind
        fields.event_type = event_type
        fields.stage = stage
        fields.severity = severity
        fields.severity_text = severity_text
        fields.body = body
        odd: set[type] = set()
        fields.resource = MappingProxyType(_frozen_dict(resource, odd))
        fields.attributes = MappingProxyType(_frozen_dict(attributes, odd))
        fields.correlation = MappingProxyType(_frozen_dict(correlation, odd))
        return _sealed(fields)

    @property
    def record_id(self) -> str:
        """`telemetry-` and 32 hex digits that are the same for the same event, wherever it was read."""
        identity = self._identity
        if type(identity) is tuple:
            identity = _record_id(*identity)
            object.__setattr__(self, "_identity", identity)
        return cast("str", identity)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an envelope is immutable: {name!r} can not be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an envelope is immutable: {name!r} can not be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProjectedTelemetryRecord):
            return NotImplemented
        return self is other or bool(_values(self) == _values(other))

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
_values = attrgetter(*_FIELD_NAMES)


def _sealed(fields: _Fields) -> ProjectedTelemetryRecord:
    fields.__class__ = ProjectedTelemetryRecord
    return cast("ProjectedTelemetryRecord", fields)


def _from_dict(fields: dict[str, Any]) -> ProjectedTelemetryRecord:
    return ProjectedTelemetryRecord(**fields)


def project_telemetry_mapping(
    record: Mapping[str, Any], *, observed_timestamp_ns: int | None = None
) -> ProjectedTelemetryRecord:
    """The envelope of one event: any mapping that is shaped like a TelemetryEvent v3; it need not be complete.

    `record` is neither changed nor kept. `observed_timestamp_ns` is when it was observed, in ns since the Unix epoch; by
    default the event's own time. Raises `ValueError` naming `session_id`, `timestamp_ns`, `event_type`, `metadata` or
    `observed_timestamp_ns` where that is missing or not what it must be.
    """
    event = _checked(record)
    if observed_timestamp_ns is None:
        observed_timestamp_ns = event["timestamp_ns"]
    elif not _is_int(observed_timestamp_ns) or observed_timestamp_ns < 0:
        raise ValueError("observed_timestamp_ns must be an int >= 0 (ns since the Unix epoch) or None")
    odd: set[type] = set()
    try:
        fields = _project(event, observed_timestamp_ns, odd)
        fields._identity = _record_id(event, odd)
    except RecursionError:
        raise ValueError("the record is nested too deeply, or contains itself") from None
    return _sealed(fields)


def project_owned_event(event: dict[str, Any]) -> ProjectedTelemetryRecord:
    """The same envelope for an event of our own reader: a well-shaped v3 dict of JSON values that nobody else holds.

    It is not checked again, and `record_id` is computed when it is first asked for: many readers never ask.
    """
    odd: set[type] = set()
    fields = _project(event, event["timestamp_ns"], odd)
    fields._identity = (event, odd)
    return _sealed(fields)


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise ValueError(f"a record must be a mapping, not {type(record).__name__}")
    event = record if isinstance(record, dict) else dict(record)
    for key in ("session_id", "event_type"):
        value = event.get(key)
        if not isinstance(value, str) or _is_blank(value):
            raise ValueError(f"{key} must be a str that is not blank")
    if not _is_int(event.get("timestamp_ns")):
        raise ValueError("timestamp_ns must be an int (ns since the Unix epoch)")
    if not isinstance(event.get("metadata", _NO_MAPPING), Mapping):
        raise ValueError("metadata must be a mapping where it is given")
    return event


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _project(event: dict[str, Any], observed_timestamp_ns: int, odd: set[type]) -> _Fields:
    frozen = _frozen_dict(event, odd)
    get = frozen.get
    metadata = event.get("metadata", _NO_MAPPING)
    scope = metadata.get("phase_scope")
    if type(scope) is not dict and not isinstance(scope, Mapping):
        scope = None
    fields = _Fields()
    fields.schema_version = TELEMETRY_PROJECTION_SCHEMA_VERSION
    fields.timestamp_ns = event["timestamp_ns"]
    fields.observed_timestamp_ns = observed_timestamp_ns
    fields.session_id = event["session_id"]
    fields.event_type = event["event_type"]
    fields.source_kind = kind = _source_kind(event, metadata)
    fields.stage = None if scope is None else _stage(scope)
    fields.severity = _severity(event["event_type"], metadata)
    fields.severity_text = _text_or_none(metadata.get("severity_text"))
    fields.body = _text_or_none(event.get("context"))
    fields.resource = MappingProxyType(
        {
            "source_kind": kind,
            "collector": get("collector"),
            "host": get("host"),
            "pid": get("pid"),
            "device_id": get("device_id"),
            "job_id": get("job_id"),
            "rank": get("rank"),
            "local_rank": get("local_rank"),
            "world_size": get("world_size"),
        }
    )
    fields.attributes = MappingProxyType(
        {
            **get("metadata", _NO_MAPPING),
            "sampling.interval_ms": get("sampling_interval_ms"),
            "memory.allocator.allocated_bytes": get("allocator_allocated_bytes"),
            "memory.allocator.reserved_bytes": get("allocator_reserved_bytes"),
            "memory.allocator.active_bytes": get("allocator_active_bytes"),
            "memory.allocator.inactive_bytes": get("allocator_inactive_bytes"),
            "memory.allocator.change_bytes": get("allocator_change_bytes"),
            "memory.device.used_bytes": get("device_used_bytes"),
            "memory.device.free_bytes": get("device_free_bytes"),
            "memory.device.total_bytes": get("device_total_bytes"),
        }
    )
    correlation = {
        "session_id": get("session_id"),
        "job_id": get("job_id"),
        "rank": get("rank"),
        "local_rank": get("local_rank"),
        "world_size": get("world_size"),
    }
    if scope is not None:
        _add_scope(correlation, get("metadata")["phase_scope"])
    fields.correlation = MappingProxyType(correlation)
    return fields


def _add_scope(correlation: dict[str, Any], scope: Mapping[str, Any]) -> None:
    for key in ("scope_id", "parent_scope_id", "sequence"):
        value = scope.get(key)
        if value is not None:
            correlation[f"phase.{key}"] = value


def _source_kind(event: dict[str, Any], metadata: Mapping[str, Any]) -> str:
    backend = metadata.get("backend")
    if isinstance(backend, str):
        kind = backend.strip().lower()
        if kind in _SOURCE_KINDS:
            return kind
    collector = event.get("collector")
    if isinstance(collector, str):
        lowered = collector.lower()
        for kind in _SOURCE_KINDS:
            if kind in lowered:
                return kind
    device_id = event.get("device_id")
    return "gpu" if _is_int(device_id) and device_id >= 0 else "other"


def _stage(scope: Mapping[str, Any]) -> str | None:
    name = scope.get("name")
    if isinstance(name, str) and not _is_blank(name):
        return name
    path = scope.get("path")
    if isinstance(path, list) and path and isinstance(path[-1], str) and not _is_blank(path[-1]):
        return path[-1]
    return None


def _severity(event_type: str, metadata: Mapping[str, Any]) -> str | None:
    severity = metadata.get("severity")
    if isinstance(severity, str) and not _is_blank(severity):
        return severity.strip().lower()
    return _SEVERITY_BY_EVENT_TYPE.get(event_type.strip().lower())


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


_PLAIN: Final = frozenset({str, int, bool, type(None)})
_STR_ONLY: Final = frozenset({str})


def _frozen_dict(mapping: Mapping[Any, Any], odd: set[type]) -> dict[str, Any]:
    """A dict of its own with str keys and frozen values.

    `odd` takes up the types met, in keys and values, that JSON has not or that msgspec may write otherwise than Python.
    """
    frozen = dict(mapping)
    if not _STR_ONLY.issuperset(map(type, frozen)):
        odd.update(kind for kind in map(type, frozen) if kind is not str)
        frozen = {_key(key): value for key, value in frozen.items()}
    for key, value in frozen.items():
        if type(value) not in _PLAIN:
            frozen[key] = _frozen(value, odd)
    return frozen


def _key(key: object) -> str:
    return str.__str__(key) if isinstance(key, str) else str(key)


def _frozen(value: Any, odd: set[type]) -> Any:
    kind = type(value)
    if kind is dict:
        return MappingProxyType(_frozen_dict(value, odd))
    if kind is list or kind is tuple:
        return tuple([item if type(item) in _PLAIN else _frozen(item, odd) for item in value])
    if kind in _PLAIN:
        return value
    odd.add(kind)
    if isinstance(value, Mapping):
        return MappingProxyType(_frozen_dict(value, odd))
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (tuple, MutableSequence)):
        return tuple([_frozen(item, odd) for item in value])
    if isinstance(value, Set):
        return frozenset(value)
    return value


def _thawed(value: Any) -> Any:
    if isinstance(value, MappingProxyType):
        return {key: _thawed(item) for key, item in value.items()}
    if type(value) is tuple:
        return [_thawed(item) for item in value]
    return value


_encode = msgspec.json.Encoder(order="sorted").encode
_spaced = msgspec.json.format


def _record_id(record: dict[str, Any], odd: set[type]) -> str:
    text = _canonical_json(record, odd)
    return "telemetry-" + hashlib.sha256(text).hexdigest()[:32]


def _canonical_json(record: dict[str, Any], odd: set[type]) -> bytes:
    if not odd:
        text = _spaced(_encode(record), indent=0)
        if text.isascii() and 92 not in text and 127 not in text:
            return text
    return json.dumps(json.loads(json.dumps(record, sort_keys=True, default=str)), sort_keys=True).encode()


def projected_record_to_dict(record: ProjectedTelemetryRecord) -> dict[str, Any]:
    return {name: _thawed(value) for name, value in zip(_FIELD_NAMES, _values(record), strict=True)}
