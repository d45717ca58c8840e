"""The holders of a device's memory: the figures of one event, put together so that the parts make the whole.

It answers why `nvidia-smi` shows more than the allocator: beside the live tensors there are the allocator's slack, this
process's context and libraries, other processes and the driver itself. Parts that the sources could not separate are
one part, named for what may be in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .event_fields import counter_of, is_host, size_or_none, unavailable
from .formatting import elide, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LONGEST_LABEL = 40
_SHARED = 1.1  # times a container's limit: a resident set has pages of libraries that another group is charged for

LABELS = {
    "live": "live tensors",
    "slack": "allocator slack",
    "process": "this process",
    "process_outside": "this process outside its allocator",
    "children": "its children",
    "other_processes": "other processes",
    "driver": "driver",
    "unattributed": "unattributed",
    "free": "free",
}
"""The parts in the order in which they are listed, and how they are called for a person."""


@dataclass(frozen=True)
class Part:
    """One part of a device's memory. If `name` is `unattributed`, `may_hold` lists the possible holders.

    The names: `live`, held by live objects; `slack`, reserved by the allocator beyond that; `process`, all of this
    process, if its allocator cannot be separated from the rest; `process_outside`, this process outside its allocator
    (context, libraries, communication buffers); `children`; `other_processes`; `driver`, kept by the driver itself;
    `unattributed`; `free`.
    """

    name: str
    size_bytes: int
    may_hold: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name as it is shown."""
        if self.name == "unattributed" and self.may_hold:
            return f"{LABELS[self.name]} ({', '.join(self.may_hold)})"
        return " or ".join(self.may_hold) if self.may_hold else LABELS[self.name]


@dataclass(frozen=True)
class Breakdown:
    """A device's memory, divided by holder. If the total is known, the parts add up to it exactly.

    `fragmented_bytes` of the slack lie split between live blocks; None means: not known. `is_hosts_memory`: the device
    has no memory of its own, it and the host use one pool.
    """

    total_bytes: int | None
    fragmented_bytes: int | None
    parts: tuple[Part, ...]
    is_hosts_memory: bool = False


def breakdown(event: Mapping[str, Any]) -> Breakdown | None:
    """Return the parts of the device that an event describes; None if the event says too little or contradicts itself.

    Figures read one after another may not add up to the byte. Then the coarser figure holds: a device has at
    least as much in use as the allocator reserved, and finer parts that do not fit in are not separated.
    """
    figures = _EventFigures(event)
    if figures.held is None and figures.used is None:
        return None
    if figures.total is not None and (figures.held or 0) > figures.total:
        return None  # memory that moves between device and host: more can be allocated than there is
    parts = _host_parts(figures) if figures.is_host else _device_parts(figures)
    return Breakdown(figures.total, figures.fragmented, tuple(parts))


def completed(latest: Breakdown | None, sampled: Breakdown | None) -> Breakdown | None:
    """Return the breakdown with the children's part, which only samples have, as of the last sample."""
    children = _told_children(sampled)
    if latest is None or children is None or _told_children(latest) is not None:
        return latest
    parts = []
    for part in latest.parts:
        if part.name == "unattributed" and children <= part.size_bytes:
            parts += [Part("children", children)] if children else []
            may_hold = tuple("system" if held == LABELS["children"] else held for held in part.may_hold)
            part = Part(part.name, part.size_bytes - children, may_hold)
        parts.append(part)
    return replace(latest, parts=tuple(parts))


def _told_children(parts_known: Breakdown | None) -> int | None:
    """Return the children's part in bytes, 0 if it is empty.

    None if it is not a host's breakdown, or if a part that is not attributed may hold them.
    """
    if parts_known is None or any(LABELS["children"] in part.may_hold for part in parts_known.parts):
        return None
    if not any("system" in part.may_hold for part in parts_known.parts):
        return None
    return next((part.size_bytes for part in parts_known.parts if part.name == "children"), 0)


def held_by(label: str, held: Breakdown | None) -> str:
    """Return `cuda:0 of 80.0 GiB: live tensors 12.0 GiB, ...` on one line, without empty parts.

    Returns an empty text if nothing is known.
    """
    parts = [] if held is None else list(_part_texts(held))
    if held is None or not parts:
        return ""
    total = "" if held.total_bytes is None else f" of {size_text(held.total_bytes)}"
    pool = ", one pool with the host" if held.is_hosts_memory else ""
    return f"{elide(printable(label), _LONGEST_LABEL)}{total}{pool}: {', '.join(parts)}"


def _part_texts(whole: Breakdown) -> Iterator[str]:
    for part in whole.parts:
        if part.size_bytes:
            pieces = f" ({size_text(whole.fragmented_bytes)} of it fragmented)" if whole.fragmented_bytes else ""
            yield f"{part.label} {size_text(part.size_bytes)}{pieces if part.name == 'slack' else ''}"


