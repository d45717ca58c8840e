"""The newest figures of each device in the events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .breakdown import Breakdown, breakdown, completed
from .categories import Categories, categories, compared, has_categories
from .event_fields import HOST_ID, counter_of, device_label, device_of, int_or_none, size_or_none, unavailable
from .one_pool import with_hosts_figures

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_DEVICES = 256
_ANY = "device"

_RARE = ("process_used_bytes", "children_proportional_bytes")
_ACTIVITY = ("utilization_percent", "temperature_celsius", "power_milliwatts")
_LATEST_S = 10
_LATEST_SHARE = 0.05
"""The holders are not measured at every sample. One that has them is preferred while it is not much older, and while
what is allocated has not moved by more than this share since."""

_MAY_NOT_MEASURE = ("start", "stop", "error", "collector_recovered")
"""These events are written whether or not the device was measured for them. One that was not says nothing
new."""


@dataclass(frozen=True)
class DeviceRow:
    """One device, by the newest event about it. Memory in bytes; None means: not known.

    On the host, allocated and reserved are this process's resident set, and used, free and total are the machine's,
    or the container's. `used_by_others_bytes` is the memory in use on the device beyond the reservation of this
    process's allocator: other processes, and on an accelerator also this process's own context and libraries.
    `utilization_percent`, `temperature_celsius` and `power_milliwatts` are an accelerator's, as its driver says, from
    the newest sample that has them.
    `breakdown` divides the device by holder, from the most detailed recent sample: its figures were read together, at
    most a few seconds before the newest event. `categories` says what the live memory is made of, as of the last look.
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
    categories: Categories | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_milliwatts: int | None = None

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
        self._categories: dict[tuple[str, int], tuple[Categories | None, Categories | None]] = {}
        self._at_work: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._in_hosts_memory: set[tuple[str, int]] = set()

    def see(self, event: Mapping[str, Any]) -> tuple[str | None, int | None, int | None]:
        """Take the next event; its device's label, allocated and reserved bytes, None if they are not known."""
        key = device_of(event)
        if key is None:
            return None, None, None
        metadata = event["metadata"]
        allocated = size_or_none(event.get("allocator_allocated_bytes"))
        reserved = size_or_none(event.get("allocator_reserved_bytes"))
        if "unavailable" in metadata:
            unknown = unavailable(event)
            allocated = None if "allocator_allocated_bytes" in unknown else allocated
            reserved = None if "allocator_reserved_bytes" in unknown else reserved
        if key not in self._latest:
            if len(self._latest) < _MAX_DEVICES:
                self._latest[key] = event
        elif allocated is not None or event.get("event_type") not in _MAY_NOT_MEASURE:
            self._latest[key] = event
        if event.get("event_type") == "sample" and key in self._latest:
            self._samples[key] = event
            if metadata.get("shares_host_memory"):
                self._in_hosts_memory.add(key)
            if any(name in metadata for name in _RARE) or metadata.get("children") == 0:
                self._rare[key] = event
            if any(name in metadata for name in _ACTIVITY):
                self._at_work[key] = event
        if has_categories(metadata) and key in self._latest:
            self._note_categories(key, categories(event))
        return device_label(*key), allocated, reserved

    def rows(self) -> tuple[DeviceRow, ...]:
        """Return the accelerators by name and number, the host last."""
        order = sorted(self._latest, key=lambda key: (key[1] == HOST_ID, key))
        return tuple(self._row(key) for key in order)

    def _row(self, key: tuple[str, int]) -> DeviceRow:
        busy, warm, power = self._activity(key)
        return replace(
            device_row(self._in_pool(key, self._latest[key])),
            breakdown=self._breakdown(key),
            categories=self._categories_of(key),
            utilization_percent=busy,
            temperature_celsius=warm,
            power_milliwatts=power,
        )

    def _in_pool(self, key: tuple[str, int], event: Mapping[str, Any]) -> Mapping[str, Any]:
        if key not in self._in_hosts_memory:
            return event
        host = next((self._samples[other] for other in self._samples if other[1] == HOST_ID), None)
        return with_hosts_figures(event, host)

    def _activity(self, key: tuple[str, int]) -> tuple[int | None, ...]:
        """Return what the newest sample says of the device's work; nothing is known if that is long ago."""
        sample = self._at_work.get(key)
        if sample is None or _seconds(self._samples[key]) - _seconds(sample) > _LATEST_S:
            return (None,) * len(_ACTIVITY)
        return tuple(size_or_none(sample["metadata"].get(name)) for name in _ACTIVITY)

    def _categories_of(self, key: tuple[str, int]) -> Categories | None:
        return compared(*self._categories.get(key, (None, None)))

    def _note_categories(self, key: tuple[str, int], look: Categories | None) -> None:
        """Keep the newest look, and the newest one that was not at a failure."""
        last, before = self._categories.get(key, (None, None))
        if look is not None and last is not None and not look.modules:  # samples repeat a look without them
            look = replace(look, modules=last.modules)
        self._categories[key] = look, look if look is not None and look.moment != "failure" else before

    def _breakdown(self, key: tuple[str, int]) -> Breakdown | None:
        sample, rare = self._samples.get(key), self._rare.get(key)
        if sample is None:
            return breakdown(self._latest[key])
        if rare is not None and _seconds(sample) - _seconds(rare) <= _LATEST_S:
            if key[1] == HOST_ID:  # what others hold changes on its own; whether there were children stays true
                return completed(breakdown(sample), breakdown(rare))
            if not _has_moved(rare, sample):
                sample = rare
        if key not in self._in_hosts_memory:
            return breakdown(sample)
        whole = breakdown(self._in_pool(key, sample))
        return None if whole is None else replace(whole, is_hosts_memory=True)


def _has_moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    then, since = (size_or_none(event.get("allocator_allocated_bytes")) for event in (before, now))
    return then is not None and since is not None and abs(since - then) > _LATEST_SHARE * since


def _seconds(event: Mapping[str, Any]) -> float:
    return (int_or_none(event.get("timestamp_ns")) or 0) / 1e9


def device_row(event: Mapping[str, Any]) -> DeviceRow:
    """Return the figures of one event about a device; a counter that it could not measure is None."""
    unknown = unavailable(event)

    def known(counter: str) -> int | None:
        return counter_of(event, unknown, counter)

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
        categories=categories(event),
    )
