"""The projected envelope: one event as a small, deeply frozen record that other programs can compare.

`project_telemetry_mapping` is pure: it reads one mapping and builds one `ProjectedTelemetryRecord`. Live events, loaded
ones and those of other tools go through the same rules, so equal events give equal envelopes wherever they were read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, MutableSequence, Set
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any, Final, NoReturn, cast, final

import msgspec

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
_values_of = attrgetter(*_FIELD_NAMES)
_NO_MAPPING: Final[Mapping[str, Any]] = MappingProxyType({})


class _Fields:
    """An envelope while it is being filled in.

    A frozen class pays a call of `object.__setattr__` for every field, about 1 µs in all. So an envelope is filled in as
    this class, by plain stores, and then turned into a `ProjectedTelemetryRecord`: the same slots, closed to stores.
    """

    __slots__ = tuple("_identity" if name == "record_id" else name for name in _FIELD_NAMES)

    schema_version: int
    _identity: str | tuple[dict[str, Any], set[type]]  # the record_id, or the arguments to compute it from
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
    """One event's immutable envelope. `project_telemetry_mapping` makes it; the constructor takes its fields as keywords.

    `timestamp_ns` is the event's wall clock, `observed_timestamp_ns` that of whoever observed it, both in ns since the Unix
    epoch. `source_kind` says what was measured (`cpu`, `cuda`, `rocm`, `mps`, `tensorflow`, else `gpu` or `other`), `stage`
    is the phase, `body` the event's line for a person. `resource`, `attributes` and `correlation` are read-only mappings
    with str keys; in them, at any depth, mappings are read-only, sequences are tuples and sets are frozensets. A value of
    any other kind is kept as it is.

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
        fields.resource = MappingProxyType(_frozen_dict(resource, set()))
        fields.attributes = MappingProxyType(_frozen_dict(attributes, set()))
        fields.correlation = MappingProxyType(_frozen_dict(correlation, set()))
        return _sealed(fields)

    @property
    def record_id(self) -> str:
        """`telemetry-` and 32 hex digits: the same for the same event, wherever and by whomever it is read."""
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
        return self is other or bool(_values_of(self) == _values_of(other))

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


def _sealed(fields: _Fields) -> ProjectedTelemetryRecord:
    fields.__class__ = ProjectedTelemetryRecord  # type: ignore[assignment]
    return cast("ProjectedTelemetryRecord", fields)


def _from_dict(fields: dict[str, Any]) -> ProjectedTelemetryRecord:
    return ProjectedTelemetryRecord(**fields)


def project_telemetry_mapping(
    record: Mapping[str, Any], *, observed_timestamp_ns: int | None = None
) -> ProjectedTelemetryRecord:
    """The envelope of one event: any mapping that is shaped like a TelemetryEvent v3; it need not be complete.

    `record` is neither changed nor kept. `observed_timestamp_ns` is when it was observed, in ns since the Unix epoch; by
    default the event's own time. Raises `ValueError` naming `session_id`, `timestamp_ns`, `event_type`, `metadata` or
    `observed_timestamp_ns` where that is missing or not what it must be, and for a record that contains itself.
    """
    event = _checked(record)
    if observed_timestamp_ns is None:
        observed_timestamp_ns = cast("int", event["timestamp_ns"])
    elif not _is_int(observed_timestamp_ns) or observed_timestamp_ns < 0:
        raise ValueError("observed_timestamp_ns must be an int >= 0 (ns since the Unix epoch) or None")
    odd: set[type] = set()
    try:
        fields = _projected(event, *_frozen_event(event, odd), observed_timestamp_ns)
        fields._identity = _record_id(event, odd)
    except RecursionError:
        raise ValueError("the record is nested too deeply, or contains itself") from None
    return _sealed(fields)


def project_owned_event(event: dict[str, Any]) -> ProjectedTelemetryRecord:
    """The same envelope for an event of our own reader: a well-shaped v3 dict of JSON values that nobody else holds.

    It is not checked again. `record_id` is computed when it is first asked for, since most readers never ask.
    """
    odd: set[type] = set()
    metadata = _frozen_dict(event["metadata"], odd)
    fields = _projected(event, _event_values(event), metadata, event["timestamp_ns"])
    fields._identity = (event, odd)
    return _sealed(fields)


def projected_record_to_dict(record: ProjectedTelemetryRecord) -> dict[str, Any]:
    """All fields in their order, as plain dicts, lists and sets of their own; the constructor takes them back."""
    return {name: _thawed(value) for name, value in zip(_FIELD_NAMES, _values_of(record), strict=True)}


def unique_projected_resources(records: Iterable[ProjectedTelemetryRecord]) -> list[dict[str, Any]]:
    """The distinct resources as plain dicts, in the order first seen; the same are those whose sorted JSON is."""
    return _unique(record.resource for record in records)


def unique_projected_correlations(records: Iterable[ProjectedTelemetryRecord]) -> list[dict[str, Any]]:
    """The distinct correlations as plain dicts, in the order first seen; the same are those whose sorted JSON is."""
    return _unique(record.correlation for record in records)


def _unique(mappings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    seen: dict[str, dict[str, Any]] = {}
    for mapping in mappings:
        plain = _thawed(mapping)
        seen.setdefault(_sorted_json(plain), plain)
    return list(seen.values())


# --- what an envelope is made of -------------------------------------------------------------------------------------

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
_EVENT_KEYS: Final = (  # all but metadata
    "schema_version",
    "session_id",
    "timestamp_ns",
    "event_type",
    "collector",
    "sampling_interval_ms",
    "pid",
    "host",
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
    "job_id",
    "rank",
    "local_rank",
    "world_size",
)
_all_event_values = itemgetter(*_EVENT_KEYS)


def _event_values(event: dict[str, Any]) -> tuple[Any, ...]:
    try:
        return _all_event_values(event)  # one call in C where the event is complete, as ours are
    except KeyError:
        return tuple(map(event.get, _EVENT_KEYS))


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    event = record if isinstance(record, dict) else _as_dict(record)
    for key in ("session_id", "event_type"):
        value = event.get(key)
        if not isinstance(value, str) or _is_blank(value):
            raise ValueError(f"{key} must be a str that is not blank")
    if not _is_int(event.get("timestamp_ns")):
        raise ValueError("timestamp_ns must be an int (ns since the Unix epoch)")
    metadata = event.get("metadata", _NO_MAPPING)
    if not isinstance(metadata, dict) and not isinstance(metadata, Mapping):  # dict first: far cheaper
        raise ValueError("metadata must be a mapping where it is given")
    return event


def _as_dict(record: object) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise ValueError(f"a record must be a mapping, not {type(record).__name__}")
    return dict(record)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _projected(
    event: dict[str, Any], values: tuple[Any, ...], metadata: dict[str, Any], observed_timestamp_ns: int
) -> _Fields:
    """The fields but for the record_id. `values` and `metadata` are the event's, already frozen."""
    (
        *(_, session_id, timestamp_ns, event_type, collector, interval_ms, pid, host, device_id),
        *(allocated, reserved, active, inactive, change, used, free, total),
        *(_, job_id, rank, local_rank, world_size),
    ) = values
    return fields
