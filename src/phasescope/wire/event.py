"""TelemetryEvent v3: its keys, its validation, and who the process is in its job.

An event is one flat JSON object. This module states its keys and the values that they take; it makes no events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from phasescope.wire import launchers
from phasescope.wire.encoding import MASKED_COUNTERS

SCHEMA_VERSION: Final = 3

REQUIRED_KEYS: Final = (
    "schema_version",
    "session_id",
    "timestamp_ns",
    "event_type",
    "collector",
    "sampling_interval_ms",
    "pid",
    "host",
    "device_id",
    *MASKED_COUNTERS,
    "context",
    "metadata",
)
OPTIONAL_KEYS: Final = ("job_id", "rank", "local_rank", "world_size")
EVENT_KEYS: Final = REQUIRED_KEYS + OPTIONAL_KEYS
COUNTERS: Final = MASKED_COUNTERS

EVENT_TYPES: Final = (
    "start",
    "stop",
    "sample",
    "phase_enter",
    "phase_exit",
    "warning",
    "critical",
    "error",
    "collector_degraded",
    "collector_recovered",
)
"""The types that the profiler writes. Readers accept any other type as well."""


class InvalidEventError(ValueError):
    """A record is not a TelemetryEvent v3. `field` is the key at fault, or `record` if that is not a mapping."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, str(self))


def validate_event(record: Mapping[str, Any]) -> None:
    """Raise `InvalidEventError` for the first thing that keeps `record` from being a TelemetryEvent v3.

    Checked in this order: unknown keys, each key in the order of `EVENT_KEYS`, the bounds between keys. Anything that
    lies inside `metadata` is free. An unknown key's error names all of them; its `field` is the first in sorted order.
    """
    if not isinstance(record, Mapping):
        raise InvalidEventError("record", f"an event is {_found(record)}; it must be a mapping")
    _refuse_unknown_keys(record)
    for key, rule in _RULES.items():
        if key not in record:
            if key in OPTIONAL_KEYS:
                continue
            raise InvalidEventError(key, f"{key} is missing; it must be {rule.right}")
        if not rule.holds(record[key]):
            raise InvalidEventError(key, f"{key} is {_found(record[key])}; it must be {rule.right}")
    _check_bounds_between_keys(record)


def _refuse_unknown_keys(record: Mapping[Any, Any]) -> None:
    unknown = [key for key in record if key not in _RULES]
    if unknown:
        names = sorted(key if isinstance(key, str) else f"<{type(key).__name__}>" for key in unknown)
        listed = ", ".join(map(_short, names))
        raise InvalidEventError(
            names[0], f"unknown top-level keys: {listed}; what v3 has no key for goes into metadata"
        )


def _check_bounds_between_keys(record: Mapping[str, Any]) -> None:
    total = record["device_total_bytes"]
    for key in ("device_used_bytes", "device_free_bytes"):
        value = record[key]
        if value is not None and total is not None and value > total:
            raise InvalidEventError(key, f"{key} is {_found(value)}; it must be <= device_total_bytes, {_found(total)}")
    world_size = record.get("world_size", 1)
    rank = record.get("rank", 0)
    for key, value in (("rank", rank), ("local_rank", record.get("local_rank", rank))):
        if value >= world_size:
            bound = f"world_size, {_found(world_size)}" if "world_size" in record else "1, since world_size is absent"
            raise InvalidEventError(key, f"{key} is {_found(value)}; it must be < {bound}")


def _found(value: object) -> str:
    """Return the type, and for JSON's scalars a short text of the value. Anything else may be a tensor: left alone."""
    name = type(value).__name__
    if isinstance(value, str):
        return f"{name} {_short(value)!r}"
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int):  # Python refuses to write ints of thousands of digits
        bits = value.bit_length()
        return f"{name} {int.__repr__(value)}" if bits <= 128 else f"{name} of {bits} bits"
    if isinstance(value, float):
        return f"{name} {float.__repr__(value)}"
    return name


def _short(text: str) -> str:
    text = str.__str__(text)
    return text if len(text) <= 80 else text[:79] + "…"


class _FieldRule(NamedTuple):
    right: str
    holds: Callable[[Any], bool]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


