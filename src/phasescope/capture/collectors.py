"""The backends of one session under one roof: joined with their drivers, and watched over their failures.

`Collectors` knows which of them the process uses by now, and of which one the phases speak. A phase boundary calls
`Collectors.device_state` and `Collector.read`; all else is the sampler's. At each boundary to ask the backends of
frameworks that are not in use would take longer than the boundary: they say what they wait for (`Awaits`), and are
asked once that has changed.
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from phasescope._log import logger
from phasescope.backends.protocol import HOST_DEVICE, AllocatorCounters, DeviceCounters
from phasescope.capture.collector import (
    Collector,
    CollectorHealth,
    DeviceState,
    Driver,
)
from phasescope.capture.exception_info import is_from_signal_handler, one_line
from phasescope.capture.measurements import measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from phasescope.backends.protocol import Backend, DeviceIdentity, DeviceSource, Variable
    from phasescope.capture.oom_snapshots import SnapshotFiles
    from phasescope.capture.sites import Sites

    Awaited = tuple[int, tuple[tuple[dict[str, Any], str, Any], ...]]
    """How many modules are imported, and the values of variables. The compiled core reads it as well."""

T = TypeVar("T")

_EXTRA_PERIOD_NS = 1_000_000_000
_ALIKE_SHARE = 0.15  # a driver's own part, and error correction, are less


class Regular(NamedTuple):
    """What a tick may rely on that measures the host alone: see `Collectors.regular`."""

    state: DeviceState
    admitted: list[Collector]
    figures: Any
    details_due_ns: int


class Collectors:
    """All collectors of a session.

    `event` is called for each that fails or recovers: with its type, the collector that it is about, and a line for a
    person.
    """

    # As in `Collector`.
    __slots__ = (
        *("__dict__", "__weakref__", "_devices", "admitted"),
        *("awaited", "boundary", "meanwhile", "only", "pending"),
    )

    def __init__(
        self,
        backends: Sequence[Backend],
        drivers: Sequence[DeviceSource],
        devices: Sequence[int] | None,
        monotonic_ns: Callable[[], int],
        event: Callable[[str, Collector, str], None],
        *,
        peaks: bool = False,
        device_time: bool = False,
        snapshots: SnapshotFiles | None = None,
        sites: Sites | None = None,
    ) -> None:
        wanted = partial(measures, peaks=peaks, device_time=device_time, snapshots=snapshots, sites=sites)
        self.snapshots = snapshots
        self.all = [Collector(backend, self._collector_failed, wanted) for backend in backends]
        self._drivers = [Driver(driver) for driver in drivers]
        self._devices = None if devices is None else tuple(devices)
        self._monotonic_ns = monotonic_ns
        self._event = event
        self.pending: list[Collector] = list(self.all)
        self.admitted: list[Collector] = []
        self.boundary: Collector = self.all[-1]
        self.only: DeviceState | None = None
        self.meanwhile: DeviceState | None = None
        self.awaited: Awaited | None = None
        self.admit()

    def admit(self) -> None:
        """Take in the backends that the process has begun to use."""
        # Found out first: what changes while they are asked is asked about again.
        awaited = _awaited_by(self.pending)
        if any(_is_ready(collector.backend) for collector in self.pending):
            self._take_in()
        self._find_only()
        self.awaited = awaited

    def _take_in(self) -> None:
        pending = []
        for collector in self.pending:
            if _is_ready(collector.backend):
                collector.admitted()
            else:
                pending.append(collector)
        self.admitted = [collector for collector in self.all if collector not in pending]
        self.boundary = next((collector for collector in self.admitted if collector.leads), self.admitted[-1])
        self.pending = pending

    def _give_up(self) -> None:
        """Forget the backends that will never be ready, so that boundaries need not ask them."""
        pending = [collector for collector in self.pending if not getattr(collector.backend, "never", False)]
        if len(pending) < len(self.pending):
            # In this order: at a boundary a collector in the first and not in the second counts as ready.
            self.all = [collector for collector in self.all if collector in pending or collector not in self.pending]
            self.pending = pending
            self._find_only()

    def _find_only(self) -> None:
        """Find out whether phases speak of the host: always, if nothing can come before it any more, or meanwhile."""
        self.meanwhile = self.boundary.state(HOST_DEVICE) if self.boundary.name == "cpu" else None
        if not self.pending:
            self.only = self.meanwhile

    def device_state(self) -> DeviceState:
        """Return the device of a phase that begins now, in this thread: `only`, if there is just one."""
        if self.pending and not _is_still(self.awaited):
            self.admit()
        if self.meanwhile is not None:
            return self.meanwhile
        collector = self.boundary
        try:
            device = collector.current_device()
        except Exception as error:
            device = collector.current_device_failed(error)
        if self._devices is not None and not self.covers(device):
            device = self._devices[0]
        return collector.states.get(device) or collector.state(device)

    def sample(self) -> Iterator[tuple[DeviceState, AllocatorCounters]]:
        """Measure every device of every collector that answers, and bring the drivers' figures up to date."""
        self.admit()
        self._give_up()
        for collector in self.admitted:
            now_ns = self._monotonic_ns()
            if collector.health.due(now_ns) and now_ns >= collector.rests_until_ns:
                yield from self._sample_collector(collector)

    def regular(self) -> Regular | None:
        """Return what is measured, and until when without further figures, if it is the host alone, all is well, and
        the compiled core can read it; else None."""
        admitted = self.admitted
        if len(admitted) != 1:
            return None
        (collector,) = admitted
        figures = getattr(collector.backend, "core_figures", _nothing_known)(self._monotonic_ns)
        if figures is None or collector.slow_readings or collector.is_troubled:
            return None
        state = collector.states.get(HOST_DEVICE)
        if state is None or state.extra_at_ns is None or state.measures is not None:
            return None
        return Regular(state, admitted, figures, state.extra_at_ns + _EXTRA_PERIOD_NS)

    def find_details(self, regular: Regular) -> int | None:
        """Ask for the further figures of the sample that comes next; return when they are due again, None if something
        does not answer."""
        (collector,), state = regular.admitted, regular.state
        state.set_figures(self.figures(collector, state.device_id))  # first, as `sample` does
        self._find_extra(collector, state)
        return None if collector.is_troubled or state.extra_at_ns is None else state.extra_at_ns + _EXTRA_PERIOD_NS

    def sample_host(self) -> Iterator[tuple[DeviceState, AllocatorCounters]]:
        """Measure the host alone: no driver is asked."""
        for collector in self.admitted:
            if collector.name == "cpu" and collector.health.due(self._monotonic_ns()):
                yield from self._sample_collector(collector)

    def _sample_collector(self, collector: Collector) -> list[tuple[DeviceState, AllocatorCounters]]:
        began_ns = self._monotonic_ns()
        try:
            counters = collector.read_all()
            measured = [(collector.state(device), read) for device, read in counters.items() if self.covers(device)]
        except Exception as error:
            collector.read_failed(error)
            return []
        collector.rest_after(began_ns, self._monotonic_ns())
        if collector.health.recover(self._monotonic_ns()):
            collector.recovered()
            self._report("collector_recovered", collector, f"{collector.name} answers again")
        for state, _ in measured:
            state.set_figures(self.figures(collector, state.device_id))
            self._find_extra(collector, state)
        return measured

    def covers(self, device: int) -> bool:
        """Return whether a device is one of those that the session measures."""
        return self._devices is None or device == HOST_DEVICE or device in self._devices

    def _find_extra(self, collector: Collector, state: DeviceState) -> None:
        """Ask backend and driver for their further figures, at most once a second.

        The backend is asked each time for those that cost next to nothing.
        """
        now_ns = self._monotonic_ns()
        details: dict[str, Any] = {"slow_readings": collector.slow_readings} if collector.slow_readings else {}
        if collector.glance is not None:
            details.update(self._besides(collector, collector, partial(collector.glance, state.device_id)))
        if state.extra_at_ns is not None and now_ns - state.extra_at_ns < _EXTRA_PERIOD_NS:
            state.extra.update(details)
            return
        state.extra_at_ns = now_ns
        if state.seen_by is not None:
            driver, identity = state.seen_by
            if driver.extra is not None:
                details.update(self._besides(driver, collector, partial(driver.extra, identity)))
            if driver.activity is not None:
                asked_for, work = f"what {driver.name} knows of a device's work", partial(driver.activity, identity)
                details.update(self._ask(driver.activity_health, collector, asked_for, work) or {})
        if collector.extra is not None:
            details.update(self._besides(collector, collector, partial(collector.extra, state.device_id)))
        details.update(state.categories)
        state.extra = details

    def _besides(
        self, asked: Collector | Driver, collector: Collector, question: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        return self._ask(asked.extra_health, collector, f"what {asked.name} knows besides", question) or {}

    def figures(self, collector: Collector, device: int) -> DeviceCounters:
        """Return the device's figures as its driver has them or, if no driver does, as the framework has them."""
        backend = collector.backend

        def framework() -> tuple[DeviceCounters, DeviceIdentity | None]:
            return backend.device(device), backend.identity(device) if self._drivers else None

        views = self._ask(collector.figures_health, collector, f"{collector.name}'s view of its devices", framework)
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
            self._report("collector_degraded", collector, text)
        return False

    def report_endings(self, state: DeviceState) -> None:
        """Report which measurements of a device have ended; those of a collector that is down end with it."""
        collector = state.collector
        for text in [] if state.measures is None else state.measures.take_endings():
            if not collector.health.down:
                self._report("collector_degraded", collector, f"{collector.name} has {text}")

    def _ask_driver(self, driver: Driver, collector: Collector, identity: DeviceIdentity) -> DeviceCounters | None:
        """Ask as `_ask` does, for one device; one failure of several devices for the same reason is said once."""
        health = driver.health(identity)
        if not health.due(self._monotonic_ns()):
            return None
        try:
            seen = driver.driver.device(identity)
        except Exception as error:
            text = f"{driver.name} stopped answering: {one_line(type(error), error)}"
            if health.fail(self._monotonic_ns()) and text not in driver.said:
                driver.said.add(text)
                self._report("collector_degraded", collector, text)
            return None
        if health.recover(self._monotonic_ns()) and not any(other.down for other in driver.healths.values()):
            driver.said.clear()
            self._report("collector_recovered", collector, f"{driver.name} answers again")
        return seen

    def _ask(self, health: CollectorHealth, collector: Collector, name: str, question: Callable[[], T]) -> T | None:
        """Return the answer, or None if it raises or is not to be asked now."""
        if not health.due(self._monotonic_ns()):
            return None
        try:
            answer = question()
        except Exception as error:
            self._down(health, collector, name, error)
            return None
        if health.recover(self._monotonic_ns()):
            self._report("collector_recovered", collector, f"{name} answers again")
        return answer

    def _collector_failed(self, collector: Collector, error: Exception) -> None:
        self._down(collector.health, collector, collector.name, error)

    def _down(self, health: CollectorHealth, collector: Collector, name: str, error: Exception) -> None:
        if health.fail(self._monotonic_ns()):
            self._report("collector_degraded", collector, f"{name} stopped answering: {one_line(type(error), error)}")

    def _report(self, event_type: str, collector: Collector, text: str) -> None:
        """Report an event of a collector. A failure to report must not keep the collector from being marked."""
        try:
            self._event(event_type, collector, text)
        except Exception as error:
            logger.debug("%s could not be reported: %s", event_type, type(error).__name__)

    def close(self) -> None:
        """Let go of all that the backends hold open, and of the listener: phases may outlive their session."""
        self._event = _nobody
        if self.snapshots is not None:
            self.snapshots.end()
        for collector in self.all:
            with contextlib.suppress(Exception):
                getattr(collector.backend, "close", int)()


def _nobody(_event_type: str, _collector: Collector, _text: str) -> None:
    pass


def _is_ready(backend: Backend) -> bool:
    try:
        return backend.ready()
    except Exception as error:  # a framework that is being imported in another thread just now
        if is_from_signal_handler(error):
            raise
        return False


def _awaited_by(pending: Sequence[Collector]) -> Awaited | None:
    """Return what has to change before one of these backends can be ready, as it is now; None if one does not say."""
    modules, variables = len(sys.modules), []
    for collector in pending:
        try:
            named: Sequence[Variable] | None = getattr(collector.backend, "awaited", _nobody_knows)()
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            named = None
        if named is None:
            return None
        variables += [(namespace, name, namespace.get(name)) for namespace, name in named]
    return modules, tuple(variables)


def _is_still(awaited: Awaited | None) -> bool:
    if awaited is None:
        return False
    modules, variables = awaited
    return modules == len(sys.modules) and all(namespace.get(name) is value for namespace, name, value in variables)


def _nobody_knows() -> None:
    return None


def _nothing_known(_monotonic_ns: Callable[[], int]) -> None:
    return None
