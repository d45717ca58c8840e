"""Why memory ran out on the host, by the figures of the moment at which it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import path_text, size_text

from .cause import (
    HOST_FULL,
    LIMIT,
    TOO_LARGE,
    UNKNOWN,
    Cause,
    known,
    sentence,
)
from .exhausted_limits import MAPPINGS, no_mapping_text
from .host_limits import (
    LIMITS,
    are_mappings_used_up,
    exceeds_all,
    has_room,
    mappings,
    own_limit,
)

if TYPE_CHECKING:
    from .evidence import LastShortage


def on_host(shortage: LastShortage) -> Cause:
    """Return the cause of a shortage on the host: a limit of the process's own, or the machine's memory."""
    row, asked = shortage.device, shortage.requested_bytes
    in_phase = f", in {path_text(shortage.path)}" if shortage.path else ""
    wanted = "more" if asked is None else f"{size_text(asked)} more"
    were_asked_for = "more memory was asked for" if asked is None else f"{wanted} were asked for"
    figures = known(
        requested_bytes=asked,
        resident_bytes=row.allocated_bytes,
        used_bytes=row.used_bytes,
        total_bytes=row.total_bytes,
    )
    if are_mappings_used_up(shortage):
        mapped, most = mappings(shortage)
        figures = known(mappings=mapped, mappings_limit=most)
        return Cause(MAPPINGS, no_mapping_text(mapped, most), figures=figures, brief="its memory mappings were used up")
    if exceeds_all(shortage):
        brief = "one request is for more than the whole host has"
        text = f"{sentence(brief)}: {size_text(asked)} were asked for{in_phase}, of {size_text(row.total_bytes)}."
        return Cause(TOO_LARGE, text, figures=figures, brief=brief)
    name, limit = own_limit(shortage)
    if limit is not None:
        brief = f"the process ran into its own limit of {size_text(limit)}"
        text = (
            f"{sentence(brief)} ({LIMITS[name]}): {were_asked_for}{in_phase}, with "
            f"{size_text(row.allocated_bytes)} resident."
        )
        return Cause(LIMIT, text, figures={**figures, name: limit}, brief=brief)
    used = f"{size_text(row.used_bytes)} of {size_text(row.total_bytes)} were in use"
    if has_room(shortage) and shortage.raised_at is not None:
        brief = f"the host was not full, and {shortage.raised_at} raised the error itself"
        return Cause(UNKNOWN, f"{sentence(brief)}{in_phase}: {used}.", figures=figures, brief=brief)
    if has_room(shortage):
        text = f"Memory ran out on the host{in_phase}, which was not full: {used}, and {wanted} could not be had."
        return Cause(UNKNOWN, text, figures=figures, brief="the host was not full, and why is not known")
    brief = f"the host had no room for {wanted}"
    text = f"{sentence(brief)}{in_phase}: {used}, {size_text(row.allocated_bytes)} by this process."
    return Cause(HOST_FULL, text, figures=figures, brief=brief)
