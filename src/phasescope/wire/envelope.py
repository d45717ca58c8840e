"""The projected envelope: one event as a small, deeply frozen record that other programs can compare.

`project_telemetry_mapping` is pure: it reads one mapping and builds one `ProjectedTelemetryRecord`. Live events, loaded
ones and those of other tools go through the same rules, so equal events give equal envelopes wherever they were read.
"""

from __future__ import annotations

from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from phasescope.wire.envelope_fields import (
    FIELD_NAMES,
    NO_MAPPING,
    TOO_DEEP,
    Fields,
    attributes_of,
    checked,
    correlation_of,
    is_int,
    metadata_of,
    projected,
    resource_of,
)
from phasescope.wire.frozen import frozen_dict, frozen_event, thawed
from phasescope.wire.record_id import record_id_of, sorted_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TELEMETRY_PROJECTION_SCHEMA_VERSION: Final = 1
"""The version of the envelope's fields, in `ProjectedTelemetryRecord.schema_version`."""

_fields_of = attrgetter(*FIELD_NAMES)
_set = object.__setattr__


@final
class ProjectedTelemetryRecord(Fields):
    """One event's immutable envelope. `project_telemetry_mapping` makes it; the constructor takes fields as keywords.

    `timestamp_ns` is the event's wall clock, `observed_timestamp_ns` that of whoever observed it, both in ns since the
    Unix epoch. `source_kind` says what was measured (`cpu`, `cuda`, `rocm`, `mps`, `tensorflow`, else `gpu` or
    `other`), `stage` is the phase, `body` the event's line for a person. `resource`, `attributes` and `correlation`
    are read-only mappings with str keys; in them, at any depth, mappings are read-only, sequences are tuples and sets
    are frozensets. A value of any other kind is kept as it is.

    Two envelopes are equal if all their fields are. A copy of an envelope is the envelope itself.
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
        resource: Mapping[str, Any] = NO_MAPPING,
        attributes: Mapping[str, Any] = NO_MAPPING,
        correlation: Mapping[str, Any] = NO_MAPPING,
    ) -> ProjectedTelemetryRecord:
        fields = Fields()
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
            packed = self._event
            if isinstance(packed, bytes):  # a phase boundary, of which nothing but the id is asked for
                event = self._unpack(packed)
                attributes = event["metadata"]["phase_scope"].get("attributes", {})
                record_id = record_id_of(event, {float} if float in map(type, attributes.values()) else set())
            else:
                record_id = record_id_of(packed, metadata_of(self)[1])
            _set(self, "_record_id", record_id)
        return record_id

    @property
    def resource(self) -> Mapping[str, Any]:
        """The place of measurement: collector, host, process, device, and the rank in its job."""
        resource = self._resource
        if resource is None:
            resource = MappingProxyType(resource_of(self))
            _set(self, "_resource", resource)
        return resource

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The event's metadata, its counters in bytes and its sampling interval in ms; None if one is unknown."""
        attributes = self._attributes
        if attributes is None:
            attributes = MappingProxyType(attributes_of(self))
            _set(self, "_attributes", attributes)
        return attributes

    @property
    def correlation(self) -> Mapping[str, Any]:
        """The keys that it shares with other events: session, job, rank, and the phase's scope."""
        correlation = self._correlation
        if correlation is None:
            correlation = MappingProxyType(correlation_of(self))
            _set(self, "_correlation", correlation)
        return correlation

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an envelope is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an envelope is immutable: {name!r} cannot be deleted")

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
    """Return the envelope of one event: any mapping shaped like a TelemetryEvent v3, complete or not.

    `record` is neither changed nor kept. `observed_timestamp_ns` is when it was observed, in ns since the Unix epoch;
    by default the event's own time. Raises `ValueError` naming `session_id`, `timestamp_ns`, `event_type`, `metadata`
    or `observed_timestamp_ns` if that is missing or not as it must be, and for a record that contains itself.
    """
    event = checked(record)
    observed_ns: int = event["timestamp_ns"] if observed_timestamp_ns is None else observed_timestamp_ns
    if observed_timestamp_ns is not None and (not is_int(observed_ns) or observed_ns < 0):
        raise ValueError("observed_timestamp_ns must be an int >= 0 (ns since the Unix epoch) or None")
    odd: set[type] = set()
    try:
        frozen, metadata = frozen_event(event, odd)
        record_id = record_id_of(event, odd)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    fields = projected(event, observed_ns)
    fields.schema_version = TELEMETRY_PROJECTION_SCHEMA_VERSION
    fields._record_id = record_id
    fields._event = frozen
    fields._frozen_metadata = (metadata, odd)
    return _sealed(fields)


def project_owned_event(event: dict[str, Any]) -> ProjectedTelemetryRecord:
    """Return the same envelope for our own reader's event: a well-shaped v3 dict of JSON values that nobody else holds.

    It is not checked again, and the parts that few readers want are made when they are read.
    """
    fields = projected(event, event["timestamp_ns"])
    fields.schema_version = TELEMETRY_PROJECTION_SCHEMA_VERSION
    fields._record_id = None
    fields._event = event
    fields._frozen_metadata = None
    return _sealed(fields)


def packed_envelope(
    like: ProjectedTelemetryRecord, timestamp_ns: int, packed: bytes, unpack: Callable[[bytes], dict[str, Any]]
) -> ProjectedTelemetryRecord:
    """Return the envelope of an event that differs from `like`'s in its time and its numbers only.

    `unpack` makes it of `packed` when somebody asks for more.
    """
    fields = Fields()
    fields.schema_version = TELEMETRY_PROJECTION_SCHEMA_VERSION
    fields.timestamp_ns = fields.observed_timestamp_ns = timestamp_ns
    fields.session_id = like.session_id
    fields.source_kind = like.source_kind
    fields.event_type = like.event_type
    fields.stage = like.stage
    fields.severity = like.severity
    fields.severity_text = like.severity_text
    fields.body = like.body
    fields._record_id = fields._resource = fields._attributes = fields._correlation = fields._frozen_metadata = None
    fields._event = packed
    fields._unpack = unpack
    return _sealed(fields)


def projected_record_to_dict(record: ProjectedTelemetryRecord) -> dict[str, Any]:
    """Return all fields in their order, as plain dicts, lists and sets of their own.

    The constructor takes them back.
    """
    return {name: thawed(value) for name, value in zip(FIELD_NAMES, _fields_of(record), strict=True)}


def unique_projected_resources(records: Iterable[ProjectedTelemetryRecord]) -> list[dict[str, Any]]:
    """Return the distinct resources as plain dicts, in the order first seen.

    The same are those whose sorted JSON is.
    """
    return _unique(record.resource for record in records)


def unique_projected_correlations(records: Iterable[ProjectedTelemetryRecord]) -> list[dict[str, Any]]:
    """Return the distinct correlations as plain dicts, in the order first seen.

    The same are those whose sorted JSON is.
    """
    return _unique(record.correlation for record in records)


def _unique(mappings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    distinct: dict[str, dict[str, Any]] = {}
    for mapping in mappings:
        plain = thawed(mapping)
        distinct.setdefault(sorted_json(plain), plain)
    return list(distinct.values())
