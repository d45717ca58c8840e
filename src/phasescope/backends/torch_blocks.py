"""The blocks that torch's caching allocator has handed out, by the line that asked for them if torch recorded it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_LINES = 60
_LONGEST = 300
_LIVE = ("active_allocated", "active_awaiting_free", "active_pending_free")
_OWN_LAST = ("torch", "phasescope")


def read(memory_snapshot: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return a device each, of `torch.cuda.memory.memory_snapshot`, without the history of allocations where this
    version can leave it out: that takes long."""
    try:
        segments = memory_snapshot(include_traces=False)
    except TypeError:  # before 2.11
        segments = memory_snapshot()
    return summed_up(segments)


def summed_up(segments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the segments of the allocator summed up, a device each."""
    devices: dict[int, _DeviceBlocks] = {}
    for segment in segments:
        index = int(segment.get("device", 0))
        devices.setdefault(index, _DeviceBlocks()).take(segment)
    return [{"index": index, **devices[index].figures()} for index in sorted(devices)]


class _DeviceBlocks:
    def __init__(self) -> None:
        self._segments = self._reserved = self._live_bytes = self._live = self._largest_free = self._known = 0
        self._lines: dict[tuple[str, int, str], list[int]] = {}

    def take(self, segment: dict[str, Any]) -> None:
        self._segments += 1
        self._reserved += segment.get("total_size", 0)
        for block in segment.get("blocks", ()):
            size = block.get("size", 0)
            if block.get("state") not in _LIVE:
                self._largest_free = max(self._largest_free, size)
                continue
            self._live += 1
            self._live_bytes += size
            line = _line_of(block.get("frames") or _frames_of_history(block))
            if line is not None:
                self._known += size
                line_sums = self._lines.setdefault(line, [0, 0])
                line_sums[0] += size
                line_sums[1] += 1

    def figures(self) -> dict[str, Any]:
        largest = sorted(self._lines.items(), key=lambda each: -each[1][0])[:MOST_LINES]
        return {
            "segments": self._segments,
            "reserved_bytes": self._reserved,
            "live_blocks": self._live,
            "live_bytes": self._live_bytes,
            "largest_free_bytes": self._largest_free,
            "traced_bytes": self._known,
            "lines": [
                {"file": file[-_LONGEST:], "line": line, "function": function[:_LONGEST], "bytes": size, "count": count}
                for (file, line, function), (size, count) in largest
            ],
        }


def _frames_of_history(block: dict[str, Any]) -> Any:
    """Return the frames as torch before 2.1 has them."""
    history = block.get("history")
    return history[-1].get("frames") if history else None


def _line_of(frames: Any) -> tuple[str, int, str] | None:
    """Return the innermost line that is not torch's own; torch's if all of them are; None if there are none."""
    innermost = None
    for frame in frames or ():
        file, line = str(frame.get("filename", "")), int(frame.get("line") or 0)
        if not file.endswith(".py") and not file.startswith("<"):
            continue  # of C++
        of_frame = file, line, str(frame.get("name", ""))
        innermost = innermost or of_frame
        parts = file.replace("\\", "/").split("/")
        if not any(name in parts for name in _OWN_LAST) or "site-packages" not in file:
            return of_frame
    return innermost
