"""The backends of one session under one roof: chosen, joined with their drivers, and watched over their failures.

A `Source` is one backend and its health. `Sources` knows which of them the process uses by now, and of which one the
phases speak. What a phase boundary calls is `Sources.device_state` and `Source.read`; all else is the sampler's.
"""

from __future__ import annotations

import contextlib
import importlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope import oom
from phasescope.backends import BACKENDS, DEVICE_SOURCES, DRIVERS_ALONE
from phasescope.backends.protocol import HOST_DEVICE, AllocatorCounters, DeviceCounters
from phasescope.codec import MASKED_COUNTERS, Raw, encode_device, mask_of
from phasescope.failures import is_from_signal_handler, one_line, text_of
from phasescope.measures import measures
from phasescope.notices import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from phasescope.backends.protocol import Backend, DeviceIdentity, DeviceSource
    from phasescope.measures import Measures
    from phasescope.snapshots import Snapshots

T = TypeVar("T")

_ALLOCATOR = ("allocator_allocated_bytes", "allocator_reserved_bytes")
_ALLOCATOR_ALL = (*_ALLOCATOR, "allocator_active_bytes", "allocator_inactive_bytes", "allocator_change_bytes")
_DEVICE = ("device_used_bytes", "device_free_bytes", "device_total_bytes")

ALLOCATED_UNKNOWN = mask_of(_ALLOCATOR[:1])
_NO_ALLOCATOR = mask_of(_ALLOCATOR_ALL)

_METHODS = ("ready", "devices", "current_device", "allocator", "device", "identity")

_EXTRA_PERIOD_NS = 1_000_000_000
_FIRST_RETRY_NS = 1_000_000_000
_LAST_RETRY_NS = 60_000_000_000


class BackendUnavailableError(ValueError):
    """A backend that was asked for by name can not work here; the text says why and what would help."""


class Health:
    """Whether something answers, and when to ask again: after 1 s, 2 s, 4 s … up to a minute.

    The pauses start anew only after a minute without failure: what fails and answers by turns is heard of ever less.
    """

    __slots__ = ("_up_since_ns", "_wait_ns", "down", "retry_at_ns")

    def __init__(self) -> None:
        self.down = False
        self.retry_at_ns = 0
        self._wait_ns = _FIRST_RETRY_NS
        self._up_since_ns: int | None = None

    def fail(self, now_ns: int) -> bool:
        """Note a failure; True where it is the first of its kind."""
        first, self.down = not self.down, True
        if first and (self._up_since_ns is None or now_ns - self._up_since_ns >= _LAST_RETRY_NS):
            self._wait_ns = _FIRST_RETRY_NS
        self.retry_at_ns = now_ns + self._wait_ns
        self._wait_ns = min(self._wait_ns * 2, _LAST_RETRY_NS)
        return first

    def recover(self, now_ns: int) -> bool:
        """Note an answer; True where there was a failure before."""
        was_down, self.down = self.down, False
        if was_down:
            self._up_since_ns = now_ns
        return was_down

    def due(self, now_ns: int) -> bool:
        """Whether to ask now."""
        return not self.down or now_ns >= self.retry_at_ns


class DeviceState:
    """One device of one source: what an event about it needs besides the counters that were just read."""

    __slots__ = (
        "_told",
        "device_id",
        "encoded",
        "extra",
        "extra_at_ns",
        "figures",
        "last_allocated",
        "mask",
        "measures",
        "seen_by",
        "source",
    )

    def __init__(self, source: Source, device_id: int) -> None:
        self.source = source
        self.device_id = device_id
        self.measures = source.measures(device_id)
        self.last_allocated = -1  # of the event before; -1 where there is none to compare with
        self.extra: dict[str, int] = {}  # what the next sample has besides the counters
        self.extra_at_ns: int | None = None
        self.seen_by: tuple[Driver, DeviceIdentity] | None = None
        self._told = DeviceCounters()
        self.set_figures(DeviceCounters())

    def set_figures(self, figures: DeviceCounters) -> None:
        """Take over the driver's figures. One that is negative or contradicts the total is no measurement."""
        if figures is self._told:  # the same as before: a source need not look every time
            return
        self._told = figures
        used, free, total = (None if figure is not None and figure < 0 else figure for figure in figures)
        if total is not None:
            used = None if used is not None and used > total else used
            free = None if free is not None and free > total else free
        self.figures = DeviceCounters(used, free, total)
        self.remask()

    def take_extra(self) -> dict[str, int]:
        """What the sample that is being written has besides the counters; it is given once."""
        extra, self.extra = self.extra, {}
        return extra

    def remask(self) -> None:
        """Bring what an event says of the device up to date."""
        unknown = [key for key, value in zip(_DEVICE, self.figures, strict=True) if value is None]
        self.mask = self.source.mask | mask_of(unknown)
        self.encoded = self.encoded_with(self.mask)

    def encoded_with(self, mask: int) -> Raw:
        """The device as a part of a payload, with these counters unavailable."""
        used, free, total = self.figures
        return encode_device(self.source.name, self.device_id, used or 0, free, total, mask)


