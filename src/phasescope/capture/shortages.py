"""The details of an event about memory that ran out: whose it was, who held it, and the size of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope._log import logger
from phasescope.backends.protocol import HOST_DEVICE, DeviceCounters
from phasescope.capture import oom_message
from phasescope.capture.exception_info import is_from_signal_handler, text_of
from phasescope.capture.raised_at import raised_at

if TYPE_CHECKING:
    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.collectors import Collectors

_OF_A_SHORTAGE = ("allocator_limit_bytes", "private_pools_bytes", "num_alloc_retries", "num_ooms")
_EXACT = ("allocated_bytes", "slack_bytes", "free_bytes")
"""What a message rounds. But it counts what is free in the pools of CUDA graphs as allocated, for nothing else can use
it; the counters count it as reserved and unused. Where it names such pools, its own figures stay."""


def at_shortage(
    collectors: Collectors,
    device: DeviceState,
    counters: AllocatorCounters,
    whose: str | None,
    error: BaseException | None,
) -> tuple[DeviceState, AllocatorCounters | None, dict[str, Any]]:
    """Return the device whose memory it was, its counters, and further metadata.

    `whose` is `host` or `device`; None is that of the phase's. The device is measured again, for the sampler's figures
    may be a tenth of a second old; the error's own figures are of the failing allocation, before anything was freed on
    the way out. A device that no backend knows has no counters but those.
    """
    text = text_of(error)
    stated = {} if whose == "host" else oom_message.stated_figures(text)
    measured: AllocatorCounters | None = counters
    extra: dict[str, Any] = {}
    try:
        device, measured = _whose(collectors, device, counters, whose, stated)
        device.set_figures(collectors.figures(device.collector, device.device_id))
        extra = _held_by(device)
    except Exception as failure:
        if is_from_signal_handler(failure):
            raise
        logger.debug("no fresh look at the device: %s", type(failure).__name__)
        # The sampler's figures may be from before it filled up.
        device.set_figures(DeviceCounters(total_bytes=device.figures.total_bytes))
    details: dict[str, Any] = {
        **extra,
        "memory": whose or ("host" if device.device_id == HOST_DEVICE else "device"),
        "settings": oom_message.settings(),
    }
    if details["memory"] == "host":
        details["settings"] |= oom_message.mappings()
    place = raised_at(error)
    if place is not None:
        details["raised_at"] = place
    requested_bytes = oom_message.requested_bytes(text) or oom_message.requested_by_numpy(error)
    if requested_bytes is not None:
        details["requested_bytes"] = requested_bytes
    seen = {} if measured is None or requested_bytes is None else _seen(device, requested_bytes, stated)
    path = seen.pop("snapshot", None)
    exact = ("free_bytes",) if "private_pools_bytes" in stated else _EXACT
    stated |= {name: size for name, size in seen.items() if name not in stated or name in exact}
    if measured is None or any(name.endswith("_bytes") for name in stated):
        details["told"] = stated
    if collectors.snapshots is not None:
        if path is None:
            path = collectors.snapshots.write(device.collector.backend)
        else:
            collectors.snapshots.name_in_event()
    if path is not None:
        details["snapshot"] = path
    return device, measured, details


def _whose(
    collectors: Collectors,
    device: DeviceState,
    counters: AllocatorCounters,
    whose: str | None,
    stated: dict[str, str | int],
) -> tuple[DeviceState, AllocatorCounters | None]:
    """Return the device whose memory it was, and its counters; None if no backend knows them."""
    if whose == "host" and device.device_id != HOST_DEVICE:
        device = next(collector for collector in collectors.all if collector.name == "cpu").state(HOST_DEVICE)
        return device, device.collector.read(HOST_DEVICE)
    if whose != "device":
        return device, counters
    if device.device_id == HOST_DEVICE:
        device = collectors.device_state()  # it may have come into use since the phase began
        if device.device_id == HOST_DEVICE:
            return device, None
        counters = device.collector.read(device.device_id)
    index = stated.get("device_id")
    if isinstance(index, int) and stated.get("backend") == device.collector.name and index != device.device_id:
        device = device.collector.state(index)
        counters = device.collector.read(index)
    return device, counters


def _seen(device: DeviceState, requested_bytes: int, stated: dict[str, str | int]) -> dict[str, Any]:
    """Return the framework's own figures of this failure, taken when it happened.

    Nothing if what was free then is not what the error states: they are of an earlier one, which was caught.
    """
    failure = getattr(device.collector.backend, "failure", None)
    if failure is None or device.device_id == HOST_DEVICE:
        return {}
    try:
        seen = dict(failure(device.device_id, requested_bytes))
        free, told = seen.get("free_bytes"), stated.get("free_bytes")
        is_another = isinstance(free, int) and isinstance(told, int) and not oom_message.is_rounded(told, free)
        return {} if is_another else seen
    except Exception as error:
        if is_from_signal_handler(error):
            raise
        logger.debug("no look at the failing allocation: %s", type(error).__name__)
        return {}


def _held_by(device: DeviceState) -> dict[str, Any]:
    """Return who holds the device now, and how much of it the allocator may have, both measured again."""
    holders: dict[str, Any] = {}
    if device.seen_by is not None:
        driver, identity = device.seen_by
        if driver.extra is not None:
            holders.update(driver.extra(identity))
    if device.collector.extra is not None:
        extra = device.collector.extra(device.device_id)
        holders.update({name: extra[name] for name in _OF_A_SHORTAGE if name in extra})
    return holders
