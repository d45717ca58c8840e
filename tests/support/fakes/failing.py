"""A backend whose calls fail on demand, and a driver that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.testing import FakeBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceCounters, DeviceIdentity


class Broken(Exception):
    """The exception that the backends here raise."""


class FailingBackend(FakeBackend):
    """Every call whose name is in `failing` raises. `calls` counts how often each was made."""

    def __init__(self, name: str = "cuda", **options: Any) -> None:
        super().__init__(name, **options)
        self.failing: set[str] = set()
        self.calls: dict[str, int] = {}
        self.identities: dict[int, DeviceIdentity] = {}

    def _call(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name in self.failing:
            raise Broken(f"no {name}")

    def ready(self) -> bool:
        self._call("ready")
        return super().ready()

    def devices(self) -> Sequence[int]:
        self._call("devices")
        return super().devices()

    def current_device(self) -> int:
        self._call("current_device")
        return super().current_device()

    def allocator(self, device: int) -> AllocatorCounters:
        self._call("allocator")
        return super().allocator(device)

    def device(self, device: int) -> DeviceCounters:
        self._call("device")
        return super().device(device)

    def identity(self, device: int) -> DeviceIdentity | None:
        self._call("identity")
        return self.identities.get(device)


class FakeDriver:
    """A driver's view of devices, by their identity."""

    name = "driver"

    def __init__(self, figures: dict[DeviceIdentity, DeviceCounters] | None = None) -> None:
        self.figures = figures or {}
        self.is_broken = False
        self.calls = 0

    def why_not(self) -> None:
        """Return None: it can always work."""

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        self.calls += 1
        if self.is_broken:
            raise Broken("no driver")
        return self.figures.get(identity)
