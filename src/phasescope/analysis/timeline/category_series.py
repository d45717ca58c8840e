"""A device's live memory by category over the whole session, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.categories import LABELS, categories, compared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.categories import Categories

MOST_LOOKS = 512
_FIRST_WIDTH_NS = 1 << 28  # a quarter of a second; samples repeat a look once a second


class Look(NamedTuple):
    """The wall-clock time of an event that has categories, and the bytes of each that is known."""

    timestamp_ns: int
    sizes: dict[str, int]


class CategorySeries:
    """One device's categories over time. Of each interval the last look is kept, so that what is shown of one moment
    was seen at one moment; the intervals double when there are more than `most`."""

    __slots__ = ("_before", "_looks", "_most", "_width_ns")

    def __init__(self, most: int = MOST_LOOKS) -> None:
        self._most = most
        self._width_ns = _FIRST_WIDTH_NS
        self._looks: dict[int, Look] = {}
        self._before: Categories | None = None

    def add(self, time_ns: int, event: Mapping[str, Any]) -> None:
        """Take an event that has categories. What came since the last step, when memory ran out, counts as
        activations."""
        counted = compared(categories(event), self._before)
        if counted is None:
            return
        if counted.moment != "failure":
            self._before = counted
        self._keep(Look(time_ns, counted.at_its_fullest))
        while len(self._looks) > self._most:
            self._width_ns *= 2
            looks, self._looks = self._looks, {}
            for look in looks.values():
                self._keep(look)

    def _keep(self, look: Look) -> None:
        number = look.timestamp_ns // self._width_ns
        kept = self._looks.get(number)
        if kept is None or look.timestamp_ns >= kept.timestamp_ns:
            self._looks[number] = look

    def looks(self, since_ns: int = 0, most: int = MOST_LOOKS) -> list[Look]:
        """Return the looks since a time, by time: of more than `most` every second or less, and the last one."""
        looks = [look for _, look in sorted(self._looks.items()) if look.timestamp_ns >= since_ns]
        step = -(-len(looks) // most) or 1
        return looks[::-step][::-1]

    def columns(self, since_ns: int = 0, most: int = MOST_LOOKS) -> dict[str, list[int | None]]:
        """Return the looks as columns: `timestamp_ns`, and the bytes of each category that is ever known, None where
        it is not."""
        looks = self.looks(since_ns, most)
        named = [name for name in LABELS if any(name in look.sizes for look in looks)]
        times: list[int | None] = [look.timestamp_ns for look in looks]
        return {"timestamp_ns": times, **{f"{name}_bytes": [look.sizes.get(name) for look in looks] for name in named}}
