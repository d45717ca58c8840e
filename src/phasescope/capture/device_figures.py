"""What is known of a device besides its allocator's counters: its driver's figures, and further ones for samples."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from phasescope.backends.protocol import DeviceCounters
from phasescope.capture.collector import Driver
from phasescope.capture.exception_info import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.backends.protocol import DeviceIdentity, DeviceSource
    from phasescope.capture.collector import Collector, DeviceState
    from phasescope.capture.collector_events import CollectorEvents

EXTRA_PERIOD_NS = 1_000_000_000
_ALIKE_SHARE = 0.15  # a driver's own part, and error correction, are less


def extra_due_ns(state: DeviceState) -> int | None:
    """Return when a device's further figures are due again; None if they were not asked for yet."""
    return None if state.extra_at_ns is None else state.extra_at_ns + EXTRA_PERIOD_NS


class DeviceFigures:
    """The drivers of a session, each asked about the devices that a framework has."""

    def __init__(self, drivers: Sequence[DeviceSource], events: CollectorEvents) -> None:
        self._drivers = [Driver(driver) for driver in drivers]
        self._events = events

    def figures(self, collector: Collector, device: int) -> DeviceCounters:
        """Return the device's figures as its driver has them or, if no driver does, as the framework has them."""
        backend = collector.backend

        def framework() -> tuple[DeviceCounters, DeviceIdentity | None]:
            return backend.device(device), backend.identity(device) if self._drivers else None

        asked_for = f"{collector.name}'s view of its devices"
        views = self._events.ask(collector.figures_health, collector, asked_for, framework)
        own, identity = views or (DeviceCounters(), None)
        if identity is not None:
            for driver in self._drivers:
                seen = self._ask_driver(driver, collector, identity)
                if seen is not None and self._is_same(driver, collector, seen, own):
                    collector.state(device).seen_by = driver, identity
                    return DeviceCounters(*(a if a is not None else b for a, b in zip(seen, own, strict=True)))
        collector.state(device).seen_by = None
        return own

    def _is_same(self, driver: Driver, collector: Collector, seen: DeviceCounters, own: DeviceCounters) -> bool:
        """Return whether a driver means the same memory as the framework.

        A device that shares the host's memory, or a part of a device, has another total there, and so have all the
        driver's figures.
        """
        if not seen.total_bytes or not own.total_bytes:
            return True
        if abs(seen.total_bytes - own.total_bytes) <= _ALIKE_SHARE * max(seen.total_bytes, own.total_bytes):
            return True
        text = f"{driver.name} has another total than {collector.name} for a device, and is not asked about it"
        if text not in driver.said:
            driver.said.add(text)
            self._events.report("collector_degraded", collector, text)
        return False

    def _ask_driver(self, driver: Driver, collector: Collector, identity: DeviceIdentity) -> DeviceCounters | None:
        """Ask as `ask` does, for one device; one failure of several devices for the same reason is said once."""
        health = driver.health(identity)
        if not health.due(self._events.now_ns()):
            return None
        try:
            seen = driver.driver.device(identity)
        except Exception as error:
            text = f"{driver.name} stopped answering: {one_line(type(error), error)}"
            if health.fail(self._events.now_ns()) and text not in driver.said:
                driver.said.add(text)
                self._events.report("collector_degraded", collector, text)
            return None
        if health.recover(self._events.now_ns()) and not any(other.down for other in driver.healths.values()):
            driver.said.clear()
            self._events.report("collector_recovered", collector, f"{driver.name} answers again")
        return seen

    def find_extra(self, collector: Collector, state: DeviceState) -> None:
        """Ask backend and driver for their further figures, at most once a second.

        The backend is asked each time for those that cost next to nothing.
        """
        now_ns = self._events.now_ns()
        details: dict[str, Any] = {"slow_readings": collector.slow_readings} if collector.slow_readings else {}
        if collector.glance is not None:
            details.update(self._besides(collector, collector, partial(collector.glance, state.device_id)))
        due_ns = extra_due_ns(state)
        if due_ns is not None and now_ns < due_ns:
            state.extra.update(details)
            return
        state.extra_at_ns = now_ns
        if state.seen_by is not None:
            driver, identity = state.seen_by
            if driver.extra is not None:
                details.update(self._besides(driver, collector, partial(driver.extra, identity)))
            if driver.activity is not None:
                asked_for, work = f"what {driver.name} knows of a device's work", partial(driver.activity, identity)
                details.update(self._events.ask(driver.activity_health, collector, asked_for, work) or {})
        if collector.extra is not None:
            details.update(self._besides(collector, collector, partial(collector.extra, state.device_id)))
        details.update(state.categories)
        state.extra = details

    def _besides(
        self, asked: Collector | Driver, collector: Collector, question: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        return self._events.ask(asked.extra_health, collector, f"what {asked.name} knows besides", question) or {}
