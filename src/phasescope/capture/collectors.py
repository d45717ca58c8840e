"""The backends of one session under one roof: joined with their drivers, and watched over their failures.

`Collectors` knows which of them the process uses by now, and of which one the phases speak. A phase boundary calls
`Collectors.device_state` and `Collector.read`; all else is the sampler's. At each boundary to ask the backends of
frameworks that are not in use would take longer than the boundary: they say what they wait for (`Awaits`), and are
asked once that has changed.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends.protocol import HOST_DEVICE, AllocatorCounters
from phasescope.capture.awaited import awaited_by, is_ready, is_still
from phasescope.capture.collector import Collector, DeviceState
from phasescope.capture.collector_events import CollectorEvents
from phasescope.capture.device_figures import DeviceFigures, extra_due_ns
from phasescope.capture.measurements import measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from phasescope.backends.protocol import Backend, DeviceCounters, DeviceSource
    from phasescope.capture.awaited import Awaited
    from phasescope.capture.oom_snapshots import SnapshotFiles
    from phasescope.capture.sites import Sites


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
        self._devices = None if devices is None else tuple(devices)
        self._monotonic_ns = monotonic_ns
        self._events = CollectorEvents(monotonic_ns, event)
        self._device_figures = DeviceFigures(drivers, self._events)
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
        awaited = awaited_by(self.pending)
        if any(is_ready(collector.backend) for collector in self.pending):
            self._take_in()
        self._find_only()
        self.awaited = awaited

    def _take_in(self) -> None:
        pending = []
        for collector in self.pending:
            if is_ready(collector.backend):
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
        if self.pending and not is_still(self.awaited):
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
        due_ns = None if state is None else extra_due_ns(state)
        if state is None or due_ns is None or state.measures is not None:
            return None
        return Regular(state, admitted, figures, due_ns)

    def find_details(self, regular: Regular) -> int | None:
        """Ask for the further figures of the sample that comes next; return when they are due again, None if something
        does not answer."""
        (collector,), state = regular.admitted, regular.state
        state.set_figures(self.figures(collector, state.device_id))  # first, as `sample` does
        self._device_figures.find_extra(collector, state)
        return None if collector.is_troubled else extra_due_ns(state)

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
            self._events.report("collector_recovered", collector, f"{collector.name} answers again")
        for state, _ in measured:
            state.set_figures(self.figures(collector, state.device_id))
            self._device_figures.find_extra(collector, state)
        return measured

    def covers(self, device: int) -> bool:
        """Return whether a device is one of those that the session measures."""
        return self._devices is None or device == HOST_DEVICE or device in self._devices

    def figures(self, collector: Collector, device: int) -> DeviceCounters:
        """Return the device's figures, its driver's where it has one."""
        return self._device_figures.figures(collector, device)

    def report_endings(self, state: DeviceState) -> None:
        """Report which measurements of a device have ended; those of a collector that is down end with it."""
        collector = state.collector
        for text in [] if state.measures is None else state.measures.take_endings():
            if not collector.health.down:
                self._events.report("collector_degraded", collector, f"{collector.name} has {text}")

    def _collector_failed(self, collector: Collector, error: Exception) -> None:
        self._events.down(collector.health, collector, collector.name, error)

    def close(self) -> None:
        """Let go of all that the backends hold open, and of the listener: phases may outlive their session."""
        self._events.end()
        if self.snapshots is not None:
            self.snapshots.end()
        for collector in self.all:
            with contextlib.suppress(Exception):
                getattr(collector.backend, "close", int)()


def _nothing_known(_monotonic_ns: Callable[[], int]) -> None:
    return None
