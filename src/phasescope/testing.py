"""Test phases and sessions without hardware: a backend and a clock that a test sets, and a sample on demand.

    backend = FakeBackend(name="cuda", total=80 * 2**30)
    clock = FakeClock()
    with phasescope.start(backends=[backend], clock=clock) as session:
        with phase("forward"):
            backend.allocate(200 * 2**20)
            clock.advance(ms=5)
        sample(session)

Nothing is measured: the session reports exactly these figures and times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope import _library_words
from phasescope.backends.protocol import (
    HOST_DEVICE,
    AllocatorCounters,
    DeviceCounters,
    DeviceIdentity,
    PlainCounters,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from phasescope.backends.protocol import Unavailable
    from phasescope.capture.session import Session

__all__ = ["FakeBackend", "FakeClock", "OutOfMemoryError", "sample"]


_COUNTS = ("num_alloc_retries", "num_ooms", "num_device_alloc", "num_device_free")
_OBSERVED = ("cuda", "rocm")  # torch tells nobody of another device's failing allocation but by its error


class OutOfMemoryError(RuntimeError):
    """What `FakeBackend.run_out` raises for "cuda", "rocm" and "xpu", named and worded as torch's own."""


_RAISED: dict[str, type[Exception]] = {
    **dict.fromkeys(_library_words.TORCH, OutOfMemoryError),
    "jax": type("JaxRuntimeError", (RuntimeError,), {"__module__": "jax.errors"}),
    "tensorflow": type(
        "ResourceExhaustedError", (Exception,), {"__module__": "tensorflow.python.framework.errors_impl"}
    ),
}
"""What each library raises, where that is not a plain RuntimeError."""


