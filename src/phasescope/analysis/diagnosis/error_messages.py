"""What the message of an out-of-memory error tells of a device that no backend has measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.devices import device_label
from phasescope.analysis.spans import size_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = -1
_LARGEST_INDEX = 1 << 16
_BACKENDS = ("cuda", "rocm", "xpu", "mps")

A_DEVICE = "a device"


def is_of_host(event: Mapping[str, Any]) -> bool:
    """Of an `error` event about memory that ran out: whether it is the host's."""
    memory = event["metadata"].get("memory")
    return bool(memory == "host" or (memory != "device" and event.get("device_id") == _HOST))


def is_only_told(event: Mapping[str, Any]) -> bool:
    """Whether a device ran out and the event's own figures are not that device's, but the host's."""
    return event["metadata"].get("memory") == "device" and event.get("device_id") == _HOST


def told_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same event with what its error's message tells of the device, and nothing else. Its device is -1 where the
    message does not say which it is."""
    metadata = event["metadata"]
    told = metadata.get("told")
    told = told if isinstance(told, dict) else {}
    total, free = size_or_none(told.get("total_bytes")), size_or_none(told.get("free_bytes"))
    allocated, slack = size_or_none(told.get("allocated_bytes")), size_or_none(told.get("slack_bytes"))
    index = size_or_none(told.get("device_id"))
    backend = told.get("backend")
    processes = {key: size_or_none(told.get(key)) for key in ("process_used_bytes", "other_processes_bytes")}
    return {
        **event,
        "device_id": _HOST if index is None or index >= _LARGEST_INDEX else index,
        "allocator_allocated_bytes": allocated,
        "allocator_reserved_bytes": None if allocated is None or slack is None else allocated + slack,
        "allocator_inactive_bytes": None,
        "device_total_bytes": total,
        "device_free_bytes": free,
        "device_used_bytes": None if total is None or free is None else max(0, total - free),
        "metadata": {
            **{key: value for key, value in metadata.items() if key != "unavailable"},
            **{key: size for key, size in processes.items() if size is not None},
            "backend": backend if backend in _BACKENDS else "device",
        },
    }


def label_of(event: Mapping[str, Any]) -> str | None:
    """How the device is called that an `error` event speaks of; None where it names none."""
    if is_only_told(event):
        event = told_event(event)
    backend, device_id = event["metadata"].get("backend"), event.get("device_id")
    if not isinstance(backend, str) or type(device_id) is not int:
        return None
    return A_DEVICE if device_id == _HOST and backend != "cpu" else device_label(backend, device_id)