class Source:
    """One backend and its health. `read(device)` never raises: after a failure it answers with nothing at all."""

    def __init__(
        self,
        backend: Backend,
        failed: Callable[[Source, Exception], None],
        measures: Callable[[Backend, int], Measures | None] = lambda _backend, _device: None,
    ) -> None:
        self.backend = backend
        self.measures = partial(measures, backend)
        self.name = backend.name
        self.health = Health()
        self.figures_health = Health()
        self.extra_health = Health()
        self.extra: Callable[[int], dict[str, int]] | None = getattr(backend, "extra", None)
        self.states: dict[int, DeviceState] = {}
        self.read: Callable[[int], AllocatorCounters] = backend.allocator
        self.current_device: Callable[[], int] = backend.current_device
        self.leads = True
        self._failed = failed
        self._own_mask = mask_of(backend.unavailable)

    def admitted(self) -> None:
        """The backend is ready: only now it knows what it can not measure, and whether phases may speak of it."""
        try:
            self._own_mask = mask_of(self.backend.unavailable)
            self.leads = bool(getattr(self.backend, "leads", _yes)())
        except Exception as error:  # it is asked for its devices next, and a failure is told then
            if is_from_signal_handler(error):
                raise
            self.leads = False
        self._remask()

    @property
    def mask(self) -> int:
        """The allocator counters that can not be had now."""
        return _NO_ALLOCATOR if self.health.down else self._own_mask

    def state(self, device: int) -> DeviceState:
        """What is known of one device, made at its first use."""
        return self.states.get(device) or self.states.setdefault(device, DeviceState(self, device))

    def any_state(self) -> DeviceState:
        """A device for an event that is about the source as a whole."""
        return next(iter(self.states.values()), None) or self.state(self._first_device)

    @property
    def _first_device(self) -> int:
        return HOST_DEVICE if self.name == "cpu" else 0

    def read_failed(self, error: Exception) -> AllocatorCounters:
        """Answer for a read that raised, and stop asking until the sampler has tried again."""
        if is_from_signal_handler(error):
            raise error
        self.read = _no_counters
        self._failed(self, error)
        self._remask()
        return _no_counters(0)

    def current_device_failed(self, error: Exception) -> int:
        """The same for the current device: until the sampler has tried again it is the last one seen."""
        self.read_failed(error)
        last_device = next(reversed(list(self.states)), self._first_device)
        self.current_device = lambda: last_device
        return last_device

    def recovered(self) -> None:
        """Ask the backend itself again."""
        self.read = self.backend.allocator
        self.current_device = self.backend.current_device
        self._remask()

    def _remask(self) -> None:
        for state in list(self.states.values()):
            state.last_allocated = -1
            state.remask()
            if state.measures is not None and not self.health.down:
                state.measures.retry()


def _yes() -> bool:
    return True


def _no_counters(_device: int) -> AllocatorCounters:
    return 0, 0, None, None