class FakeBackend:
    """A `Backend` whose counters a test sets. Named "cpu" (the default) it stands in for the host, else for a device.

    Args:
        allocated: what the allocator's live objects hold, in bytes, the same on each device. None, in what follows,
            means: not known.
        reserved: what the allocator holds, in bytes; by default as much as `allocated`.
        active: the allocator's blocks in use, in bytes.
        inactive: the free parts of blocks that it has split, in bytes.
        used: what is in use of the whole device, by all processes, in bytes.
        free: what is free of it, in bytes.
        total: its size, in bytes.
        devices: the device indices; by default the host's, or 0.

    Set `fail_with` to an exception that every reading raises from then on, or to None to let it answer again. Set
    `is_ready` to False to act as a framework that is not in use yet.
    """

    def __init__(
        self,
        name: str = "cpu",
        *,
        allocated: int = 0,
        reserved: int | None = None,
        active: int | None = None,
        inactive: int | None = None,
        used: int | None = None,
        free: int | None = None,
        total: int | None = None,
        devices: Sequence[int] | None = None,
    ) -> None:
        self.name = name
        self.unavailable = tuple(
            f"allocator_{key}_bytes" for key, value in (("active", active), ("inactive", inactive)) if value is None
        )
        if devices is None:
            devices = [HOST_DEVICE] if name == "cpu" else [0]
        self.used_devices = list(devices)
        self.selected_device = self.used_devices[0] if self.used_devices else 0
        self.is_ready = True
        self.fail_with: Exception | None = None
        self.figures = DeviceCounters(used, free, total)
        first = (allocated, allocated if reserved is None else reserved, active, inactive)
        self._counters: dict[int, PlainCounters] = dict.fromkeys(self.used_devices, first)
        self._peaks: dict[int, int] = {}
        self._counts: dict[int, dict[str, int]] = {}
        self._counts_told: set[int] = set()  # of which devices they have not changed since
        self._failure: tuple[int, int, dict[str, int]] | None = None
        self._listed: dict[str, int] = {}
        self._worked_ms = 0.0
        self.is_busy = False

    def set(
        self,
        allocated: int,
        reserved: int | None = None,
        *,
        active: int | None = None,
        inactive: int | None = None,
        device: int | None = None,
    ) -> None:
        """Set the counters of the device (by default the current one), in bytes: `allocated`, `reserved`, `active` and
        `inactive`."""
        counters = (allocated, allocated if reserved is None else reserved, active, inactive)
        index = self.selected_device if device is None else device
        before = self._counters.get(index, counters)[1]
        if counters[1] != before:
            self._count(index, "num_device_alloc" if counters[1] > before else "num_device_free")
        self._counters[index] = counters
        self._peaks[index] = max(allocated, self._peaks.get(index, 0))

    def allocate(self, size_bytes: int, device: int | None = None) -> None:
        """Change allocated by `size_bytes`, by default on the current device; reserved grows with it, never shrinks.

        Raises ValueError if it frees more than is allocated.
        """
        index = self.selected_device if device is None else device
        allocated, reserved, active, inactive = self._counters[index]
        allocated += size_bytes
        if allocated < 0:
            raise ValueError(f"size_bytes frees more than is allocated on device {index}")
        self.set(allocated, max(reserved, allocated), active=active, inactive=inactive, device=index)

    def retry(self) -> None:
        """Act as torch on the current device if it is full: give back what is reserved and unused, and try again."""
        index = self.selected_device
        allocated, _, active, inactive = self._counters[index]
        self.set(allocated, active=active, inactive=inactive, device=index)
        self._count(index, "num_alloc_retries")

    def _count(self, index: int, name: str) -> None:
        counts = self._counts.get(index, dict.fromkeys(_COUNTS, 0))
        self._counts[index] = {**counts, name: counts[name] + 1}
        self._counts_told.discard(index)

    def work(self, ms: float) -> None:
        """Give the device `ms` milliseconds of work. While `is_busy` is True, none of it is done."""
        self._worked_ms += ms

    def list_processes(self, process_bytes: int | None = None, other_bytes: int | None = None) -> None:
        """Let the driver list from now on what this process and all others hold of each device, in bytes. None: it does
        not say."""
        given = {"process_used_bytes": process_bytes, "other_processes_bytes": other_bytes}
        self._listed = {key: size for key, size in given.items() if size is not None}
        self._counts_told.clear()

    def run_out(
        self,
        requested_bytes: int,
        *,
        free_bytes: int = 0,
        freed_bytes: int = 0,
        allowed_bytes: int | None = None,
        process_bytes: int | None = None,
        other_bytes: int = 0,
        pools_bytes: int = 0,
    ) -> None:
        """Raise what the library raises for a request on the current device, with what its words say of the device.

        That is OutOfMemoryError for "cuda", "rocm" and "xpu", torch's RuntimeError for "mps" and for the host ("cpu"),
        and for "jax" and "tensorflow" an exception named as theirs.

        `free_bytes` of it are free, `process_bytes` used by this process and `other_bytes` by another (None: the words
        do not say), `allowed_bytes` the most that this process may have. `pools_bytes` of what is reserved are free
        in the pools of CUDA graphs, which torch's text counts as allocated. On the way out `freed_bytes` of what is
        allocated are freed. Raises ValueError for a device that was made without `total`, and for any other name.
        """
        index, total = self.selected_device, self.figures.total_bytes
        allocated, reserved, _, _ = self._counters[index]
        if self.name == "cpu":
            words = _library_words.of_host(requested_bytes)
        elif total is None:
            raise ValueError("total is needed: FakeBackend(total=...)")
        else:
            at_failure = _library_words.FailedAllocation(
                *(index, requested_bytes, allocated, reserved, total, free_bytes),
                *(allowed_bytes, process_bytes, other_bytes, pools_bytes),
            )
            words = _library_words.of_device(self.name, at_failure)
        self._count(index, "num_alloc_retries")  # torch gives its cache back first, and fails then
        self._count(index, "num_ooms")
        figures = {"allocated_bytes": allocated, "slack_bytes": reserved - allocated, "free_bytes": free_bytes}
        if total is not None and self.name in _OBSERVED:
            self._failure = index, requested_bytes, {**figures, "total_bytes": total}
        self.allocate(-freed_bytes)
        raise _RAISED.get(self.name, RuntimeError)(words)

    def watch_failures(self) -> None:
        self._counts_told.clear()  # a session begins

    def failure(self, device: int, requested_bytes: int) -> dict[str, int]:
        if self._failure is None or self._failure[0] != device:
            return {}
        return dict(self._failure[2])

    def why_not(self) -> Unavailable | None:
        return None

    def ready(self) -> bool:
        return self.is_ready

    def devices(self) -> Sequence[int]:
        return self.used_devices

    def current_device(self) -> int:
        return self.selected_device

    def allocator(self, device: int) -> AllocatorCounters:
        if self.fail_with is not None:
            raise self.fail_with
        counters = self._counters[device]
        if device in self._counts_told:  # asked at each boundary, this is to cost next to nothing
            return counters
        self._counts_told.add(device)
        counts = self.extra(device)
        return (*counters, counts) if counts else counters

    def extra(self, device: int) -> dict[str, int]:
        """Return what the allocator has counted, as torch does, and nothing for a name that is not one of torch's;
        and what the driver lists."""
        counts = self._counts.get(device, dict.fromkeys(_COUNTS, 0)) if self.name in _library_words.TORCH else {}
        return {**counts, **self._listed}

    def device(self, device: int) -> DeviceCounters:
        return self.figures

    def identity(self, device: int) -> DeviceIdentity | None:
        return None

    def peak(self, device: int) -> int:
        if self.fail_with is not None:
            raise self.fail_with
        return max(self._counters[device][0], self._peaks.get(device, 0))

    def reset_peak(self, device: int) -> None:
        self._peaks[device] = self._counters[device][0]

    def time_mark(self, device: int) -> float:
        if self.fail_with is not None:
            raise self.fail_with
        return self._worked_ms

    def time_between(self, begin: float, end: float) -> float | None:
        return None if self.is_busy else end - begin


class FakeClock:
    """A clock that stands still until `advance()` is called; its wall clock can also jump."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = 0
        self._wall_ns = wall_ns

    def monotonic_ns(self) -> int:
        """Return the monotonic time in ns; it begins at 0."""
        return self._now_ns

    def wall_ns(self) -> int:
        """Return the wall-clock time in ns since the epoch."""
        return self._wall_ns

    def advance(self, *, ms: float) -> None:
        """Let `ms` milliseconds pass, on both clocks."""
        self._now_ns += int(ms * 1e6)
        self._wall_ns += int(ms * 1e6)

    def jump(self, *, seconds: float) -> None:
        """Set the wall clock forward by `seconds`, or back if they are negative, as a time server does."""
        self._wall_ns += int(seconds * 1e9)

    def wait_until(self, event: threading.Event, due_ns: int) -> bool:
        """Wait until the event is set or `advance` has let the time pass; return whether the event is set."""
        while self._now_ns < due_ns:
            if event.wait(0.001):
                return True
        return event.is_set()


def sample(session: Session, *, late_ns: int = 0) -> None:
    """Take one sample of all devices now, in the calling thread, as the background thread does at each interval.

    Return when its events can be read. `late_ns` is how late the sample says that it came. Start the session with a
    large `interval_ms` to have no other samples. Do nothing if the session has stopped.
    """
    if not session._writer.closed:
        session._sampler.tick(late_ns)
