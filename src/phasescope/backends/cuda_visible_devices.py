"""Which NVIDIA devices `CUDA_VISIBLE_DEVICES` leaves to this process, and in which order, without asking CUDA."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def wanted() -> list[str] | None:
    """Return the entries of the variable up to the first that hides the rest ("-1"), or None if it is not set."""
    value = os.environ.get(VARIABLE)
    if value is None:
        return None
    entries = []
    for entry in (part.strip() for part in value.split(",")):
        if not entry or entry.startswith("-"):
            break
        entries.append(entry)
    return entries


def chosen(entries: Sequence[str], uuids: Sequence[str], is_device: Callable[[str], bool]) -> list[str]:
    """Return the UUIDs of the devices that the entries name.

    `uuids` are the machine's devices in order. An entry is an index into them, the beginning of one of them, or the
    UUID of a MIG slice, which `is_device` knows. As CUDA does it, an entry that names nothing ends the list, and a
    device that is named twice makes it empty.
    """
    selected: list[str] = []
    for entry in entries:
        uuid = _named(entry, uuids, is_device)
        if uuid is None:
            break
        if uuid in selected:
            return []
        selected.append(uuid)
    return selected


def _named(entry: str, uuids: Sequence[str], is_device: Callable[[str], bool]) -> str | None:
    if entry.isdecimal():
        return uuids[int(entry)] if int(entry) < len(uuids) else None
    if entry.startswith("MIG-"):
        return entry if is_device(entry) else None
    matching = [uuid for uuid in uuids if uuid.lower().startswith(entry.lower())]
    return matching[0] if len(matching) == 1 else None
