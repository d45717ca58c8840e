"""Whether the host was about to run out of memory at the last samples: a killed process cannot say so itself.

Pages of mapped files run nothing out: a container counts some of them as in use, and the kernel takes them back first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none, size_or_none, unavailable
from phasescope.analysis.formatting import size_text

from .reclaimable import Files

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = -1
_SHORT_SHARE = 0.05
_GROWTH_NS = 1_000_000_000
_KEPT = 64
_LIBRARIES = 512 << 20  # of the mapped memory: code in use, which the kernel would be slow to take back


class HostRoom:
    """The last samples of the host: the memory in use, and the total. It is the machine's, or the container's."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=_KEPT)
        self._files = Files()
        self._mapped = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take a sample of any device."""
        if event.get("device_id") != _HOST:
            return
        mapped = self._files.of(event)
        self._mapped = self._mapped if mapped is None else mapped
        time_ns, unknown = int_or_none(event.get("timestamp_ns")), unavailable(event)
        used, total = size_or_none(event.get("device_used_bytes")), size_or_none(event.get("device_total_bytes"))
        if time_ns is not None and used is not None and total and "device_used_bytes" not in unknown:
            self._samples.append((time_ns, max(0, used - max(0, self._mapped - _LIBRARIES)), total))

    def is_short(self) -> str | None:
        """Say how full it was, if at most 5 % were left, or no more than the last second had taken; else None."""
        if not self._samples:
            return None
        last_ns, used, total = self._samples[-1]
        before = next((kept for time_ns, kept, _ in self._samples if last_ns - time_ns <= _GROWTH_NS), used)
        if total - used > max(_SHORT_SHARE * total, used - before):
            return None
        return f"{size_text(used)} of {size_text(total)} in use"