class Driver:
    """One `DeviceSource`, and its health with each device: one that is lost must not hide the others."""

    def __init__(self, driver: DeviceSource) -> None:
        self.driver = driver
        self.name = driver.name
        self.extra: Callable[[DeviceIdentity], dict[str, int]] | None = getattr(driver, "extra", None)
        self.extra_health = Health()
        self.healths: dict[DeviceIdentity, Health] = {}
        self.said: set[str] = set()  # since it last answered for every device

    def health(self, identity: DeviceIdentity) -> Health:
        """Its health with one device."""
        return self.healths.setdefault(identity, Health())


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
        self, device: DeviceState, counters: AllocatorCounters, on_host: bool, error: BaseException | None
    ) -> tuple[DeviceState, AllocatorCounters, dict[str, Any]]:
        """What an event about memory that ran out says: the device whose it is, its counters, and further metadata.

        It looks at the device anew, for what the sampler saw may be a tenth of a second old.
        """
        source = device.source
        try:
            if on_host and device.device_id != HOST_DEVICE:
                source = next(source for source in self._all if source.name == "cpu")
                device = source.state(HOST_DEVICE)
                counters = source.read(HOST_DEVICE)
            device.set_figures(self._figures(source, device.device_id))
        except Exception as failure:
            if is_from_signal_handler(failure):
                raise
            logger.debug("no fresh look at the device: %s", type(failure).__name__)
        details: dict[str, Any] = {
            "memory": "host" if device.device_id == HOST_DEVICE else "device",
            "settings": oom.settings(),
        }
        requested_bytes = oom.requested_bytes(text_of(error)) or oom.requested_by_numpy(error)
        if requested_bytes is not None:
            details["requested_bytes"] = requested_bytes
        path = None if self._snapshots is None else self._snapshots.write(device.source.backend)
        if path is not None:
            details["snapshot"] = path
        return device, counters, details

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
        """Ask backend and driver for what they know besides, at most once a second."""
        now_ns = self._monotonic_ns()
        if state.extra_at_ns is not None and now_ns - state.extra_at_ns < _EXTRA_PERIOD_NS:
            return
        state.extra_at_ns = now_ns
        found: dict[str, int] = {}
        if state.seen_by is not None:
            driver, identity = state.seen_by
            if driver.extra is not None:
                found.update(self._besides(driver, source, partial(driver.extra, identity)))
        if source.extra is not None:
            found.update(self._besides(source, source, partial(source.extra, state.device_id)))
        state.extra = found

    def _besides(
        self, asked: Source | Driver, source: Source, question: Callable[[], dict[str, int]]
    ) -> dict[str, int]:
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


def choose(names: str | Sequence[Any]) -> tuple[list[Backend], list[DeviceSource]]:
    """The backends for `start(backends=...)`, in the order in which phases prefer them, the host last.

    "auto" takes all and stays silent about those that can not work. A name that is asked for and can not work raises
    BackendUnavailableError, an unknown one ValueError, anything that is no backend TypeError.
    """
    if isinstance(names, str):
        if names != "auto":
            raise ValueError(f'backends must be "auto" or a list, e.g. ["{names}"], not "{names}"')
        chosen: list[Backend] = list(_loadable(BACKENDS.values()))
    else:
        chosen = [_asked_for(name) for name in names]
    names_given = [backend.name for backend in chosen]
    for name in names_given:
        if names_given.count(name) > 1:
            raise ValueError(f'backends: "{name}" is there more than once')
    order = list(BACKENDS)
    chosen.sort(key=lambda backend: order.index(backend.name) if backend.name in order else -1)
    if all(backend.name != "cpu" for backend in chosen):
        chosen.append(load(BACKENDS["cpu"]))
    return chosen, list(_loadable(DEVICE_SOURCES.values()))


def _loadable(paths: Iterable[str]) -> Iterator[Any]:
    """What nobody asked for by name, without that which can not be imported: there may be no descriptor left."""
    for path in paths:
        try:
            yield load(path)
        except (OSError, ImportError) as error:
            logger.warning("%s is left out: %s", path.partition(":")[0], type(error).__name__)


def _asked_for(name: Any) -> Backend:
    if not isinstance(name, str):
        backend: Backend = name
        _check(backend)
        return backend
    known = {name: path for paths in (BACKENDS, DRIVERS_ALONE) for name, path in sorted(paths.items())}
    if name not in known:
        raise ValueError(f'backends: there is no "{name}"; known are {", ".join(known)}')
    backend = load(known[name])
    unavailable = backend.why_not()
    if unavailable is not None:
        raise BackendUnavailableError(
            f'backends: "{name}" can not work here: {unavailable.reason}. {unavailable.remedy}'
        )
    if hasattr(backend, "asked_for"):
        backend.asked_for = True
    return backend


def _check(backend: Backend) -> None:
    """Raise for an object that is no Backend, by what it lacks."""
    kind = type(backend).__name__
    lacks = [part for part in _METHODS if not callable(getattr(backend, part, None))]
    if lacks:
        raise TypeError(f"backends: a {kind} is neither a backend's name nor a Backend; it has no {', '.join(lacks)}")
    name, unavailable = getattr(backend, "name", None), getattr(backend, "unavailable", None)
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"backends: the name of a {kind} must be text that is not blank")
    if not isinstance(unavailable, (tuple, list)) or not set(unavailable) <= set(MASKED_COUNTERS):
        raise TypeError(f"backends: `unavailable` of a {kind} must hold names of counters")


def load(path: str) -> Any:
    """An instance of `module:class`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)()
