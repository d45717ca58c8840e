"""Why memory ran out, by the figures of the moment at which it did: on a device, or on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import path_text, share_text, size_text

from .cause import (
    FRAGMENTATION,
    HOST_FULL,
    LIMIT,
    OTHERS,
    OUTSIDE_ALLOCATOR,
    TOO_LARGE,
    UNKNOWN,
    Cause,
    known,
)
from .exhausted_limits import MAPPINGS, no_mapping_text
from .host_limits import (
    FULL_SHARE,
    LIMITS,
    are_mappings_used_up,
    exceeds_all,
    has_room,
    mappings,
    own_limit,
)

if TYPE_CHECKING:
    from phasescope.analysis.breakdown import Breakdown

    from .evidence import Shortage

_HELD_SHARE = 0.25  # others are the cause where they hold this much of the device, and this process could use it


def on_device(shortage: Shortage) -> Cause:
    row, asked, label = shortage.device, shortage.requested_bytes, shortage.label
    slack = _difference(row.reserved_bytes, row.allocated_bytes)
    others = part(shortage.breakdown, "other_processes")
    in_phase = f" in {path_text(shortage.path)}" if shortage.path else ""
    wanted = "what was asked for" if asked is None else f"the {size_text(asked)} that were asked for{in_phase}"
    figures = known(
        requested_bytes=asked,
        allocated_bytes=row.allocated_bytes,
        reserved_bytes=row.reserved_bytes,
        slack_bytes=slack,
        inactive_bytes=shortage.inactive_bytes,
        other_processes_bytes=others,
        total_bytes=row.total_bytes,
    )
    if others is not None and row.total_bytes and others >= max(_HELD_SHARE * row.total_bytes, asked or 0):
        share = share_text(others / row.total_bytes)
        text = f"Other processes hold {size_text(others)} of {label}, {share} of it: too little is left for {wanted}."
        return Cause(OTHERS, text, figures=figures)
    if slack is not None and asked is not None and slack >= asked:
        text = (
            f"The memory of {label} is in pieces: {size_text(slack)} are reserved and unused, more than {wanted}, "
            "but not in one block."
        )
        return Cause(FRAGMENTATION, text, figures=figures)
    if row.allocated_bytes is None or row.total_bytes is None:
        return Cause(UNKNOWN, f"Memory ran out on {label}{in_phase}; its figures are not known.", figures=figures)
    live = f"{size_text(row.allocated_bytes)} of {size_text(row.total_bytes)}"
    if row.allocated_bytes + (asked or 0) < FULL_SHARE * row.total_bytes:
        text = f"Memory ran out on {label}{in_phase}: {live} are live here, and who holds the rest is not known."
        return _outside_allocator(shortage, live, wanted, figures) or Cause(UNKNOWN, text, figures=figures)
    text = f"One step needs more than {label} has: {live} are live, which leaves no room for {wanted}."
    return Cause(TOO_LARGE, text, figures=figures)


def _outside_allocator(shortage: Shortage, live: str, wanted: str, figures: dict[str, int | float]) -> Cause | None:
    """Where this process holds the rest, beside its allocator; None where that would not fill the device."""
    row, outside = shortage.device, part(shortage.breakdown, "process_outside")
    held = None if row.reserved_bytes is None or outside is None else row.reserved_bytes + outside
    if held is None or row.total_bytes is None or outside is None:
        return None
    if outside < _HELD_SHARE * row.total_bytes or held + (shortage.requested_bytes or 0) < FULL_SHARE * row.total_bytes:
        return None
    text = (
        f"This process holds {size_text(outside)} of {shortage.label} outside of its allocator, beside {live} that are "
        f"live: too little is left for {wanted}."
    )
    return Cause(OUTSIDE_ALLOCATOR, text, figures={**figures, "outside_bytes": outside})


def on_host(shortage: Shortage) -> Cause:
    """On the host: a limit of the process's own, or the machine's memory."""
    row, asked = shortage.device, shortage.requested_bytes
    in_phase = f", in {path_text(shortage.path)}" if shortage.path else ""
    wanted = "more" if asked is None else f"{size_text(asked)} more"
    figures = known(
        requested_bytes=asked,
        resident_bytes=row.allocated_bytes,
        used_bytes=row.used_bytes,
        total_bytes=row.total_bytes,
    )
    if are_mappings_used_up(shortage):
        mapped, most = mappings(shortage)
        figures = known(mappings=mapped, mappings_limit=most)
        return Cause(MAPPINGS, no_mapping_text(mapped, most), figures=figures)
    if exceeds_all(shortage):
        text = (
            f"One request is for more than the whole host has: {size_text(asked)} were asked for{in_phase}, of "
            f"{size_text(row.total_bytes)}."
        )
        return Cause(TOO_LARGE, text, figures=figures)
    name, limit = own_limit(shortage)
    if limit is not None:
        text = (
            f"The process ran into its own limit of {size_text(limit)} ({LIMITS[name]}): {wanted} were asked for"
            f"{in_phase}, with {size_text(row.allocated_bytes)} resident."
        )
        return Cause(LIMIT, text, figures={**figures, name: limit})
    used = f"{size_text(row.used_bytes)} of {size_text(row.total_bytes)} were in use"
    if has_room(shortage):
        text = f"Memory ran out on the host{in_phase}, which was not full: {used}, and {wanted} could not be had."
        return Cause(UNKNOWN, text, figures=figures)
    text = f"The host had no room for {wanted}{in_phase}: {used}, {size_text(row.allocated_bytes)} by this process."
    return Cause(HOST_FULL, text, figures=figures)


def part(breakdown: Breakdown | None, name: str) -> int | None:
    """One part of a breakdown in bytes; None where that is not told."""
    return next((found.size_bytes for found in breakdown.parts if found.name == name), None) if breakdown else None


def _difference(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(0, a - b)
