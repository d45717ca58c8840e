"""One backend of a session: its health, its devices, and the counters that a phase boundary reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from phasescope.backends.protocol import HOST_DEVICE, AllocatorCounters, DeviceCounters
from phasescope.capture.exception_info import is_from_signal_handler
from phasescope.wire.encoding import Raw, encode_device, mask_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.backends.protocol import Backend, DeviceIdentity, DeviceSource
    from phasescope.capture.measurements import Measures

_ALLOCATOR = ("allocator_allocated_bytes", "allocator_reserved_bytes")
_ALLOCATOR_ALL = (*_ALLOCATOR, "allocator_active_bytes", "allocator_inactive_bytes", "allocator_change_bytes")
_DEVICE = ("device_used_bytes", "device_free_bytes", "device_total_bytes")

ALLOCATED_UNKNOWN = mask_of(_ALLOCATOR[:1])
_NO_ALLOCATOR = mask_of(_ALLOCATOR_ALL)

_SLOW_NS = 20_000_000
_REST = 20
_LONGEST_REST_NS = 5_000_000_000
_FIRST_RETRY_NS = 1_000_000_000
_LAST_RETRY_NS = 60_000_000_000


class CollectorHealth:
    """Whether a backend or driver answers, and when to ask again: after 1 s, 2 s, 4 s … up to a minute.

    The pauses start again at 1 s only after a minute without failure: one that fails and answers by turns is reported
    ever more rarely.
    """

    __slots__ = ("_up_since_ns", "_wait_ns", "down", "retry_at_ns")

    def __init__(self) -> None:
        self.down = False
        self.retry_at_ns = 0
        self._wait_ns = _FIRST_RETRY_NS
        self._up_since_ns: int | None = None

    def fail(self, now_ns: int) -> bool:
        """Note a failure. Return True if it is the first of its kind."""
        first, self.down = not self.down, True
        if first and (self._up_since_ns is None or now_ns - self._up_since_ns >= _LAST_RETRY_NS):
            self._wait_ns = _FIRST_RETRY_NS
        self.retry_at_ns = now_ns + self._wait_ns
        self._wait_ns = min(self._wait_ns * 2, _LAST_RETRY_NS)
        return first

    def recover(self, now_ns: int) -> bool:
        """Note an answer. Return True if there was a failure before."""
        was_down, self.down = self.down, False
        if was_down:
            self._up_since_ns = now_ns
        return was_down

    def due(self, now_ns: int) -> bool:
        """Return whether to ask now."""
        return not self.down or now_ns >= self.retry_at_ns


class DeviceState:
    """One device of one collector: the parts of an event about it besides the counters just read."""

    __slots__ = (
        "_told",
        "categories",
        "collector",
        "device_id",
        "encoded",
        "extra",
        "extra_at_ns",
        "figures",
        "last_allocated",
        "mask",
        "measures",
        "packed",
        "seen_by",
    )

    def __init__(self, collector: Collector, device_id: int) -> None:
        self.collector = collector
        self.device_id = device_id
        self.measures = collector.measures(device_id)
        self.last_allocated = -1  # of the event before; -1 if there is none to compare with
        self.extra: dict[str, Any] = {}  # further metadata of the next sample
        self.extra_at_ns: int | None = None
        self.categories: dict[str, int | str] = {}  # of the last look at what its memory is made of
        self.seen_by: tuple[Driver, DeviceIdentity] | None = None
        self._told = DeviceCounters()
        self.set_figures(DeviceCounters())

    def set_figures(self, figures: DeviceCounters) -> None:
        """Accept the driver's figures; one that is negative or exceeds the total counts as unknown."""
        if figures is self._told:  # the same as before: a backend need not look every time
            return
        self._told = figures
        used, free, total = (None if figure is not None and figure < 0 else figure for figure in figures)
        if total is not None:
            used = None if used is not None and used > total else used
            free = None if free is not None and free > total else free
        self.figures = DeviceCounters(used, free, total)
        self.remask()

    def take_extra(self) -> dict[str, Any]:
        """Return the further metadata of the sample that is being written; it is given once."""
        extra, self.extra = self.extra, {}
        return extra

    def remask(self) -> None:
        """Refresh the event's part about the device."""
        unknown = [key for key, value in zip(_DEVICE, self.figures, strict=True) if value is None]
        self.mask = self.collector.mask | mask_of(unknown)
        self.encoded = self.encoded_with(self.mask)
        self.packed = bytes(self.encoded)

    def encoded_with(self, mask: int) -> Raw:
        """Return the device as a part of a payload, with these counters unavailable."""
        used, free, total = self.figures
        return encode_device(self.collector.name, self.device_id, used or 0, free, total, mask)


