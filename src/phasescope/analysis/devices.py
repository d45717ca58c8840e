"""How the devices stand: the newest figures of each that the events speak of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .breakdown import Breakdown, breakdown
from .spans import int_or_none, size_or_none, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_DEVICES = 256
_HOST = -1
_ANY = "device"

_RARE = ("process_used_bytes", "children_proportional_bytes")
_LATEST_S = 10
"""Who holds what is not measured at every sample. One that tells more is preferred while it is not much older."""

_MAY_NOT_MEASURE = ("start", "stop", "error", "collector_recovered")
"""These events are written whether or not the device was measured for them. One that was not says nothing
new."""


@dataclass(frozen=True)
class DeviceRow:
    """One device, as the newest event about it tells. Memory in bytes; None is: not known.

    `used_by_others_bytes` is what is in use on the device beyond what this process's allocator reserved:
    other processes, and on an accelerator also this process's own context and libraries. On the host
    allocated and reserved are this process's resident set, and used, free and total are the machine's, or the
    container's. `breakdown` says who holds what, by the newest sample that tells most of it: its figures were read
    together, at most some seconds before the newest event.
    """

    backend: str
    device_id: int
    timestamp_ns: int | None
    allocated_bytes: int | None
    reserved_bytes: int | None
    used_by_others_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    total_bytes: int | None
    breakdown: Breakdown | None = None

    @property
    def label(self) -> str:
        """`cuda:0`, or `host`."""
        return device_label(self.backend, self.device_id)


class Devices:
    """Keeps the newest telling event of every device."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._samples: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._rare: dict[tuple[str, int], Mapping[str, Any]] = {}

    def see(self, event: Mapping[str, Any]) -> tuple[str | None, int | None]:
        """Take the next event; its device's label and allocated bytes, None where they are not known."""
        device_id = int_or_none(event.get("device_id"))
        metadata = event.get("metadata")
        if device_id is None or not isinstance(metadata, dict):
            return None, None
        backend = metadata.get("backend")
        if not isinstance(backend, str):
            return None, None
        allocated = size_or_none(event.get("allocator_allocated_bytes"))
        if "unavailable" in metadata and "allocator_allocated_bytes" in unavailable(event):
            allocated = None
        key = (backend, device_id)
        if key not in self._latest:
            if len(self._latest) < _MAX_DEVICES:
                self._latest[key] = event
        elif allocated is not None or event.get("event_type") not in _MAY_NOT_MEASURE:
            self._latest[key] = event
        if event.get("event_type") == "sample" and key in self._latest:
            self._samples[key] = event
            if any(name in metadata for name in _RARE):
                self._rare[key] = event
        return device_label(backend, device_id), allocated

    def rows(self) -> tuple[DeviceRow, ...]:
        """Accelerators by name and number, the host last."""
        order = sorted(self._latest, key=lambda key: (key[1] == _HOST, key))
        return tuple(replace(device_row(self._latest[key]), breakdown=self._breakdown(key)) for key in order)

    def _breakdown(self, key: tuple[str, int]) -> Breakdown | None:
        sample, rare = self._samples.get(key), self._rare.get(key)
        if sample is None:
            return breakdown(self._latest[key])
        if rare is not None and _seconds(sample) - _seconds(rare) <= _LATEST_S:
            return breakdown(rare)
        return breakdown(sample)


def _seconds(event: Mapping[str, Any]) -> float:
    return (int_or_none(event.get("timestamp_ns")) or 0) / 1e9


def device_row(event: Mapping[str, Any]) -> DeviceRow:
    """The figures of one event about a device; a counter that it could not measure is None."""
    unknown = unavailable(event)

    def known(counter: str) -> int | None:
        return None if counter in unknown else size_or_none(event.get(counter))

    backend = event["metadata"].get("backend")
    reserved, used = known("allocator_reserved_bytes"), known("device_used_bytes")
    return DeviceRow(
        backend=backend if isinstance(backend, str) else _ANY,  # another tool's event need not say
        device_id=event["device_id"],
        timestamp_ns=int_or_none(event.get("timestamp_ns")),
        allocated_bytes=known("allocator_allocated_bytes"),
        reserved_bytes=reserved,
        # The two counters are not read at the very same moment: a difference below 0 is that, not memory.
        used_by_others_bytes=None if used is None or reserved is None else max(0, used - reserved),
        used_bytes=used,
        free_bytes=known("device_free_bytes"),
        total_bytes=known("device_total_bytes"),
        breakdown=breakdown(event),
    )


def device_label(backend: str, device_id: int) -> str:
    """How a device is called for a person: `cuda:0`; the host is `host`."""
    return "host" if backend == "cpu" and device_id == _HOST else f"{backend}:{device_id}"
