"""A driver without a framework: the devices that it shows, as a backend to be asked for by name.

For what takes device memory without an allocator that can be read: CuPy, Numba, an own CUDA extension, an inference
server in the same machine. What this process holds is not known then, so phases go on to speak of the host; the
devices are sampled beside it. "auto" never takes one of these: it would start a driver's library, and sample devices
that the training may never use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends.amd_smi import AmdSmi
from phasescope.backends.amd_sysfs import AmdSysfs
from phasescope.backends.hidden_devices import hidden_by
from phasescope.backends.nvml import Nvml
from phasescope.backends.protocol import DeviceCounters, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceIdentity, Present

_ALLOCATOR = ("allocated", "reserved", "active", "inactive", "change")


class Surveyed(NamedTuple):
    """A device that a driver shows, its figures, and what the driver knows besides."""

    present: Present
    counters: DeviceCounters
    extra: dict[str, int]


class DriverAlone:
    """The devices that the environment leaves to this process, numbered in its order."""

    unavailable: tuple[str, ...] = tuple(f"allocator_{name}_bytes" for name in _ALLOCATOR)
    _hides: tuple[str, ...] = ()

    def __init__(self, driver: Any) -> None:
        self.name: str = driver.name
        self._driver = driver
        self._devices: tuple[DeviceIdentity, ...] | None = None

    def why_not(self) -> Unavailable | None:
        """Return the driver's reason, else that no device is visible to this process, or None."""
        unavailable: Unavailable | None = self._driver.why_not()
        if unavailable is not None:
            return unavailable
        hidden = hidden_by(self._hides)
        if hidden is not None:
            return hidden
        if self._driver.visible():
            return None
        names = " and ".join(self._hides)
        return Unavailable(f"{names} names no device of this machine", f"unset {names}, or name a device that is there")

    def ready(self) -> bool:
        """Return True: a driver works without a framework."""
        return True

    def leads(self) -> bool:
        """Return False: a driver does not know what a phase allocates."""
        return False

    def devices(self) -> Sequence[int]:
        """Return all that are visible, looked up once. Raises what the driver raises."""
        if self._devices is None:
            self._devices = tuple(shown.identity for shown in self._driver.visible())
        return range(len(self._devices))

    def current_device(self) -> int:
        """Return 0."""
        return 0

    def allocator(self, device: int) -> AllocatorCounters:
        """Return nothing, and do not ask the driver: see `unavailable`."""
        return 0, 0, None, None

    def device(self, device: int) -> DeviceCounters:
        """Return what every process together uses. Raises what the driver raises."""
        counters: DeviceCounters | None = self._driver.device(self._identity(device))
        return DeviceCounters() if counters is None else counters

    def extra(self, device: int) -> dict[str, int]:
        """Return the further figures of the driver, and how the device is at work."""
        identity = self._identity(device)
        return {**self._extra(identity), **self._activity(identity)}

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return None: the driver has been asked already."""
        return None

    def survey(self) -> list[Surveyed]:
        """Return every device that the driver shows, visible or not; one that does not answer has no figures.

        Raises what the driver raises if it does not answer at all.
        """
        return [self._surveyed(shown) for shown in self._driver.present()]

    def _surveyed(self, shown: Present) -> Surveyed:
        try:
            counters = self._driver.device(shown.identity) or DeviceCounters()
            return Surveyed(shown, counters, {**self._extra(shown.identity), **self._activity(shown.identity)})
        except Exception:  # lost, or not for this user
            return Surveyed(shown, DeviceCounters(), {})

    def _extra(self, identity: DeviceIdentity) -> dict[str, int]:
        details: dict[str, int] = getattr(self._driver, "extra", _nothing)(identity)
        return details

    def _activity(self, identity: DeviceIdentity) -> dict[str, int]:
        figures: dict[str, int] = getattr(self._driver, "activity", _nothing)(identity)
        return figures

    def _identity(self, device: int) -> DeviceIdentity:
        self.devices()
        assert self._devices is not None
        return self._devices[device]


def _nothing(_identity: DeviceIdentity) -> dict[str, int]:
    return {}


class NvmlAlone(DriverAlone):
    """NVIDIA's."""

    _hides = ("CUDA_VISIBLE_DEVICES",)

    def __init__(self) -> None:
        super().__init__(Nvml(in_use=False))


class AmdSmiAlone(DriverAlone):
    """AMD's, by AMD SMI."""

    _hides = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

    def __init__(self) -> None:
        super().__init__(AmdSmi(in_use=False))


class AmdSysfsAlone(DriverAlone):
    """AMD's, by the kernel's files."""

    _hides = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

    def __init__(self) -> None:
        super().__init__(AmdSysfs())
