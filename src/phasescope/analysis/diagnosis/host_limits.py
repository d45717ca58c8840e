"""The bounds of a process on the host: the machine's memory, and limits of its own, as they stood when it ran out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.event_fields import size_or_none

if TYPE_CHECKING:
    from .evidence import LastShortage

FULL_SHARE = 0.9  # a step is too large if live and requested memory come to this share: a context is beside
_MAPPED_SHARE = 0.98  # of the mappings that a process may have: some are given back on the way out

LIMITS = {"address_space_limit_bytes": "RLIMIT_AS, `ulimit -v`", "data_limit_bytes": "RLIMIT_DATA, `ulimit -d`"}
"""The settings that say how much a process may have, each with what sets it."""


def own_limit(shortage: LastShortage | None) -> tuple[str, int | None]:
    """Return which limit of the process's own was in force when the host's memory ran out, and how many bytes it is."""
    if shortage is not None and shortage.on_host:
        for name in LIMITS:
            limit = shortage.settings.get(name)
            if isinstance(limit, int):
                return name, limit
    return "", None


def mappings(shortage: LastShortage | None) -> tuple[int | None, int | None]:
    """Return how many memory mappings the process had when the host's memory ran out, and how many it may have."""
    if shortage is None or not shortage.on_host:
        return None, None
    settings = shortage.settings
    return size_or_none(settings.get("mappings")), size_or_none(settings.get("mappings_limit"))


def are_mappings_used_up(shortage: LastShortage | None) -> bool:
    """Return whether the process had as many memory mappings as it may have."""
    mapped, most = mappings(shortage)
    return mapped is not None and most is not None and mapped >= _MAPPED_SHARE * most


def has_room(shortage: LastShortage) -> bool:
    """Return whether the host had room for the request, or, if that is not known, for a good deal."""
    asked, row = shortage.requested_bytes, shortage.device
    if row.used_bytes is None or not row.total_bytes:
        return False
    free = min(row.total_bytes - row.used_bytes, row.free_bytes if row.free_bytes is not None else row.total_bytes)
    return free > (1 - FULL_SHARE) * row.total_bytes if asked is None else free > asked


def exceeds_all(shortage: LastShortage) -> bool:
    """Return whether the request is for more than the whole device, or the host or container, has at all."""
    asked, total = shortage.requested_bytes, shortage.device.total_bytes
    return asked is not None and total is not None and asked > total > 0
