"""Warning and critical: a device whose memory runs full is said so once per crossing, not once per sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from phasescope.backends.protocol import AllocatorCounters, DeviceCounters
    from phasescope.capture.collector import DeviceState

HYSTERESIS = 0.05
"""A threshold that was passed is armed again once the figure is below it by this share of the threshold."""

_LEVELS = ("critical", "warning")
_BEYOND = 1 << 62  # any memory
_LARGE = 10 << 30  # bytes of a limit that is told in GiB: of less a tenth of one is too coarse


class Crossing(NamedTuple):
    """One threshold passed: the event's type, a line for a person, and its metadata."""

    event_type: str
    context: str
    extra: dict[str, Any]


class Thresholds:
    """The thresholds of a session, and which of them each device is above.

    It compares the device's memory in use by all processes or, if that is not known, the memory that this process's
    allocator reserved. A share is of the device's total, and never passed if the total is unknown.
    """

    def __init__(self, shares: tuple[float | None, float | None], sizes: tuple[int | None, int | None]) -> None:
        """Take `shares` and `sizes` (bytes): of critical, then of warning; None switches it off."""
        self._limits = [
            (level, share, size)
            for level, share, size in zip(_LEVELS, shares, sizes, strict=True)
            if share is not None or size is not None
        ]
        self._above: set[tuple[str, int, str]] = set()
        self._judged: dict[DeviceState, DeviceCounters] = {}

    def crossed(self, state: DeviceState, counters: AllocatorCounters) -> Crossing | None:
        """Return the most severe threshold that this device has passed since it was last asked about, if any."""
        used, total = state.figures.used_bytes, state.figures.total_bytes
        if used is not None:
            if self._judged.get(state) is state.figures:
                return None
            self._judged[state] = state.figures
        source = "device_used_bytes"
        if used is None:
            used, source = counters[1], "allocator_reserved_bytes"
        passed = None
        for level, share, size in self._limits:
            limit = _limit(share, size, total)
            if limit is not None and self._passes((state.collector.name, state.device_id, level), used, limit):
                passed = passed or _crossing(level, used, limit, total, source)
        return passed

    def quiet(self, state: DeviceState) -> tuple[int, int, int]:
        """Return the device's total and, with that, the lowest figure of used memory and the next above the highest for
        which `crossed` would return None and note nothing. The two are equal if there is none, or none is known."""
        used, total = state.figures.used_bytes, state.figures.total_bytes
        if used is None or total is None:
            return 0, 0, 0
        lowest, below = 0, _BEYOND
        for level, share, size in self._limits:
            limit = _limit(share, size, total)
            if limit is None:
                continue
            if (state.collector.name, state.device_id, level) in self._above:
                lowest = max(lowest, math.ceil(limit * (1 - HYSTERESIS)))
            else:
                below = min(below, limit)
        return total, lowest, max(lowest, below)

    def _passes(self, key: tuple[str, int, str], used: int, limit: int) -> bool:
        if used >= limit:
            new = key not in self._above
            self._above.add(key)
            return new
        if used < limit * (1 - HYSTERESIS):
            self._above.discard(key)
        return False


def _limit(share: float | None, size: int | None, total: int | None) -> int | None:
    """Return the limit in bytes; of a share and a size the lower one."""
    limits = [] if size is None else [size]
    if share is not None and total:
        limits.append(int(share * total))
    return min(limits, default=None)


def _crossing(level: str, used: int, limit: int, total: int | None, source: str) -> Crossing:
    unit, name = (2**30, "GiB") if limit >= _LARGE else (2**20, "MiB")
    of = f" of {total / unit:.1f} {name}" if total else ""
    return Crossing(
        level,
        f"{used / unit:.1f} {name}{of} in use, above {limit / unit:.1f} {name}",
        {"threshold_bytes": limit, "figure": source, "figure_bytes": used},
    )
