"""torch's caching allocator on one device: segments, the blocks in them, and what cannot be given back.

Sizes and order are those of torch: blocks in multiples of 512 bytes, segments of 2 MiB for small ones, of 20 MiB below
10 MiB, of their own above; what is free is used again, and given back only if its whole segment is free.
"""

from __future__ import annotations

from bisect import bisect_left, insort

MIB = 1 << 20
ROUNDING = 512


class Segment:
    """Memory of the device. `blocks` are their sizes by offset, `free` the offsets that are not in use."""

    def __init__(self, size: int, is_small: bool) -> None:
        self.size = size
        self.is_small = is_small
        self.blocks = {0: size}
        self.free = {0}

    @property
    def is_unused(self) -> bool:
        """Whether nothing of it is in use."""
        return len(self.free) == len(self.blocks)


class CachingAllocator:
    """What is allocated and reserved, in bytes."""

    def __init__(self) -> None:
        self.allocated = self.reserved = 0
        self._segments: dict[int, Segment] = {}
        self._free: list[tuple[int, int, int]] = []  # size, segment, offset
        self._made = 0

    def take(self, size: int) -> tuple[int, int] | None:
        """Return the place of a block out of what is reserved; None if more must be reserved for it."""
        size = -(-size // ROUNDING) * ROUNDING
        for at in range(bisect_left(self._free, (size, 0, 0)), len(self._free)):
            found, number, offset = self._free[at]
            segment = self._segments[number]
            if segment.is_small != (size <= MIB):
                continue
            del self._free[at]
            segment.free.remove(offset)
            if found > size:
                segment.blocks[offset] = size
                segment.blocks[offset + size] = found - size
                segment.free.add(offset + size)
                insort(self._free, (found - size, number, offset + size))
            self.allocated += size
            return number, offset
        return None

    @staticmethod
    def segment_for(size: int) -> int:
        """Return how much is reserved for a block that finds no room."""
        if size <= MIB:
            return 2 * MIB
        return 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB

    def reserve(self, size: int) -> None:
        """Take a segment from the device for a block of this size."""
        segment = Segment(self.segment_for(size), size <= MIB)
        self._made += 1
        self._segments[self._made] = segment
        insort(self._free, (segment.size, self._made, 0))
        self.reserved += segment.size

    def give(self, place: tuple[int, int]) -> int:
        """Free a block, which joins what is free beside it; return its size."""
        number, offset = place
        segment = self._segments[number]
        size = given = segment.blocks[offset]
        self.allocated -= given
        after = offset + size
        if after in segment.free:
            size += self._join(segment, number, after)
        before = next((at for at in segment.free if at + segment.blocks[at] == offset), None)
        if before is not None:
            del segment.blocks[offset]
            size, offset = size + self._join(segment, number, before), before
        segment.blocks[offset] = size
        segment.free.add(offset)
        insort(self._free, (size, number, offset))
        return given

    def _join(self, segment: Segment, number: int, offset: int) -> int:
        size = segment.blocks.pop(offset)
        segment.free.remove(offset)
        self._free.remove((size, number, offset))
        return size

    def empty_cache(self) -> int:
        """Give back every segment that is not in use; return how many."""
        unused = [number for number, segment in self._segments.items() if segment.is_unused]
        for number in unused:
            segment = self._segments.pop(number)
            self.reserved -= segment.size
            for offset in segment.free:
                self._free.remove((segment.blocks[offset], number, offset))
        return len(unused)
