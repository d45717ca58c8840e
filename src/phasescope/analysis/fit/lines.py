"""Memory as a line over the batch size: a fixed part, and so much for each sample more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class PeakLine(NamedTuple):
    """The peak of a step, in bytes: `fixed` and `per_sample` for each sample."""

    fixed: float
    per_sample: float

    def at(self, batch_size: int) -> float:
        """Return the peak with that many samples."""
        return self.fixed + self.per_sample * batch_size

    def largest(self, room: float) -> int | None:
        """Return the most samples whose peak fits in the room; None if there is no limit."""
        if self.fixed > room:
            return 0
        return None if self.per_sample <= 0 else int((room - self.fixed) / self.per_sample)


@dataclass(frozen=True)
class LineBounds:
    """The bounds of the line: where it may lie, and a floor that does not depend on the batch.

    `gentle` grows least and `steep` most of those that agree with what was measured; with two batch sizes they are the
    same. Either may be off by `error_bytes`, by which the measured points lie beside it.
    """

    gentle: PeakLine
    steep: PeakLine
    floor_bytes: int
    error_bytes: float = 0.0

    def needs(self, batch_size: int) -> tuple[int, int]:
        """Return the least and the most that a step of this size may need at its peak."""
        ends = [line.at(batch_size) for line in (self.gentle, self.steep)]
        least, most = min(ends) - self.error_bytes, max(ends) + self.error_bytes
        return max(self.floor_bytes, round(least)), max(self.floor_bytes, round(most))

    def largest(self, room: int) -> tuple[int | None, int | None]:
        """Return the largest batch that fits for sure, and the largest that may; None: no limit is known."""
        if self.floor_bytes > room:
            return 0, 0
        lines = (self.gentle, self.steep)
        sure = [size for line in lines if (size := line.largest(room - self.error_bytes)) is not None]
        maybe = [size for line in lines if (size := line.largest(room + self.error_bytes)) is not None]
        return min(sure, default=None), max(maybe) if len(maybe) == len(lines) else None

    def less(self, fixed: int) -> LineBounds:
        """Return the growth with so much less of the fixed part."""
        gentle, steep = (PeakLine(line.fixed - fixed, line.per_sample) for line in (self.gentle, self.steep))
        return LineBounds(gentle, steep, max(0, self.floor_bytes - fixed), self.error_bytes)


def through(points: Sequence[tuple[int, int]]) -> tuple[PeakLine, float]:
    """Return the line through points (batch size, bytes) of at least two sizes, and how far the farthest lies off."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    line = PeakLine(mean_y - slope * mean_x, slope)
    return line, 0.0 if count == 2 else max(abs(y - line.at(x)) for x, y in points)
