"""Values from a training as OpenTelemetry takes them: the resource of a session, attributes of bounded size, ids."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from phasescope._os_compat import host_name
from phasescope._version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPE = InstrumentationScope("phasescope", VERSION)

_PLACES = ("k8s.", "slurm.")
_SHARED_PLACES = ("k8s.cluster.", "k8s.node.", "slurm.cluster.", "slurm.node.")
_INT64 = 1 << 63
_LONGEST_TEXT = 4096
_MOST_MEMBERS = 128
_DEEPEST = 6


def resource_of(constants: Mapping[str, Any]) -> Resource:
    """Return the session's resource: what it said when it began, over `OTEL_RESOURCE_ATTRIBUTES`.

    Of the pod and the step that the exporter itself runs in nothing is taken, if the session has said where it runs.
    The command line is not in it, since it may hold secrets.
    """
    place = _place(constants.get("resource"))
    said = {
        **place,
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or "phasescope",
        "service.instance.id": constants.get("session_id"),
        "host.name": constants.get("host"),
        "process.pid": constants.get("pid"),
        "phasescope.job_id": constants.get("job_id"),
        "phasescope.rank": constants.get("rank"),
        "phasescope.local_rank": constants.get("local_rank"),
        "phasescope.world_size": constants.get("world_size"),
    }
    made = Resource.create(cleaned(said))
    if not place:
        return made
    return Resource({key: value for key, value in made.attributes.items() if key in said or _is_shared(key)})


def _place(told: object) -> dict[str, str]:
    """Return where the session runs, if its constants are what they should be: a ring may be from elsewhere."""
    pairs = list(told.items())[:_MOST_MEMBERS] if isinstance(told, Mapping) else []
    return {
        key: value
        for key, value in pairs
        if isinstance(key, str) and isinstance(value, str) and key.startswith(_PLACES)
    }


def _is_shared(key: str) -> bool:
    """Return whether an attribute of the exporter's environment holds for the sessions of its machine too."""
    return not key.startswith(_PLACES) or key.startswith(_SHARED_PLACES)


def own_resource() -> Resource:
    """Return the resource of the exporter itself."""
    host, pid = host_name(), os.getpid()
    said = {
        "service.name": "phasescope-exporter",
        "service.instance.id": f"{host}-{pid}",
        "host.name": host,
        "process.pid": pid,
    }
    return Resource.create(cleaned(said))


def cleaned(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that are known, as values that can be sent, of bounded size."""
    return {_text(str(key)): value for key, value in _members(attributes, _DEEPEST) if value is not None}


def value_of(value: object, depth: int = _DEEPEST) -> Any:
    """Return a value that can be sent; None if it is not known."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else _text(str(value))
    if isinstance(value, str):
        return _text(value)
    if depth <= 0:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {_text(str(key)): member for key, member in _members(value, depth - 1) if member is not None}
    if isinstance(value, (Sequence, Set)) and not isinstance(value, bytes):
        first = list(value)[:_MOST_MEMBERS]
        return [value_of(member, depth - 1) for member in first]
    return f"<{type(value).__name__}>"


def span_id(scope_id: str) -> int:
    """Return the id of the span of one entry of a phase, the same at every call and in every exporter."""
    return int.from_bytes(hashlib.sha256(f"span {scope_id}".encode("utf-8", "replace")).digest()[:8], "big") or 1


def trace_id(scope_id: str) -> int:
    """Return the id of the trace whose outermost phase has this id."""
    return int.from_bytes(hashlib.sha256(f"trace {scope_id}".encode("utf-8", "replace")).digest()[:16], "big") or 1


def _members(values: Mapping[Any, Any], depth: int) -> Iterable[tuple[Any, Any]]:
    return [(key, value_of(value, depth)) for key, value in list(values.items())[:_MOST_MEMBERS]]


def _text(text: str) -> str:
    """Return the text as UTF-8 can have it, and no longer than the limit."""
    shortened = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return shortened.encode("utf-8", "backslashreplace").decode()
