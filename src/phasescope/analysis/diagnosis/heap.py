"""The C library's heap at the censuses: whether memory is free in pieces, or held."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import size_or_none
from phasescope.analysis.formatting import size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .growth import Growth

_MOST_LOOKS = 6
_FEWEST_LOOKS = 3
_MOST_OF_IT = 0.5


class HeapLook(NamedTuple):
    """Bytes at the end of a step: in use in the heap's arenas, free in them, and in blocks with a mapping of their
    own."""

    step: int
    used: int
    free: int
    mapped: int


class HeapFold:
    """Takes events, and keeps the last looks."""

    def __init__(self) -> None:
        self._looks: list[HeapLook] = []

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        if event.get("event_type") != "census":
            return
        metadata = event.get("metadata")
        census = metadata.get("census") if isinstance(metadata, dict) else None
        heap = census.get("heap") if isinstance(census, dict) else None
        if not isinstance(census, dict) or not isinstance(heap, dict):
            return
        step = size_or_none(census.get("step")) or 0
        sizes = [size_or_none(heap.get(f"heap_{name}_bytes")) for name in ("used", "free", "mapped")]
        if any(size is None for size in sizes) or (self._looks and step == self._looks[-1].step):
            return  # the newest census is written again from time to time
        if self._looks and step < self._looks[-1].step:
            self._looks.clear()  # another loop has begun
        self._looks = [*self._looks[1 - _MOST_LOOKS :], HeapLook(step, *(size or 0 for size in sizes))]

    def result(self) -> tuple[HeapLook, ...]:
        """Return the last looks, the oldest first."""
        return tuple(self._looks)


def heap_text(growth: Growth, looks: tuple[HeapLook, ...]) -> str | None:
    """Return that most of a growth is free memory within the heap; None if that does not show."""
    if not is_in_pieces(growth, looks):
        return None
    first, last = looks[-_FEWEST_LOOKS], looks[-1]
    return (
        f"{size_text(last.free - first.free)} of it became free within the C library's heap, from step {first.step:,} "
        f"to {last.step:,}, and stayed there between blocks in use: the heap is in pieces, and nothing keeps that part"
    )


def is_in_pieces(growth: Growth, looks: tuple[HeapLook, ...]) -> bool:
    """Return whether most of a growth is free memory within the heap: by what rose from look to look to the end, at
    least at half of the growth's own rate."""
    if len(looks) < _FEWEST_LOOKS or not growth.grows or growth.device != "host" or growth.per is None or growth.rare:
        return False
    return _rises(looks[-_FEWEST_LOOKS:], "free", _MOST_OF_IT * growth.bytes_per_step)


def _rises(looks: tuple[HeapLook, ...], name: str, least: float) -> bool:
    """Return whether a part rose between all looks, by at least so much a step."""
    return all(
        later.step > earlier.step
        and getattr(later, name) - getattr(earlier, name) >= least * (later.step - earlier.step)
        for earlier, later in pairwise(looks)
    )
