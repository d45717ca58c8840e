"""The events of a step, as far as they show whether the next one still belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._places import loops_around, stack_here

if TYPE_CHECKING:
    from ._places import Place, Spot
    from ._torch_loaders import Batches


class Step:
    """The events of a step so far."""

    def __init__(self, batches: Batches | None, place: Place | None) -> None:
        self.batches = batches
        self.place = place  # the loop whose turns are the steps
        self._began_at: list[Spot] = [] if place is not None else stack_here()
        self.stepped: set[int] = set()
        self.stepped_twice = False
        self.forwards = 0
        self.backwards = 0
        self.has_failed = False

    @property
    def is_fresh(self) -> bool:
        """Whether nothing of a training has happened in it yet."""
        return not (self.forwards or self.backwards or self.stepped)

    @property
    def was_cut(self) -> bool:
        """Whether an exception ended it, which the loop has caught."""
        return self.has_failed and not self.stepped

    @property
    def is_by_hand(self) -> bool:
        """Whether no loader shows where the steps begin: there is none, or it gave all of its data at once."""
        return self.batches is None or (self.batches.fetches < 2 and self.stepped_twice)

    @property
    def is_without_batches(self) -> bool:
        """Whether no fetch will follow: the step is by hand, or its loader was left."""
        return self.is_by_hand or self.batches is None or self.batches.is_of() is None

    def found_around(self) -> list[Place]:
        """Return the loops around this step, the innermost first: its first call and the present one lie in them.

        Nothing if they are known, or if there are none.
        """
        if self.place is not None or not self._began_at:
            return []
        around = loops_around(self._began_at, stack_here())
        if around:
            self.place = around[0]
            self._began_at = []
        return around
