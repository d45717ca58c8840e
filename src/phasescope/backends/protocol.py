"""What a source of counters must answer. The only module of ours that a backend imports.

Two kinds of source are joined in one event. A `Backend` is an allocator as one framework numbers its devices: what
live objects hold and what was reserved for them. A `DeviceSource` is a device as its driver sees it: what every
process together uses. They meet by `DeviceIdentity`, never by index, because `CUDA_VISIBLE_DEVICES` renumbers.

Every method here may raise: whoever calls it treats that as "no answer", marks the source degraded, and asks again
later. No method may initialise a device or a framework, synchronise one, or allocate on one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST_DEVICE = -1
"""The device id of the host's own memory."""

AllocatorCounters = tuple[int, int, "int | None", "int | None"]
"""(allocated, reserved, active, inactive) in bytes. A plain tuple, because it is made at every phase boundary."""


class DeviceCounters(NamedTuple):
    """Device-wide figures in bytes; None where they can not be known."""

    used_bytes: int | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None


class DeviceIdentity(NamedTuple):
    """What names one physical device across libraries.

    `uuid` as NVML writes it ("GPU-…" or "MIG-…"), `pci_bus_id` as "dddddddd:bb:dd.f" in lower case; None where unknown.
    """

    uuid: str | None = None
    pci_bus_id: str | None = None


class Unavailable(NamedTuple):
    """Why a source can not work here, and what would make it work. Both are one line for a person."""

    reason: str
    remedy: str


class Backend(Protocol):
    """One allocator. Constructing it costs nothing, imports no framework and never fails."""

    name: str
    """The name on the wire: `cpu`, `cuda`, `rocm`, `mps`, `tensorflow`, else the library's."""

    unavailable: tuple[str, ...]
    """The allocator counters that it can never measure, by their key in the event."""

    def why_not(self) -> Unavailable | None:
        """Why it could never work in this process, or None where it can. May import its framework; may be slow."""

    def ready(self) -> bool:
        """Whether this process uses it by now. Called at boundaries until it says yes: far below a microsecond."""

    def devices(self) -> Sequence[int]:
        """The devices that this process already uses, as the framework numbers them."""

    def current_device(self) -> int:
        """The calling thread's current device. Called at every phase entry."""

    def allocator(self, device: int) -> AllocatorCounters:
        """The allocator's counters. Called at every phase boundary."""

    def device(self, device: int) -> DeviceCounters:
        """What the framework itself knows of the whole device. Called by the sampler."""

    def identity(self, device: int) -> DeviceIdentity | None:
        """By what a `DeviceSource` finds the same device. Called by the sampler."""


class DeviceSource(Protocol):
    """One driver's view of the devices. Constructing it costs nothing and never fails."""

    name: str

    def why_not(self) -> Unavailable | None:
        """Why it can not work on this machine, or None where it can."""

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """The device's figures, or None where this driver knows no such device. Called by the sampler."""
