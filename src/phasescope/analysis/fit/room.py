"""The room that a device has for what a training allocates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import size_text

if TYPE_CHECKING:
    from .usage import Usage


class RoomError(ValueError):
    """The device's size is not known."""


@dataclass(frozen=True)
class Room:
    """The room of a device for the training's tensors: `total_bytes` less `others_bytes` (other processes, this one's
    context and libraries) and `fragmented_bytes` (what the allocator cannot hand out), no more than `limit_bytes`.
    """

    total_bytes: int
    others_bytes: int
    fragmented_bytes: int
    limit_bytes: int | None
    is_given: bool

    @property
    def usable_bytes(self) -> int:
        """The most that may be allocated."""
        most = self.total_bytes - self.others_bytes
        if self.limit_bytes is not None and not self.is_given:
            most = min(most, self.limit_bytes)
        return max(0, most - self.fragmented_bytes)

    @property
    def text(self) -> str:
        """`80.0 GiB, of which others hold 1.20 GiB`."""
        others = f", of which others hold {size_text(self.others_bytes)}" if self.others_bytes else ""
        fragmented = f" and {size_text(self.fragmented_bytes)} is fragmented" if self.fragmented_bytes else ""
        limit = f", the process's limit {size_text(self.limit_bytes)}" if self.limit_bytes and not self.is_given else ""
        return f"{size_text(self.total_bytes)}{others}{fragmented}{limit}"


def room_of(usage: Usage, given_bytes: int | None) -> Room:
    """Return the room on the measured device, or on one of the given size: there other processes hold nothing, and
    what this one holds outside of its allocator is the same.
    """
    row = usage.room
    held = {} if row.breakdown is None else {part.name: part.size_bytes for part in row.breakdown.parts}
    fragmented = 0 if row.breakdown is None else row.breakdown.fragmented_bytes or 0
    others = row.used_by_others_bytes or 0
    if given_bytes is not None:
        if "process_outside" in held:
            others = held["process_outside"] + held.get("driver", 0)
        return Room(given_bytes, min(others, given_bytes), fragmented, None, is_given=True)
    if row.total_bytes is None:
        raise RoomError("the size of the device is not known: pass --device-memory SIZE")
    return Room(row.total_bytes, others, fragmented, usage.limit_bytes, is_given=False)