_TEXT = _FieldRule("a str that is not blank", _is_text)
_TEXT_OR_NULL = _FieldRule("a str that is not blank, or None", lambda value: value is None or _is_text(value))
_INT = _FieldRule("an int", _is_int)
_COUNT = _FieldRule("an int >= 0", lambda value: _is_int(value) and value >= 0)
_COUNT_OR_NULL = _FieldRule("an int >= 0, or None", lambda value: value is None or (_is_int(value) and value >= 0))

_RULES: Final[Mapping[str, _FieldRule]] = {
    "schema_version": _FieldRule(f"the int {SCHEMA_VERSION}", lambda value: _is_int(value) and value == SCHEMA_VERSION),
    "session_id": _TEXT,
    "timestamp_ns": _COUNT,
    "event_type": _TEXT,
    "collector": _TEXT,
    "sampling_interval_ms": _COUNT,
    "pid": _FieldRule("an int >= -1", lambda value: _is_int(value) and value >= -1),
    "host": _TEXT,
    "device_id": _INT,
    "allocator_allocated_bytes": _COUNT,
    "allocator_reserved_bytes": _COUNT,
    "allocator_active_bytes": _COUNT_OR_NULL,
    "allocator_inactive_bytes": _COUNT_OR_NULL,
    "allocator_change_bytes": _INT,
    "device_used_bytes": _COUNT,
    "device_free_bytes": _COUNT_OR_NULL,
    "device_total_bytes": _COUNT_OR_NULL,
    "context": _FieldRule("a str or None", lambda value: value is None or isinstance(value, str)),
    "metadata": _FieldRule("a mapping", lambda value: isinstance(value, Mapping)),
    "job_id": _TEXT_OR_NULL,
    "rank": _COUNT,
    "local_rank": _COUNT,
    "world_size": _FieldRule("an int >= 1", lambda value: _is_int(value) and value >= 1),
}


class Identity(NamedTuple):
    """The process's identity: its job, its rank of `world_size` ranks, and its rank among those on the same machine."""

    job_id: str | None
    rank: int
    local_rank: int
    world_size: int


def resolve_identity(
    *,
    job_id: str | None = None,
    rank: int | None = None,
    local_rank: int | None = None,
    world_size: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Identity:
    """Return the process's identity: each argument given, else the launcher's (`launchers`), else alone.

    A launcher counts only if its rank and world size are both set and make sense: the environment never raises. A wrong
    argument does: `TypeError` for its type, `ValueError` for a value that does not fit, both naming the argument.
    """
    _check_arguments(job_id, rank, local_rank, world_size)
    by_launcher = launchers.launched(environ)
    launched = by_launcher or launchers.Launched(rank=0, local_rank=None, world_size=1)
    size = launched.world_size if world_size is None else world_size
    own = launched.rank if rank is None else rank
    if own >= size:
        raise ValueError(_rank_out_of_range(rank, own, size))
    if local_rank is None:
        local = launched.local_rank
        local_rank = own if local is None or local >= size else local
    elif local_rank >= size:
        raise ValueError(f"local_rank={local_rank} must be less than world_size, {size}; pass world_size as well")
    return Identity(launchers.job_id(environ, by_launcher, size) if job_id is None else job_id, own, local_rank, size)


def _check_arguments(job_id: object, rank: object, local_rank: object, world_size: object) -> None:
    if job_id is not None:
        if not isinstance(job_id, str):
            raise TypeError(f"job_id is {_found(job_id)}; it must be a str, or None to take it from the environment")
        if not job_id.strip():
            raise ValueError("job_id is blank; pass None to take it from the environment")
    for name, value, least in (("rank", rank, 0), ("local_rank", local_rank, 0), ("world_size", world_size, 1)):
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} is {_found(value)}; it must be an int, or None to take it from the environment")
        if value < least:
            raise ValueError(
                f"{name} is {_found(value)}; it must be >= {least}, or None to take it from the environment"
            )


def _rank_out_of_range(given: int | None, rank: int, world_size: int) -> str:
    if given is None:
        return f"world_size={world_size} leaves no room for the environment's rank, {rank}; pass rank as well"
    return f"rank={rank} must be less than world_size, {world_size}; pass world_size as well"
