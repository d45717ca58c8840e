"""The fields of an event, as far as they are well-formed: any file may be read, and nothing here raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INT64 = 1 << 63
_NONE: frozenset[str] = frozenset()

HOST_ID = -1
"""The number of the host as a device."""

HOST = "host"
"""How the host is called among devices."""


class Scope(NamedTuple):
    """An event's `metadata.phase_scope`, as far as it is well-formed. `fields` is the object itself."""

    path: tuple[str, ...]
    action: str | None
    scope_id: str | None
    fields: Mapping[str, Any]


def scope_of(event: Mapping[str, Any]) -> Scope | None:
    """Return the phase that an event is about; None if it names none, or nothing that can be read as one."""
    metadata = event.get("metadata")
    fields = metadata.get("phase_scope") if isinstance(metadata, dict) else None
    if not isinstance(fields, dict):
        return None
    path = fields.get("path")
    if not isinstance(path, (list, tuple)) or not path or not all(isinstance(name, str) for name in path):
        name = fields.get("name")
        if not isinstance(name, str):
            return None
        path = (name,)
    scope_id = fields.get("scope_id")
    action = fields.get("action")
    return Scope(
        tuple(path),
        action if isinstance(action, str) else None,
        scope_id if isinstance(scope_id, str) else None,
        fields,
    )


def device_times(event: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the phases, by path, with their time on the device in ns, as a `device_time` event states them.

    Anything ill-formed is left out.
    """
    metadata = event.get("metadata")
    entries = metadata.get("device_times") if isinstance(metadata, dict) else None
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        path = entry.get("path") if isinstance(entry, dict) else None
        if isinstance(path, (list, tuple)) and path and all(isinstance(name, str) for name in path):
            duration_ns = size_or_none(entry.get("duration_ns"))
            if duration_ns is not None:
                yield tuple(path), duration_ns


def int_or_none(value: object) -> int | None:
    """Return the value if it is an int of 64 bits, which is all that the profiler writes; a bool is not."""
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def size_or_none(value: object) -> int | None:
    """Return the value if it is an int of 0 to 2**63 - 1."""
    return value if type(value) is int and 0 <= value < _INT64 else None


def counter_of(event: Mapping[str, Any], unknown: frozenset[str], name: str) -> int | None:
    """Return one of an event's counters; None if it is one of the `unknown`, those that `unavailable` returns."""
    return None if name in unknown else size_or_none(event.get(name))


def unavailable(event: Mapping[str, Any]) -> frozenset[str]:
    """Return the counters of an event whose 0 is not a measurement."""
    metadata = event.get("metadata")
    names = metadata.get("unavailable") if isinstance(metadata, dict) else None
    if not isinstance(names, (list, tuple)):
        return _NONE
    return frozenset(name for name in names if isinstance(name, str))


def device_of(event: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the backend and the number of the device that an event is about; None if it does not say both."""
    metadata, device_id = event.get("metadata"), int_or_none(event.get("device_id"))
    backend = metadata.get("backend") if isinstance(metadata, dict) else None
    return (backend, device_id) if isinstance(backend, str) and device_id is not None else None


def is_host(backend: object, device_id: object) -> bool:
    """Return whether a device is the host."""
    return backend == "cpu" and device_id == HOST_ID


def device_label(backend: str, device_id: int) -> str:
    """Return how a device is called for a person: `cuda:0`; the host is `host`."""
    return HOST if is_host(backend, device_id) else f"{backend}:{device_id}"
