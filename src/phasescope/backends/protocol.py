"""The contract of a source of counters. The only module of phasescope that a backend imports.

Two kinds of source are joined in one event. A `Backend` is an allocator as one framework numbers its devices: the
memory of live objects, and the memory reserved for them. A `DeviceSource` is a device as its driver sees it: the use by
all processes together. They are matched by `DeviceIdentity`, never by index, because `CUDA_VISIBLE_DEVICES` renumbers.

Every method here may raise: the caller takes that as "no answer", marks the source degraded, and asks again later. No
method may initialise a device or a framework, synchronise one, or allocate on one.

A backend must have the members of `Backend`. The small protocols after it are optional, and recognised by the names of
their methods: a method that is missing is not called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST_DEVICE = -1
"""The device id of the host's own memory."""

PlainCounters = tuple[int, int, "int | None", "int | None"]
"""(allocated, reserved, active, inactive) in bytes. A plain tuple, because it is made at every phase boundary."""

AllocatorCounters = PlainCounters | tuple[int, int, "int | None", "int | None", dict[str, int]]
"""The same, with a fifth member if counts have changed since the last reading: how often something has happened
since the process began, by their names in docs/telemetry-event.md. They go into the event's metadata, and must come
with the same reading, at no further cost."""


class DeviceCounters(NamedTuple):
    """The figures of a whole device in bytes; None means: not known."""

    used_bytes: int | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None


class DeviceIdentity(NamedTuple):
    """The names of one physical device that all libraries share.

    `uuid` as NVML writes it ("GPU-…" or "MIG-…"), `pci_bus_id` as "dddddddd:bb:dd.f" in lower case; None: not known.
    """

    uuid: str | None = None
    pci_bus_id: str | None = None


class Unavailable(NamedTuple):
    """Why a source cannot work here, and a remedy. Both are one line for a person."""

    reason: str
    remedy: str


class Backend(Protocol):
    """One allocator. Its constructor costs nothing, imports no framework and never fails.

    A `device` is an index as the framework numbers its devices, or HOST_DEVICE.
    """

    name: str
    """The name on the wire: `cpu`, `cuda`, `rocm`, `mps`, `tensorflow`, else the library's."""

    @property
    def unavailable(self) -> tuple[str, ...]:
        """The allocator counters that it cannot measure, by their key in the event. Read again once it is ready."""

    def why_not(self) -> Unavailable | None:
        """Return why it can never work in this process, or None if it can. It may import its framework, and be slow."""

    def ready(self) -> bool:
        """Return whether this process uses it by now. Called at boundaries until it does, so keep it below 1 µs, or
        say what it waits for (`Awaits`)."""

    def devices(self) -> Sequence[int]:
        """Return the devices that this process already uses, as the framework numbers them."""

    def current_device(self) -> int:
        """Return the calling thread's current device. Called at every phase entry."""

    def allocator(self, device: int) -> AllocatorCounters:
        """Return the allocator's counters. Called at every phase boundary."""

    def device(self, device: int) -> DeviceCounters:
        """Return the figures of the whole device that the framework itself knows. Called by the sampler."""

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return the names by which a `DeviceSource` finds the same device. Called by the sampler."""


Variable = tuple[dict[str, Any], str]
"""A variable: the namespace that holds it, such as a module's `__dict__`, and its name."""


class Awaits(Protocol):
    """A backend that knows what happens before it becomes ready."""

    def awaited(self) -> Sequence[Variable] | None:
        """Return the variables of which at least one gets another value before `ready` can become True; none if a
        module has to be imported first; None if that is not known now.

        Called before `ready`. Until one of them or the number of imported modules changes, boundaries do not call
        `ready`; the sampler does.
        """


class GivesUp(Protocol):
    """A backend that may find out that it will never be ready, e.g. in a build of its framework for other devices."""

    never: bool
    """True once that is certain. It is not called again in this session."""


class Steps(Protocol):
    """A backend that phases do not always measure, e.g. of a framework that runs on the host's processors."""

    asked_for: bool
    """Set to True if the user gave its name to `start(backends=...)`."""

    def leads(self) -> bool:
        """Return whether phases may measure it. Called once, when it is ready. If not, it is sampled all the same."""


