"""The backends of one session under one roof: joined with their drivers, and watched over their failures.

`Sources` knows which of them the process uses by now, and of which one the phases speak. What a phase boundary calls is
`Sources.device_state` and `Source.read`; all else is the sampler's.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope._log import logger
from phasescope.backends.protocol import HOST_DEVICE, AllocatorCounters, DeviceCounters
from phasescope.capture import oom_message
from phasescope.capture.collector import (
    DeviceState,
    Driver,
    Health,
    Source,
)
from phasescope.capture.exception_info import is_from_signal_handler, one_line, text_of
from phasescope.capture.measurements import measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from phasescope.backends.protocol import Backend, DeviceIdentity, DeviceSource
    from phasescope.capture.oom_snapshots import Snapshots

T = TypeVar("T")

_EXTRA_PERIOD_NS = 1_000_000_000


class Sources:
    """All sources of a session. `event` is told of each that fails or recovers: its type, the
    source that it speaks of, and a line for a person."""

    def __init__(
        self,
        backends: Sequence[Backend],
        drivers: Sequence[DeviceSource],
        devices: Sequence[int] | None,
        monotonic_ns: Callable[[], int],
        event: Callable[[str, Source, str], None],
        *,
        peaks: bool = False,
        device_time: bool = False,
        snapshots: Snapshots | None = None,
    ) -> None:
        wanted = partial(measures, peaks=peaks, device_time=device_time, snapshots=snapshots)
        self._snapshots = snapshots
        self._all = [Source(backend, self._source_failed, wanted) for backend in backends]
        self._drivers = [Driver(driver) for driver in drivers]
        self._devices = None if devices is None else tuple(devices)
        self._monotonic_ns = monotonic_ns
        self._event = event
        self.pending: list[Source] = list(self._all)
        self.admitted: list[Source] = []
        self.boundary: Source = self._all[-1]
        self.only: DeviceState | None = None
        self.admit()

    def admit(self) -> None:
        """Take in the backends that the process has begun to use. Cheap: this runs at boundaries while any is left."""
        for source in self.pending:
            if _is_ready(source.backend):
                break
        else:
            return
        pending = []
        for source in self.pending:
            if _is_ready(source.backend):
                source.admitted()
            else:
                pending.append(source)
        self.admitted = [source for source in self._all if source not in pending]
        self.boundary = next((source for source in self.admitted if source.leads), self.admitted[-1])
        self.pending = pending
        self._find_only()

    def _give_up(self) -> None:
        """Forget the backends that will never be ready, so that boundaries need not ask them."""
        pending = [source for source in self.pending if not getattr(source.backend, "never", False)]
        if len(pending) < len(self.pending):
            # In this order: at a boundary what is in the first and not in the second counts as ready.
            self._all = [source for source in self._all if source in pending or source not in self.pending]
            self.pending = pending
            self._find_only()

    def _find_only(self) -> None:
        if not self.pending and self.boundary.name == "cpu":
            self.only = self.boundary.state(HOST_DEVICE)  # nothing else will ever come before the host, and it is one

    def device_state(self) -> DeviceState:
        """The device that a phase speaks of if it begins now, in this thread. Where there is `only` one, it is that."""
        if self.pending:
            self.admit()
        source = self.boundary
        try:
            device = source.current_device()
        except Exception as error:
            device = source.current_device_failed(error)
        if self._devices is not None and not self._covers(device):
            device = self._devices[0]
        return source.states.get(device) or source.state(device)

    def sample(self) -> Iterator[tuple[DeviceState, AllocatorCounters]]:
        """Measure every device of every source that answers, and bring the drivers' figures up to date."""
        self.admit()
        self._give_up()
        for source in self.admitted:
            if source.health.due(self._monotonic_ns()):
                yield from self._sample_source(source)

    def out_of_memory(
        self, device: DeviceState, counters: AllocatorCounters, whose: str | None, error: BaseException | None
    ) -> tuple[DeviceState, AllocatorCounters | None, dict[str, Any]]:
        """What an event about memory that ran out says: the device whose it is, its counters, and further metadata.

        `whose` is `host` or `device`; None is that of the phase's. It looks at the device anew, for what the sampler
        saw may be a tenth of a second old. Of a device that no backend knows there are no counters, but those that the
        error names.
        """
        found: AllocatorCounters | None = counters
        try:
            if whose == "host" and device.device_id != HOST_DEVICE:
                device = next(source for source in self._all if source.name == "cpu").state(HOST_DEVICE)
                found = device.source.read(HOST_DEVICE)
            elif whose == "device" and device.device_id == HOST_DEVICE:
                found = None
                device = self.device_state()  # it may have come into use since the phase began
                if device.device_id != HOST_DEVICE:
                    found = device.source.read(device.device_id)
            device.set_figures(self._figures(device.source, device.device_id))
        except Exception as failure:
            if is_from_signal_handler(failure):
                raise
            logger.debug("no fresh look at the device: %s", type(failure).__name__)
        details: dict[str, Any] = {
            "memory": whose or ("host" if device.device_id == HOST_DEVICE else "device"),
            "settings": oom_message.settings(),
        }
        if details["memory"] == "host":
            details["settings"] |= oom_message.mappings()
        requested_bytes = oom_message.requested_bytes(text_of(error)) or oom_message.requested_by_numpy(error)
        if requested_bytes is not None:
            details["requested_bytes"] = requested_bytes
        if found is None:
            details["told"] = oom_message.told(text_of(error))
        path = None if self._snapshots is None else self._snapshots.write(device.source.backend)
        if path is not None:
            details["snapshot"] = path
        return device, found, details

    def _sample_source(self, source: Source) -> list[tuple[DeviceState, AllocatorCounters]]:
        try:
            used = [device for device in source.backend.devices() if self._covers(device)]
            measured = [(source.state(device), source.backend.allocator(device)) for device in used]
        except Exception as error:
            source.read_failed(error)
            return []
        if source.health.recover(self._monotonic_ns()):
            source.recovered()
            self._tell("collector_recovered", source, f"{source.name} answers again")
        for state, _ in measured:
            state.set_figures(self._figures(source, state.device_id))
            self._find_extra(source, state)
        return measured

    def _covers(self, device: int) -> bool:
        return self._devices is None or device == HOST_DEVICE or device in self._devices

    def _find_extra(self, source: Source, state: DeviceState) -> None:
        """Ask backend and driver for what they know besides, at most once a second; the backend for what costs next to
        nothing each time."""
        now_ns = self._monotonic_ns()
        found: dict[str, Any] = {}
        if source.glance is not None:
            found.update(self._besides(source, source, partial(source.glance, state.device_id)))
        if state.extra_at_ns is not None and now_ns - state.extra_at_ns < _EXTRA_PERIOD_NS:
            state.extra.update(found)
            return
        state.extra_at_ns = now_ns
        if state.seen_by is not None:
            driver, identity = state.seen_by
            if driver.extra is not None:
                found.update(self._besides(driver, source, partial(driver.extra, identity)))
        if source.extra is not None:
            found.update(self._besides(source, source, partial(source.extra, state.device_id)))
        state.extra = found

    def _besides(
        self, asked: Source | Driver, source: Source, question: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        return self._ask(asked.extra_health, source, f"what {asked.name} knows besides", question) or {}

    def _figures(self, source: Source, device: int) -> DeviceCounters:
        """The device as its driver sees it, and where no driver does, as the framework does."""
        backend = source.backend

        def framework() -> tuple[DeviceCounters, DeviceIdentity | None]:
            return backend.device(device), backend.identity(device) if self._drivers else None

        known = self._ask(source.figures_health, source, f"{source.name}'s view of its devices", framework)
        own, identity = known or (DeviceCounters(), None)
        if identity is not None:
            for driver in self._drivers:
                seen = self._ask_driver(driver, source, identity)
                if seen is not None:
                    source.state(device).seen_by = driver, identity
                    return DeviceCounters(*(a if a is not None else b for a, b in zip(seen, own, strict=True)))
        source.state(device).seen_by = None
        return own

    def _ask_driver(self, driver: Driver, source: Source, identity: DeviceIdentity) -> DeviceCounters | None:
        """The same as `_ask`, of one device; what is wrong with several devices for one reason is said once."""
        health = driver.health(identity)
        if not health.due(self._monotonic_ns()):
            return None
        try:
            seen = driver.driver.device(identity)
        except Exception as error:
            text = f"{driver.name} stopped answering: {one_line(type(error), error)}"
            if health.fail(self._monotonic_ns()) and text not in driver.said:
                driver.said.add(text)
                self._tell("collector_degraded", source, text)
            return None
        if health.recover(self._monotonic_ns()) and not any(other.down for other in driver.healths.values()):
            driver.said.clear()
            self._tell("collector_recovered", source, f"{driver.name} answers again")
        return seen

    def _ask(self, health: Health, source: Source, name: str, question: Callable[[], T]) -> T | None:
        """The answer, or None where it raises or is not to be asked now."""
        if not health.due(self._monotonic_ns()):
            return None
        try:
            answer = question()
        except Exception as error:
            self._down(health, source, name, error)
            return None
        if health.recover(self._monotonic_ns()):
            self._tell("collector_recovered", source, f"{name} answers again")
        return answer

    def _source_failed(self, source: Source, error: Exception) -> None:
        self._down(source.health, source, source.name, error)

    def _down(self, health: Health, source: Source, name: str, error: Exception) -> None:
        if health.fail(self._monotonic_ns()):
            self._tell("collector_degraded", source, f"{name} stopped answering: {one_line(type(error), error)}")

    def _tell(self, event_type: str, source: Source, text: str) -> None:
        """Whatever goes wrong in telling must not keep the source from being marked."""
        try:
            self._event(event_type, source, text)
        except Exception as error:
            logger.debug("%s could not be told: %s", event_type, type(error).__name__)

    def close(self) -> None:
        """Let go of what the backends hold open, and of whom events are told: phases may outlive their session."""
        self._event = _nobody
        if self._snapshots is not None:
            self._snapshots.end()
        for source in self._all:
            with contextlib.suppress(Exception):
                getattr(source.backend, "close", int)()


def _nobody(_event_type: str, _source: Source, _text: str) -> None:
    pass


def _is_ready(backend: Backend) -> bool:
    try:
        return backend.ready()
    except Exception as error:  # a framework that is being imported in another thread just now
        if is_from_signal_handler(error):
            raise
        return False