class Collector:
    """One backend and its health. `read(device)` never raises: after a failure it answers with nothing at all."""

    # At fixed places, for the compiled core.
    __slots__ = ("__dict__", "__weakref__", "current_device", "read", "states")

    def __init__(
        self,
        backend: Backend,
        failed: Callable[[Collector, Exception], None],
        measures: Callable[[Backend, int], Measures | None] = lambda _backend, _device: None,
    ) -> None:
        self.backend = backend
        self.measures = partial(measures, backend)
        self.name = backend.name
        self.health = CollectorHealth()
        self.figures_health = CollectorHealth()
        self.extra_health = CollectorHealth()
        self.extra: Callable[[int], dict[str, Any]] | None = getattr(backend, "extra", None)
        self.glance: Callable[[int], dict[str, Any]] | None = getattr(backend, "glance", None)
        self.states: dict[int, DeviceState] = {}
        self.read: Callable[[int], AllocatorCounters] = _allocator_of(backend)
        self.current_device: Callable[[], int] = backend.current_device
        self.leads = True
        self.slow_readings = 0
        self.rests_until_ns = 0
        self._failed = failed
        self._own_mask = mask_of(backend.unavailable)

    def admitted(self) -> None:
        """Note that the backend is ready: only now it knows what it cannot measure, and whether phases may use it."""
        try:
            self._own_mask = mask_of(self.backend.unavailable)
            self.leads = bool(getattr(self.backend, "leads", _yes)())
            getattr(self.backend, "watch_failures", _yes)()
        except Exception as error:  # it is asked for its devices next, and a failure is reported then
            if is_from_signal_handler(error):
                raise
            self.leads = False
        self._remask()

    def read_all(self) -> dict[int, AllocatorCounters]:
        """Return the counters of every device that the process uses, for a sample.

        They are the last ones that its boundaries have read, if the backend says that no other thread may ask.
        """
        sampled: dict[int, AllocatorCounters] | None = getattr(self.backend, "sampled", _nothing)()
        if sampled is not None:
            return sampled
        return {device: self.backend.allocator(device) for device in self.backend.devices()}

    def rest_after(self, began_ns: int, ended_ns: int) -> None:
        """Leave the backend alone for a while if a reading for a sample took long: it waited for a lock of the
        framework's, and may have kept other threads of the training from running all the while."""
        took_ns = ended_ns - began_ns
        if took_ns >= _SLOW_NS and hasattr(self.backend, "sampled"):  # others let the interpreter go while they wait
            self.slow_readings += 1
            self.rests_until_ns = ended_ns + min(took_ns * _REST, _LONGEST_REST_NS)

    @property
    def is_troubled(self) -> bool:
        """Whether something of it does not answer now."""
        return self.health.down or self.figures_health.down or self.extra_health.down

    @property
    def mask(self) -> int:
        """The allocator counters that cannot be had now."""
        return _NO_ALLOCATOR if self.health.down else self._own_mask

    def state(self, device: int) -> DeviceState:
        """Return the state of one device, made at its first use."""
        return self.states.get(device) or self.states.setdefault(device, DeviceState(self, device))

    def any_state(self) -> DeviceState:
        """Return a device for an event that is about the collector as a whole."""
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
        """Answer for the current device after a failure: until the sampler has tried again it is the last one seen."""
        self.read_failed(error)
        last_device = next(reversed(list(self.states)), self._first_device)
        self.current_device = lambda: last_device
        return last_device

    def recovered(self) -> None:
        """Ask the backend itself again."""
        self.read = _allocator_of(self.backend)
        self.current_device = self.backend.current_device
        self._remask()

    def _remask(self) -> None:
        for state in list(self.states.values()):
            state.last_allocated = -1
            state.remask()
            if state.measures is not None and not self.health.down:
                state.measures.retry()


def _allocator_of(backend: Backend) -> Callable[[int], AllocatorCounters]:
    """Return the function that reads the backend's counters at boundaries: of the host, the compiled core's."""
    quick: Callable[[int], AllocatorCounters] | None = getattr(backend, "quick_allocator", None)
    return backend.allocator if quick is None else quick


def _yes() -> bool:
    return True


def _nothing() -> None:
    return None


def _no_counters(_device: int) -> AllocatorCounters:
    return 0, 0, None, None


class Driver:
    """One `DeviceSource`, and its health with each device: one that is lost must not hide the others."""

    def __init__(self, driver: DeviceSource) -> None:
        self.driver = driver
        self.name = driver.name
        self.extra: Callable[[DeviceIdentity], dict[str, Any]] | None = getattr(driver, "extra", None)
        self.extra_health = CollectorHealth()
        self.activity: Callable[[DeviceIdentity], dict[str, Any]] | None = getattr(driver, "activity", None)
        self.activity_health = CollectorHealth()
        self.healths: dict[DeviceIdentity, CollectorHealth] = {}
        self.said: set[str] = set()  # since it last answered for every device

    def health(self, identity: DeviceIdentity) -> CollectorHealth:
        """Return its health with one device."""
        return self.healths.setdefault(identity, CollectorHealth())
