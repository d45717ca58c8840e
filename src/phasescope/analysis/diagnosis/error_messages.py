"""The figures of the device at the failing allocation that an out-of-memory error states, or that were observed.

They come before figures measured afterwards: on the way out of a phase much is freed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import device_label, size_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = -1
_LARGEST_INDEX = 1 << 16
_BACKENDS = ("cuda", "rocm", "xpu", "mps", "npu")

_COUNTERS = (
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "allocator_inactive_bytes",
    "device_total_bytes",
    "device_free_bytes",
    "device_used_bytes",
)

_OF_TORCH = ("cuda", "rocm", "xpu")
_ASKED_BY_ALLOCATOR = re.compile(
    r"out of memory\. Tried to allocate|Allocation on device \d|INTERNAL ASSERT FAILED"
    r"|\bOutOfMemoryError: (?!Out of memory allocating)"
)
"""torch's allocator says so itself; all other words are of what calls the driver beside it. CuPy's class has the same
name."""

A_DEVICE = "a device"
_ANY_SIZE = 1 << 63


def is_of_host(event: Mapping[str, Any]) -> bool:
    """Return whether an `error` event about memory that ran out is about the host's."""
    memory = event["metadata"].get("memory")
    return bool(memory == "host" or (memory != "device" and event.get("device_id") == _HOST))


def has_stated_figures_only(event: Mapping[str, Any]) -> bool:
    """Return whether a device ran out and the event's own figures are not that device's, but the host's."""
    return event["metadata"].get("memory") == "device" and event.get("device_id") == _HOST


def is_by_allocator(event: Mapping[str, Any], stated: Mapping[str, int]) -> bool:
    """Return whether torch's own allocator made the request, as far as that is known; True of other frameworks."""
    words = event.get("context")
    if event["metadata"].get("backend") not in _OF_TORCH or "allocated_bytes" in stated or not isinstance(words, str):
        return True
    return _ASKED_BY_ALLOCATOR.search(words) is not None


def with_stated_figures_only(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event with only the figures that its error states. Its device is -1 if the error does not name it."""
    metadata, stated = event["metadata"], stated_figures(event)
    index, backend = stated.get("device_id"), metadata["told"].get("backend") if stated else None
    return {
        **event,
        "device_id": _HOST if index is None or index >= _LARGEST_INDEX else index,
        **dict.fromkeys(_COUNTERS),
        **_counters(stated),
        "metadata": {
            **{key: value for key, value in metadata.items() if key != "unavailable"},
            **_processes(stated),
            "backend": backend if backend in _BACKENDS else "device",
        },
    }


def with_stated_figures(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event of a device measured after the failure, with its error's own figures in place of those."""
    stated = stated_figures(event)
    counters, metadata = _counters(stated), event["metadata"]
    if not counters:
        return event
    if stated.get("free_bytes", 0) > stated.get("total_bytes", _ANY_SIZE):  # more free than there is: an APU, by HIP
        event, metadata, counters = _without_total(event, counters)
    unknown = metadata.get("unavailable")
    if isinstance(unknown, list):
        metadata = {**metadata, "unavailable": [name for name in unknown if name not in counters]}
    figures: dict[str, int | None] = {**counters}
    if "allocator_allocated_bytes" in counters:
        figures.setdefault("allocator_reserved_bytes", None)  # the event's is of afterwards
    return {**event, **figures, "metadata": {**metadata, **_processes(stated)}}


def stated_figures(event: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes that an error states, by name; nothing if it names another device than the event's own."""
    stated = event["metadata"].get("told")
    values = {} if not isinstance(stated, dict) else {key: size_or_none(value) for key, value in stated.items()}
    sizes = {key: size for key, size in values.items() if size is not None}
    is_of_its_own = has_stated_figures_only(event) or sizes.get("device_id", event.get("device_id")) == event.get(
        "device_id"
    )
    return sizes if is_of_its_own else {}


def _counters(stated: Mapping[str, int]) -> dict[str, int]:
    """Return the stated sizes as the counters of an event."""
    total, free = stated.get("total_bytes"), stated.get("free_bytes")
    allocated, slack = stated.get("allocated_bytes"), stated.get("slack_bytes")
    counters = {
        "allocator_allocated_bytes": allocated,
        "allocator_reserved_bytes": None if allocated is None or slack is None else allocated + slack,
        "allocator_inactive_bytes": stated.get("inactive_bytes"),
        "device_total_bytes": total,
        "device_free_bytes": free,
        "device_used_bytes": None if total is None or free is None else max(0, total - free),
    }
    return {key: size for key, size in counters.items() if size is not None}


def _without_total(
    event: Mapping[str, Any], counters: Mapping[str, int]
) -> tuple[Mapping[str, Any], Mapping[str, Any], dict[str, int]]:
    """Return the event without the figures of the whole device, its metadata, and the counters that are left."""
    whole = [f"device_{name}_bytes" for name in ("used", "free", "total")]
    unknown = event["metadata"].get("unavailable")
    hidden = [*(unknown if isinstance(unknown, list) else ()), *whole]
    metadata = {**event["metadata"], "unavailable": hidden}
    return event, metadata, {name: size for name, size in counters.items() if name not in whole}


def _processes(stated: Mapping[str, int]) -> dict[str, int]:
    return {key: stated[key] for key in ("process_used_bytes", "other_processes_bytes") if key in stated}


def label_of(event: Mapping[str, Any]) -> str | None:
    """Return the label of the device that an `error` event names; None if it names none."""
    if has_stated_figures_only(event):
        event = with_stated_figures_only(event)
    backend, device_id = event["metadata"].get("backend"), event.get("device_id")
    if not isinstance(backend, str) or type(device_id) is not int:
        return None
    return A_DEVICE if device_id == _HOST and backend != "cpu" else device_label(backend, device_id)
