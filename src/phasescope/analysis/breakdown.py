"""Who holds a device's memory: the figures of one event, put together so that the parts make the whole.

It answers why `nvidia-smi` shows more than the allocator: beside the live tensors there are the allocator's slack,
this process's context and libraries, other processes and the driver itself. What the sources could not tell apart is
one part, named for what may be in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .spans import size_or_none, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = -1

LABELS = {
    "live": "live tensors",
    "slack": "allocator slack",
    "process": "this process",
    "process_outside": "this process outside its allocator",
    "children": "its children",
    "other_processes": "other processes",
    "driver": "the driver",
    "unattributed": "not told apart",
    "free": "free",
}
"""The parts in the order in which they are listed, and how they are called for a person."""


@dataclass(frozen=True)
class Part:
    """So much of a device, in bytes. `may_hold` says what can be in a part that is not told apart, else it is empty.

    live: what live objects hold. slack: what the allocator reserved beyond that. process: all of this process, where
    its allocator can not be told from the rest. process_outside: this process beyond what its allocator is known to
    hold: context, libraries, communication buffers. driver: what the driver keeps for itself.
    """

    name: str
    size_bytes: int
    may_hold: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name for a person."""
        return " or ".join(self.may_hold) if self.may_hold else LABELS[self.name]


@dataclass(frozen=True)
class Breakdown:
    """One device. Where its total is known, the parts add up to it exactly.

    `fragmented_bytes` is how much of the slack lies split between live blocks; None where that is not known.
    """

    total_bytes: int | None
    fragmented_bytes: int | None
    parts: tuple[Part, ...]


def breakdown(event: Mapping[str, Any]) -> Breakdown | None:
    """The parts of the device that an event speaks of; None where it says too little of it, or contradicts itself.

    What is read one after the other may not fit together to the byte. Then the coarser figure holds: a device has at
    least as much in use as the allocator reserved, and of finer parts those that do not fit in are not told apart.
    """
    figures = _Figures(event)
    if figures.held is None and figures.used is None:
        return None
    if figures.total is not None and (figures.held or 0) > figures.total:
        return None  # memory that moves between device and host: more can be allocated than there is
    parts = _host_parts(figures) if figures.is_host else _device_parts(figures)
    return Breakdown(figures.total, figures.fragmented, tuple(parts))


class _Figures:
    """What an event knows, each in bytes, None where it does not. `held` is what its allocator is known to hold."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        unknown = unavailable(event)
        metadata = event.get("metadata")
        self._measured: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}

        def known(key: str) -> int | None:
            return None if key in unknown else size_or_none(event.get(key))

        self.is_host = self._measured.get("backend") == "cpu" and event.get("device_id") == _HOST
        self.allocated, self.reserved = known("allocator_allocated_bytes"), known("allocator_reserved_bytes")
        self.used, self.free, self.total = (known(f"device_{name}_bytes") for name in ("used", "free", "total"))
        if self.allocated is not None and self.reserved is not None:
            self.reserved = max(self.allocated, self.reserved)
        self.held = self.allocated if self.reserved is None else self.reserved
        self.fragmented = self._fragmented(known("allocator_inactive_bytes"))
        if self.used is None and self.total is not None and self.free is not None:
            self.used = max(0, self.total - self.free)
        if self.used is not None:
            self.used = max(self.used, self.held or 0)
            if self.total is not None:
                self.used = min(self.used, self.total)

    def measured(self, key: str) -> int | None:
        """One of the metadata's figures."""
        return size_or_none(self._measured.get(key))

    def _fragmented(self, inactive: int | None) -> int | None:
        if inactive is None or self.allocated is None or self.reserved is None:
            return None
        return min(inactive, self.reserved - self.allocated)


def _device_parts(figures: _Figures) -> list[Part]:
    parts = []
    if figures.allocated is not None:
        parts.append(Part("live", figures.allocated))
        if figures.reserved is not None:
            parts.append(Part("slack", figures.reserved - figures.allocated))
    elif figures.reserved is not None:
        parts.append(Part("process", figures.reserved, ("live tensors", "allocator slack")))
    rest = None if figures.used is None else figures.used - (figures.held or 0)
    told: list[Part] = []
    driver = figures.measured("device_reserved_bytes")
    if rest is not None and driver is not None and driver <= rest:
        told.append(Part("driver", driver))
        rest -= driver
    if rest is not None:
        processes = _process_parts(figures, rest)
        rest -= sum(part.size_bytes for part in processes)
        told = [*processes, *told]
    return [*parts, *told, *_remainder(figures, rest, _untold(figures, told))]


def _process_parts(figures: _Figures, rest: int) -> list[Part]:
    """This process outside its allocator, and the others, where the driver told them apart and both fit in."""
    used, others = figures.measured("process_used_bytes"), figures.measured("other_processes_bytes")
    if used is None:
        return []
    outside = used - (figures.held or 0)
    if not 0 <= outside <= rest:
        return []
    own = Part("process" if figures.held is None else "process_outside", outside)
    if others is None or outside + others > rest:
        return [own]
    return [own, Part("other_processes", others)]


def _untold(figures: _Figures, told: list[Part]) -> tuple[str, ...]:
    """What may be in what is left of the memory in use."""
    names = {part.name for part in told}
    may_hold = []
    if not names & {"process", "process_outside"}:
        if figures.held is None:
            may_hold.append("this process")
        elif figures.reserved is None:
            may_hold += ["allocator slack", "this process's context"]
        else:
            may_hold.append("this process's context")
    may_hold.append("processes not listed" if "other_processes" in names else "other processes")
    return tuple(may_hold) if "driver" in names else (*may_hold, "the driver")


def _host_parts(figures: _Figures) -> list[Part]:
    """The resident set, what the children add to it, and the rest in use. Only proportional sets can be added up."""
    resident = figures.held or 0
    parts = [] if figures.held is None else [Part("process", resident)]
    rest = None if figures.used is None else figures.used - resident
    children = _children_bytes(figures, resident)
    untold = ("other processes", "its children")
    if children is not None and rest is not None and children <= rest:
        if children:
            parts.append(Part("children", children))
        rest -= children
        untold = ("other processes", "the system")
    return [*parts, *_remainder(figures, rest, untold)]


def _children_bytes(figures: _Figures, resident: int) -> int | None:
    """What the children hold beyond what they share with this process."""
    if figures.measured("children") == 0:
        return 0
    own, theirs = figures.measured("proportional_bytes"), figures.measured("children_proportional_bytes")
    return None if own is None or theirs is None else max(0, own + theirs - resident)


def _remainder(figures: _Figures, rest: int | None, untold: tuple[str, ...]) -> list[Part]:
    """What is in use and belongs to no part yet, and what is free. `rest` is None where used is not known."""
    if figures.total is None:
        return [] if rest is None else [Part("unattributed", rest, untold)]
    if rest is None:
        return [Part("unattributed", figures.total - (figures.held or 0), (*untold, "free"))]
    assert figures.used is not None
    room = figures.total - figures.used
    free = room if figures.free is None else min(figures.free, room)
    if free < room:  # a container's limit, of which the machine has not so much left
        untold = (*untold, "out of reach")
    return [Part("unattributed", rest + room - free, untold), Part("free", free)]
