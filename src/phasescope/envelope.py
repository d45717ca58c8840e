"""The projected envelope: one event as a small, deeply frozen record that other programs can compare.

`project_telemetry_mapping` is pure: it reads one mapping and builds one `ProjectedTelemetryRecord`. Live events, loaded
ones and those of other tools go through the same rules, so equal events give equal envelopes wherever they were read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Set
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

    A frozen class pays a call of `object.__setattr__` for every field, about 1 µs in all. So an envelope is filled in
    as this class, by plain stores, and then turned into a `ProjectedTelemetryRecord`: the same slots, closed to stores.
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
    fields.__class__ = ProjectedTelemetryRecord
    return cast("ProjectedTelemetryRecord", fields)


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
    if observed_timestamp_ns is None:
        observed_timestamp_ns = cast("int", event["timestamp_ns"])
    elif not _is_int(observed_timestamp_ns) or observed_timestamp_ns < 0:
        raise ValueError("observed_timestamp_ns must be an int >= 0 (ns since the Unix epoch) or None")
    odd: set[type] = set()
    try:
        values, metadata = _frozen_event(event, odd)
        fields = _projected(event, values, metadata, observed_timestamp_ns)
        fields._identity = _record_id(event, odd)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    return _sealed(fields)


def project_owned_event(event: dict[str, Any]) -> ProjectedTelemetryRecord:
    """The same envelope for an event of our own reader: a well-shaped v3 dict of JSON values that nobody else holds.

    It is not checked again. `record_id` is computed when it is first asked for, since most readers never ask.
    """
    odd: set[type] = set()
    try:
        metadata = _frozen_dict(event["metadata"], odd)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
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
# fmt: off
_EVENT_KEYS: Final = (  # all but metadata
    "schema_version", "session_id", "timestamp_ns", "event_type", "collector", "sampling_interval_ms", "pid", "host",
    "device_id", "allocator_allocated_bytes", "allocator_reserved_bytes", "allocator_active_bytes",
    "allocator_inactive_bytes", "allocator_change_bytes", "device_used_bytes", "device_free_bytes",
    "device_total_bytes", "context", "job_id", "rank", "local_rank", "world_size",
)
# fmt: on
_all_event_values: Final[Callable[[dict[str, Any]], tuple[Any, ...]]] = itemgetter(*_EVENT_KEYS)
_TOO_DEEP: Final = "the record is nested too deeply, or contains itself"


def _event_values(event: dict[str, Any]) -> tuple[Any, ...]:
    try:
        return _all_event_values(event)  # one call in C where no key is missing
    except KeyError:
        return tuple(map(event.get, _EVENT_KEYS))


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    event = record if isinstance(record, dict) else _as_dict(record)
    for key in ("session_id", "event_type"):
        value = event.get(key)
        if not isinstance(value, str) or not value.strip():
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


def _projected(
    event: dict[str, Any], values: tuple[Any, ...], metadata: dict[str, Any], observed_timestamp_ns: int
) -> _Fields:
    """All fields but the record_id, from an event and from its values and metadata as `_frozen_event` gives them.

    Takes `metadata` over: it becomes the attributes. Long, because each call it were split into costs 1/20 of it.
    """
    # fmt: off
    (_, session_id, timestamp_ns, event_type, collector, interval_ms, pid, host,
     device_id, allocated, reserved, active,
     inactive, change, used, free,
     total, _, job_id, rank, local_rank, world_size) = values
    # fmt: on
    given = event.get("metadata", _NO_MAPPING)  # texts are made from what was given: str([1]), not str((1,))
    text, body, scope = given.get("severity_text"), event.get("context"), given.get("phase_scope")
    kind = _source_kind(given.get("backend"), collector, device_id)
    correlation = {
        "session_id": session_id,
        "job_id": job_id,
        "rank": rank,
        "local_rank": local_rank,
        "world_size": world_size,
    }
    fields = _Fields()
    fields.schema_version = TELEMETRY_PROJECTION_SCHEMA_VERSION
    fields.timestamp_ns = timestamp_ns
    fields.observed_timestamp_ns = observed_timestamp_ns
    fields.session_id = session_id
    fields.source_kind = kind
    fields.event_type = event_type
    fields.stage = None
    if isinstance(scope, dict) or isinstance(scope, Mapping):  # noqa: SIM101 - dict first: far cheaper
        fields.stage = _stage(scope)
        _correlate(correlation, metadata["phase_scope"])
    fields.severity = _severity(given.get("severity"), event_type)
    fields.severity_text = None if text is None else str(text)
    fields.body = None if body is None else str(body)
    fields.resource = MappingProxyType(
        {
            "source_kind": kind,
            "collector": collector,
            "host": host,
            "pid": pid,
            "device_id": device_id,
            "job_id": job_id,
            "rank": rank,
            "local_rank": local_rank,
            "world_size": world_size,
        }
    )
    metadata["sampling.interval_ms"] = interval_ms
    metadata["memory.allocator.allocated_bytes"] = allocated
    metadata["memory.allocator.reserved_bytes"] = reserved
    metadata["memory.allocator.active_bytes"] = active
    metadata["memory.allocator.inactive_bytes"] = inactive
    metadata["memory.allocator.change_bytes"] = change
    metadata["memory.device.used_bytes"] = used
    metadata["memory.device.free_bytes"] = free
    metadata["memory.device.total_bytes"] = total
    fields.attributes = MappingProxyType(metadata)
    fields.correlation = MappingProxyType(correlation)
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


def _correlate(correlation: dict[str, Any], scope: Mapping[str, Any]) -> None:
    if (value := scope.get("scope_id")) is not None:
        correlation["phase.scope_id"] = value
    if (value := scope.get("parent_scope_id")) is not None:
        correlation["phase.parent_scope_id"] = value
    if (value := scope.get("sequence")) is not None:
        correlation["phase.sequence"] = value


def _severity(given: object, event_type: str) -> str | None:
    if isinstance(given, str) and given.strip():
        return given.strip().lower()
    return _SEVERITY_BY_EVENT_TYPE.get(event_type.strip().lower())


# --- freezing --------------------------------------------------------------------------------------------------------

_PLAIN: Final = frozenset({str, int, bool, type(None)})  # immutable, and msgspec writes them as json does


def _frozen_event(event: dict[str, Any], odd: set[type]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The values of `_EVENT_KEYS` and a dict of the metadata, both frozen; `odd` as in `_frozen_dict`."""
    others = dict(event)
    metadata = others.pop("metadata", _NO_MAPPING)
    if type(event) is type(metadata) is dict and _PLAIN.issuperset(map(type, others.values())):
        return _event_values(others), _frozen_dict(metadata, odd)  # flat, as v3 is: no walk over every key
    if type(event) is not dict:
        odd.add(type(event))
    frozen = _frozen_dict(event, odd)
    return _event_values(frozen), dict(frozen.get("metadata", _NO_MAPPING))


