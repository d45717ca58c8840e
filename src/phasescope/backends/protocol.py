"""What a source of counters must answer. The only module of ours that a backend imports.

Two kinds of source are joined in one event. A `Backend` is an allocator as one framework numbers its devices: what
live objects hold and what was reserved for them. A `DeviceSource` is a device as its driver sees it: what every
process together uses. They meet by `DeviceIdentity`, never by index, because `CUDA_VISIBLE_DEVICES` renumbers.

Every method here may raise: whoever calls it treats that as "no answer", marks the source degraded, and asks again
later. No method may initialise a device or a framework, synchronise one, or allocate on one.

`Backend` is all that a backend must have. What it may have besides stands in the small protocols after it, each looked
up by its methods' names: what is not there is not asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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

    @property
    def unavailable(self) -> tuple[str, ...]:
        """The allocator counters that it can not measure, by their key in the event. Read again once it is ready."""

    def why_not(self) -> Unavailable | None:
        """Why it could never work in this process, or None where it can. May import its framework; may be slow."""

    def ready(self) -> bool:
        """Whether this process uses it by now. Called at boundaries until it says yes: a fraction of a microsecond."""

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


class GivesUp(Protocol):
    """A backend that may find out that it will never be ready, in a build of its framework for other devices, say."""

    never: bool
    """True once that is certain. It is not asked again in this session."""


class Steps(Protocol):
    """A backend that does not always speak for the training: a framework that runs on the host's processors, say."""

    asked_for: bool
    """Set to True where the user gave its name to `start(backends=...)`."""

    def leads(self) -> bool:
        """Whether phases may speak of it, asked once, when it is ready. If not, it is sampled all the same."""


class Details(Protocol):
    """A backend that knows more than the counters."""

    def extra(self, device: int) -> dict[str, Any]:
        """Further figures, for the metadata of a sample; what is not known is left out.

        Called by the sampler, for each device at most once a second, so that it may take some milliseconds. Names
        carry their unit and are listed in docs/telemetry-event.md.
        """


class Glances(Protocol):
    """A backend that knows more at the price of a microsecond or two."""

    def glance(self, device: int) -> dict[str, Any]:
        """The same as `Details.extra`, of every sample."""


class Peaks(Protocol):
    """A backend whose allocator keeps a high-water mark that can be set back. Both are called at boundaries."""

    def peak(self, device: int) -> int:
        """The most that was allocated since the mark was set back, in bytes.

        Raises NotImplementedError where this version, device or system has no such mark.
        """

    def reset_peak(self, device: int) -> None:
        """Set the mark back to what is allocated now. Raises as `peak` does."""


class DeviceTimes(Protocol):
    """A backend that can time its device without waiting for it."""

    def time_mark(self, device: int) -> object | None:
        """A mark in the calling thread's current queue of work, made without waiting. Called at boundaries.

        None where none can be made just now, while a graph is being captured, say.
        """

    def time_between(self, begin: Any, end: Any) -> float | None:
        """Milliseconds from one mark to the other, None while the device has not come to both. Called by the sampler.

        Once it has answered, both marks belong to the backend again.
        """


class Snapshots(Protocol):
    """A backend whose framework can record its allocations and write the record to a file."""

    def snapshot_begin(self) -> None:
        """Record from now on. Called once, when a device is in use. Raises NotImplementedError where it can not."""

    def snapshot_label(self, text: str) -> None:
        """What the calling thread allocates from now on is called so in the record. Called at boundaries."""

    def snapshot_write(self, path: str) -> None:
        """Write the record to a file. Called when memory has run out, before the exception goes on."""

    def snapshot_end(self) -> None:
        """Record no more, if `snapshot_begin` is what began it."""


class DeviceSource(Protocol):
    """One driver's view of the devices. Constructing it costs nothing and never fails."""

    name: str

    def why_not(self) -> Unavailable | None:
        """Why it can not work on this machine, or None where it can."""

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """The device's figures, or None where this driver knows no such device. Called by the sampler."""


class DriverDetails(Protocol):
    """A driver that knows more of a device than what is in use on it."""

    def extra(self, identity: DeviceIdentity) -> dict[str, Any]:
        """The same as `Details.extra`, of a device that this process uses."""


class Present(NamedTuple):
    """A device that a driver shows."""

    name: str | None
    identity: DeviceIdentity


class Lists(Protocol):
    """A driver that can list its devices, so that they can be looked at without a framework."""

    def present(self) -> Sequence[Present]:
        """Every device that the driver shows here, in its own order."""

    def visible(self) -> Sequence[Present]:
        """Those of them that the environment leaves to this process, in the order in which it numbers them."""
