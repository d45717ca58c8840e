"""The memory that a session needed on a device: categories, batches, peaks of its steps, and what others hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.categories import categories
from phasescope.analysis.devices import Devices
from phasescope.analysis.event_fields import device_of, is_host, scope_of, size_or_none, unavailable
from phasescope.analysis.steps import is_evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.categories import Categories
    from phasescope.analysis.devices import DeviceRow

Device = tuple[str, int]

_MAX_LOOKS = 4096
_MAX_DEVICES = 256
_WITH_A_BATCH = ("forward", "backward")


@dataclass(frozen=True)
class Usage:
    """One session on one device. None means: not known.

    `looks` are those at the end of a step, oldest first. `peak_bytes` is the most of a forward or backward pass,
    `optimizer_peak_bytes` that of an optimizer's step; they are exact if every phase measured its own peak, else the
    most at their begins and ends. `failure` is the look after memory ran out. `room` says how the device stands, and
    `limit_bytes` what the process has allowed itself.
    """

    device: Device
    looks: tuple[Categories, ...]
    failure: Categories | None
    peak_bytes: int | None
    optimizer_peak_bytes: int | None
    peak_is_exact: bool
    room: DeviceRow
    limit_bytes: int | None

    @property
    def label(self) -> str:
        """`cuda:0`, or `host`."""
        return self.room.label

    @property
    def is_of_host(self) -> bool:
        """Whether it is the host: its figure is the resident set, and not that of an allocator."""
        return is_host(*self.device)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The different sizes of batches that were noted, ascending."""
        return tuple(sorted({look.batch_size for look in self.looks if look.batch_size}))

    @property
    def look(self) -> Categories | None:
        """The last look at a step of the largest batch; if no size is known, the last one."""
        largest = max(self.batch_sizes, default=None)
        return next((look for look in reversed(self.looks) if look.batch_size == largest), None)


class _Of:
    """One device, as its events describe it."""

    def __init__(self) -> None:
        self.looks: dict[int, Categories] = {}
        self.failure: Categories | None = None
        self.peaks: dict[bool, int] = {}  # whether it is an optimizer's step
        self.any_peak: int | None = None
        self.is_exact = True
        self.ends = 0
        self.limit_bytes: int | None = None


class UsageFold:
    """Takes the events of one session; `usages` are its devices whose memory is known by category."""

    def __init__(self) -> None:
        self._devices = Devices()
        self._of: dict[Device, _Of] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        self._devices.see(event)
        key = device_of(event)
        if key is None or (key not in self._of and len(self._of) >= _MAX_DEVICES):
            return
        of = self._of.setdefault(key, _Of())
        of.limit_bytes = size_or_none(event["metadata"].get("allocator_limit_bytes")) or of.limit_bytes
        look = categories(event)
        if look is not None:
            self._note_look(of, look)
        if "allocator_allocated_bytes" not in unavailable(event):
            self._note_peak(of, event)

    @staticmethod
    def _note_look(of: _Of, look: Categories) -> None:
        if look.moment == "failure":
            of.failure = look
        elif look.moment == "step":
            of.looks[look.looks or 0] = look  # samples repeat the last one
            if len(of.looks) > _MAX_LOOKS:
                del of.looks[next(iter(of.looks))]

    @staticmethod
    def _note_peak(of: _Of, event: Mapping[str, Any]) -> None:
        scope = scope_of(event)
        if scope is None or scope.action is None or is_evaluation(scope.path):
            return
        is_end = scope.action == "exit"
        if is_end and scope.fields.get("status") != "ok":
            return  # what it did not get is not in its figure
        measured = size_or_none(scope.fields.get("peak_allocated_bytes")) if is_end else None
        size = max(measured or 0, size_or_none(event.get("allocator_allocated_bytes")) or 0)
        kind = _kind_of(scope.path)
        of.any_peak = max(size, of.any_peak or 0)
        if kind is not None:
            of.peaks[kind] = max(size, of.peaks.get(kind, 0))
        if is_end:
            of.ends += 1
            of.is_exact = of.is_exact and measured is not None

    def usages(self) -> list[Usage]:
        """Return the devices of which any category is known, the one with the most first; the host last."""
        rows = {(row.backend, row.device_id): row for row in self._devices.rows()}
        usages = [
            Usage(
                key,
                tuple(of.looks.values()),
                of.failure,
                of.peaks.get(False, None if of.peaks else of.any_peak),
                of.peaks.get(True),
                of.is_exact and of.ends > 0,
                rows[key],
                of.limit_bytes,
            )
            for key, of in self._of.items()
            if key in rows and (rows[key].categories is not None or of.looks or of.failure)
        ]
        return sorted(usages, key=lambda usage: (usage.is_of_host, -_held(usage)))


def with_batch_size(usage: Usage, batch_size: int) -> Usage:
    """Return a usage as if each of its looks had been at a step of this size."""
    looks = tuple(replace(look, batch_size=batch_size, batch_elements=None) for look in usage.looks)
    return replace(usage, looks=looks)


def _kind_of(path: tuple[str, ...]) -> bool | None:
    """Return whether a phase is, or lies in, an optimizer's step; None if it is not part of a known training."""
    for name in reversed(path):
        if name == "optimizer":
            return True
        if name.partition(" ")[0] in _WITH_A_BATCH:
            return False
    return None


def _held(usage: Usage) -> int:
    look = usage.look or usage.failure
    return sum(part.size_bytes for part in look.parts) if look is not None else 0