def _frozen_dict(mapping: Mapping[Any, Any], odd: set[type]) -> dict[str, Any]:
    """A dict of its own with str keys and frozen values.

    `odd` takes up the types met, of keys and values, that are not JSON's or not written alike by msgspec and json.
    """
    frozen: dict[str, Any] = {}
    for key, value in mapping.items():
        kind = type(value)
        if kind not in _PLAIN:
            if kind is dict:
                value = MappingProxyType(_frozen_dict(value, odd))
            elif kind is list and _PLAIN.issuperset(map(type, value)):
                value = tuple(value)
            else:
                value = _frozen(value, odd)
        if type(key) is str:
            frozen[key] = value
        else:
            odd.add(type(key))
            frozen.setdefault(_key_text(key), value)  # never over a true str key
    return frozen


def _key_text(key: object) -> str:
    return str.__str__(key) if isinstance(key, str) else str(key)


def _frozen(value: Any, odd: set[type]) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return MappingProxyType(_frozen_dict(value, odd))
    if kind is list or kind is tuple:
        return tuple([_frozen(item, odd) for item in value])
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
    if type(value) is frozenset:
        return set(value)
    return value


# --- record_id -------------------------------------------------------------------------------------------------------

_sorted_json = json.JSONEncoder(sort_keys=True, default=str).encode
_sorted_msgspec_json = msgspec.json.Encoder(order="sorted").encode
_BACKSLASH, _DELETE = 0x5C, 0x7F


def _record_id(record: dict[str, Any], odd: set[type]) -> str:
    return "telemetry-" + hashlib.sha256(_canonical_json(record, odd)).hexdigest()[:32]


def _canonical_json(record: dict[str, Any], odd: set[type]) -> bytes:
    """The text of `json.dumps(json.loads(json.dumps(record, sort_keys=True, default=str)), sort_keys=True)`, sooner.

    msgspec writes the same bytes in a third of the time of one `json.dumps`, except for escapes, non-ASCII, floats and
    what JSON has not. It refuses keys that are not str. Where it does not, one pass of json is exact too, unless there
    are surrogates: two of them are one character when read again, which may sort elsewhere or be another key's twin.
    """
    if odd <= {float}:
        try:
            text = _sorted_msgspec_json(record)
        except (TypeError, ValueError):
            return _exact_json(record)
        if not odd and text.isascii() and _BACKSLASH not in text and _DELETE not in text:
            return msgspec.json.format(text, indent=0)
        once = _sorted_json(record)
        if "\\ud" not in once:
            return once.encode()
    return _exact_json(record)


def _exact_json(record: dict[str, Any]) -> bytes:
    try:
        text = _sorted_json(record)
    except TypeError:  # keys of types that can not be sorted together, or that JSON has not
        text = _sorted_json(_with_json_keys(record))
    return _sorted_json(json.loads(text)).encode()


def _with_json_keys(value: Any) -> Any:
    if isinstance(value, dict):
        normal: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(key, str):
                normal[key] = _with_json_keys(item)
            else:
                scalar = key is None or isinstance(key, (int, float))
                normal.setdefault(json.dumps(key) if scalar else str(key), _with_json_keys(item))
        return normal
    if isinstance(value, (list, tuple)):
        return [_with_json_keys(item) for item in value]
    return value