class _EventFigures:
    """The figures of an event, each in bytes, None if unknown. `held` is what its allocator is known to hold."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        unknown = unavailable(event)
        metadata = event.get("metadata")
        self._measured: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}

        def known(key: str) -> int | None:
            return counter_of(event, unknown, key)

        self.is_host = is_host(self._measured.get("backend"), event.get("device_id"))
        self.allocated, self.reserved = known("allocator_allocated_bytes"), known("allocator_reserved_bytes")
        self.used, self.free, self.total = (known(f"device_{name}_bytes") for name in ("used", "free", "total"))
        if self.allocated is not None and self.reserved is not None:
            self.reserved = max(self.allocated, self.reserved)
        self.held = self.allocated if self.reserved is None else self.reserved
        if self.is_host and self.total is not None and self.held is not None and self.held <= _SHARED * self.total:
            self.held = min(self.held, self.total)
        self.fragmented = self._fragmented(known("allocator_inactive_bytes"))
        if self.used is None and self.total is not None and self.free is not None:
            self.used = max(0, self.total - self.free)
        if self.used is not None:
            self.used = max(self.used, self.held or 0)
            if self.total is not None:
                self.used = min(self.used, self.total)

    def measured(self, key: str) -> int | None:
        """Return one of the metadata's figures."""
        return size_or_none(self._measured.get(key))

    def _fragmented(self, inactive: int | None) -> int | None:
        if inactive is None or self.allocated is None or self.reserved is None:
            return None
        return min(inactive, self.reserved - self.allocated)


def _device_parts(figures: _EventFigures) -> list[Part]:
    parts = []
    if figures.allocated is not None:
        parts.append(Part("live", figures.allocated))
        if figures.reserved is not None:
            parts.append(Part("slack", figures.reserved - figures.allocated))
    elif figures.reserved is not None:
        parts.append(Part("process", figures.reserved, ("live tensors", "allocator slack")))
    rest = None if figures.used is None else figures.used - (figures.held or 0)
    separated: list[Part] = []
    driver = figures.measured("device_reserved_bytes")
    if rest is not None and driver is not None and driver <= rest:
        separated.append(Part("driver", driver))
        rest -= driver
    if rest is not None:
        processes = _process_parts(figures, rest)
        rest -= sum(part.size_bytes for part in processes)
        separated = [*processes, *separated]
    return [*parts, *separated, *_remainder(figures, rest, _untold(figures, separated))]


def _process_parts(figures: _EventFigures, rest: int) -> list[Part]:
    """Return this process outside its allocator, and the others, if the driver separated them and both fit in."""
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


def _untold(figures: _EventFigures, separated: list[Part]) -> tuple[str, ...]:
    """Return the possible holders of the rest of the memory in use."""
    names = {part.name for part in separated}
    may_hold = []
    if not names & {"process", "process_outside"}:
        if figures.held is None:
            may_hold.append("this process")
        elif figures.reserved is None:
            may_hold += ["allocator slack", "context"]
        else:
            may_hold.append("context")
    may_hold.append("processes not listed" if "other_processes" in names else "other processes")
    return tuple(may_hold) if "driver" in names else (*may_hold, LABELS["driver"])


def _host_parts(figures: _EventFigures) -> list[Part]:
    """Return the resident set, the children's addition to it, and the rest in use.

    Only proportional sets can be added up.
    """
    resident = figures.held or 0
    parts = [] if figures.held is None else [Part("process", resident)]
    rest = None if figures.used is None else figures.used - resident
    children = _children_bytes(figures, resident)
    untold = ("other processes", "its children")
    if children is not None and rest is not None and children <= rest:
        if children:
            parts.append(Part("children", children))
        rest -= children
        untold = ("other processes", "system")
    return [*parts, *_remainder(figures, rest, untold)]


def _children_bytes(figures: _EventFigures, resident: int) -> int | None:
    """Return what the children hold beyond what they share with this process."""
    if figures.measured("children") == 0:
        return 0
    own, theirs = figures.measured("proportional_bytes"), figures.measured("children_proportional_bytes")
    return None if own is None or theirs is None else max(0, own + theirs - resident)


def _remainder(figures: _EventFigures, rest: int | None, untold: tuple[str, ...]) -> list[Part]:
    """Return the memory in use that belongs to no part yet, and the free memory.

    `rest` is None if used is not known.
    """
    if figures.total is None:
        return [] if rest is None else [Part("unattributed", rest, untold)]
    if rest is None:
        return [Part("unattributed", figures.total - (figures.held or 0), (*untold, "free"))]
    assert figures.used is not None
    room = figures.total - figures.used
    free = room if figures.free is None else min(figures.free, room)
    if free < room:  # a container's limit, and the machine has less left
        untold = (*untold, "out of reach")
    return [Part("unattributed", rest + room - free, untold), Part("free", free)]
