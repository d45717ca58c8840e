"""What the settings of torch's allocator say, by the environment variables that were in force."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_ANY_DEVICE = "PYTORCH_ALLOC_CONF"
_OF_ONE_KIND = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_FRACTION = re.compile(r"per_process_memory_fraction\s*:\s*(0?\.\d{1,9})")
_EXPANDABLE = re.compile(r"expandable_segments\s*:\s*true", re.IGNORECASE)


def allocator_settings(settings: Mapping[str, Any]) -> str:
    """Return all of them in one line, as torch reads them."""
    return ",".join(str(settings[name]) for name in (_OF_ANY_DEVICE, *_OF_ONE_KIND) if name in settings)


def limit_by_settings(settings: Mapping[str, Any], total_bytes: int | None) -> int | None:
    """Return how much of a device of this size they let a process have; None if they set no limit.

    torch 2.13 can refuse a request for that before it asks the driver; its words then have no figures.
    """
    found = _FRACTION.search(allocator_settings(settings))
    return None if found is None or not total_bytes else int(float(found[1]) * total_bytes) or None


def expandable_segments(settings: Mapping[str, Any]) -> str | None:
    """Return how to switch expandable segments on; None if they are on already."""
    if _EXPANDABLE.search(allocator_settings(settings)):
        return None
    return "PYTORCH_ALLOC_CONF=expandable_segments:True (before torch 2.10 PYTORCH_CUDA_ALLOC_CONF)"


def expandable_already(settings: Mapping[str, Any]) -> str:
    """Say that they are on already, as far as the settings tell.

    torch 2.9 overlooks them in the variable that it asks to be used (pytorch/pytorch#183387).
    """
    is_read_by_all = any(_EXPANDABLE.search(str(settings.get(name, ""))) for name in _OF_ONE_KIND)
    unread = "" if is_read_by_all else " (but torch 2.9 reads it from PYTORCH_CUDA_ALLOC_CONF only)"
    return f"expandable_segments is on already{unread}; the rest is in pools of their own (CUDA graphs, NCCL)"