class Sampled(Protocol):
    """A backend that other threads than the training's own may not always ask."""

    def sampled(self) -> dict[int, AllocatorCounters] | None:
        """Return what the sampler takes instead, by device; None where it may ask `allocator`. Called before each
        sample."""


class Details(Protocol):
    """A backend that knows further figures."""

    def extra(self, device: int) -> dict[str, Any]:
        """Return further figures of a device for the metadata of a sample, without those that are not known.

        Called by the sampler, for each device at most once a second, so it may take a few milliseconds. Names carry
        their unit and are listed in docs/telemetry-event.md.
        """


class Glances(Protocol):
    """A backend that knows further figures at the price of a microsecond or two."""

    def glance(self, device: int) -> dict[str, Any]:
        """Return figures of a device as `Details.extra` does, but for every sample."""


class Peaks(Protocol):
    """A backend whose allocator keeps a high-water mark a device that can be reset. Both are called at boundaries."""

    def peak(self, device: int) -> int:
        """Return the largest allocation since the mark was reset, in bytes.

        Raises NotImplementedError if this version, device or system has no such mark.
        """

    def reset_peak(self, device: int) -> None:
        """Reset the mark to the bytes that are allocated now. Raises as `peak` does."""


class DeviceTimes(Protocol):
    """A backend that can time its device without waiting for it."""

    def time_mark(self, device: int) -> object | None:
        """Put a mark into the calling thread's queue of work on the device, without waiting. Called at boundaries.

        Return None if that is not possible just now, e.g. while a graph is being captured.
        """

    def time_between(self, begin: Any, end: Any) -> float | None:
        """Return the milliseconds between two marks, None while the device has not reached both. Called by the sampler.

        Once it has answered, both marks belong to the backend again.
        """


class Snapshots(Protocol):
    """A backend whose framework can record its allocations and write the record to a file."""

    def snapshot_begin(self) -> None:
        """Begin to record. Called once, when a device is in use. Raises NotImplementedError if it cannot record."""

    def snapshot_label(self, text: str) -> None:
        """Label the calling thread's allocations in the record from now on. Called at boundaries."""

    def snapshot_write(self, path: str) -> None:
        """Write the record to a file. Called when memory has run out, before the exception goes on."""

    def snapshot_end(self) -> None:
        """Stop recording if `snapshot_begin` started it."""


class Failures(Protocol):
    """A backend whose framework reports a failing allocation at the moment that it fails."""

    def watch_failures(self) -> None:
        """Let the framework report failures from now on. Called once, when a device is in use."""

    def failure(self, device: int, requested_bytes: int) -> dict[str, Any]:
        """Return the figures at the last failure to allocate `requested_bytes` on the device; nothing if none was seen.

        Sizes are named as in `told` of an `error` event (docs/telemetry-event.md); `snapshot` is a path, if one was
        written then.
        """


class DeviceSource(Protocol):
    """One driver's view of the devices. Its constructor costs nothing and never fails."""

    name: str

    def why_not(self) -> Unavailable | None:
        """Return why it cannot work on this machine, or None if it can."""

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """Return the device's figures, or None if this driver does not know the device. Called by the sampler."""


class DriverDetails(Protocol):
    """A driver that knows further figures of a device."""

    def extra(self, identity: DeviceIdentity) -> dict[str, Any]:
        """Return figures as `Details.extra` does, of a device that this process uses."""


class DriverActivity(Protocol):
    """A driver that knows how a device is at work."""

    def activity(self, identity: DeviceIdentity) -> dict[str, int]:
        """Return `utilization_percent`, `temperature_celsius` and `power_milliwatts`, without those that are not known.

        Called by the sampler alone, for each device at most once a second.
        """


class Present(NamedTuple):
    """A device that a driver lists."""

    name: str | None
    identity: DeviceIdentity


class Lists(Protocol):
    """A driver that can list its devices, so that they can be measured without a framework."""

    def present(self) -> Sequence[Present]:
        """Return every device of the driver, in its own order."""

    def visible(self) -> Sequence[Present]:
        """Return the devices that the environment makes visible to this process, in the order of their indices here."""
