"""The ends of one phase taken together, and what it kept by itself at any place among those of others."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from phasescope.analysis.summary.kept_boundaries import PackedEnds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EndFigures = tuple[int, int, int, "int | None", int]
"""The place of an end among all that are taken together, the bytes allocated then, their change, the time of the end,
and how long the entry took. A plain tuple: one is made for every entry."""

EndsOfPath = tuple[tuple[str, ...], "Sequence[EndFigures]"]
"""A phase's path and its ends, the oldest first."""


class EndBatch:
    """The ends of one phase. `inside` are those of the phases in it; `own` and `inner` are what `Ends` had before."""

    def __init__(self, ends: Sequence[EndFigures], own: int, inner: int) -> None:
        columns: Iterable[Any] = ends.columns() if isinstance(ends, PackedEnds) else zip(*ends, strict=True)
        places, levels, changes, self.times_ns, self.durations_ns = columns
        self.places: Sequence[int] = places
        self.levels: Sequence[int] = levels
        self.inside: list[EndBatch] = []
        self._own = own
        self._inner = inner
        self._changed: list[int] = [0, *accumulate(changes)]

    @property
    def changed(self) -> int:
        """The change of the allocated bytes over all of them."""
        return self._changed[-1]

    def changed_by(self, place: int) -> int:
        """Return the same of those up to this place."""
        return self._changed[bisect_right(self.places, place)]

    def count_after(self, place: int) -> int:
        """Return how many of them came after this place."""
        return len(self.places) - bisect_right(self.places, place)

    def own_at(self, place: int) -> int:
        """Return what the phase had kept by itself up to its last end there, those inside it included."""
        count = bisect_right(self.places, place)
        if not count:
            return self._own
        last = self.places[count - 1]
        return self._own + self._changed[count] - self._inner - sum(each.changed_by(last) for each in self.inside)

    def kept(self) -> tuple[int, int]:
        """Return what it has kept by itself after all of them, and what those inside it have kept since its last."""
        last = self.places[-1]
        return self.own_at(last), sum(each.changed - each.changed_by(last) for each in self.inside)
