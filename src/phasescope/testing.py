"""What tests of phases and sessions are written with, ours and our users': a backend and a clock that do as told.

backend = FakeBackend(name="cuda", total=80 * 2**30)
clock = FakeClock()
with phasescope.start(backends=[backend], clock=clock) as session:
    with phase("forward"):
        backend.allocate(200 * 2**20)
        clock.advance(ms=5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.backends.protocol import (
    HOST_DEVICE,
    AllocatorCounters,
    DeviceCounters,
    DeviceIdentity,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from phasescope.backends.protocol import Unavailable

__all__ = ["FakeBackend", "FakeClock"]


class FakeBackend:
    """A backend whose counters are what was set. As "cpu" (the default) it stands in for the host, else for a device.

    `fail_with` is an exception that every reading raises from now on, None lets it answer again. `is_ready` False is
    a framework that is not in use yet.
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
        self._counters: dict[int, AllocatorCounters] = dict.fromkeys(self.used_devices, first)
        self._peaks: dict[int, int] = {}
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
        """From now on the device (by default the current one) has these counters, in bytes."""
        counters = (allocated, allocated if reserved is None else reserved, active, inactive)
        index = self.selected_device if device is None else device
        self._counters[index] = counters
        self._peaks[index] = max(allocated, self._peaks.get(index, 0))

    def allocate(self, size_bytes: int, device: int | None = None) -> None:
        """Change allocated by so much; reserved grows with it and never shrinks. Raises ValueError below 0."""
        index = self.selected_device if device is None else device
        allocated, reserved, active, inactive = self._counters[index]
        allocated += size_bytes
        if allocated < 0:
            raise ValueError(f"size_bytes frees more than is allocated on device {index}")
        self.set(allocated, max(reserved, allocated), active=active, inactive=inactive, device=index)

    def work(self, ms: float) -> None:
        """Give the device so much to do. While `is_busy` is True it is not done with any of it."""
        self._worked_ms += ms

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
        return self._counters[device]

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
    """A clock that stands still until it is told to go on; its wall clock can jump by itself."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = 0
        self._wall_ns = wall_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._wall_ns

    def advance(self, *, ms: float) -> None:
        """Let time pass, on both clocks."""
        self._now_ns += int(ms * 1e6)
        self._wall_ns += int(ms * 1e6)

    def jump(self, *, seconds: float) -> None:
        """Set the wall clock forwards or back, as a time server does."""
        self._wall_ns += int(seconds * 1e9)

    def wait_until(self, event: threading.Event, due_ns: int) -> bool:
        """Wait until the event is set or `advance` has let the time pass; whether the event is set."""
        while self._now_ns < due_ns:
            if event.wait(0.001):
                return True
        return event.is_set()
