"""The events of a step, as far as they show whether the next one still belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._places import has_turned, loops_around, stack_here

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ._loop_batches import Batches
    from ._places import LoopPlace, Spot


class Step:
    """The events of a step so far."""

    def __init__(self, batches: Batches | None, place: LoopPlace | None) -> None:
        self.batches = batches
        self.place = place  # the loop whose turns are the steps
        self._began_at: list[Spot] = [] if place is not None else stack_here()
        self.stepped: set[int] = set()
        self.stepped_twice = False
        self.forwards = 0
        self.backwards = 0
        self.has_failed = False
        self.has_just_stepped = False  # with no fetch, forward or backward pass since
        self._calls: dict[int, list[Spot]] = {}
        self.place_so_far: LoopPlace | None = None  # as long as that is not known: the loop around its first backward

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
    def is_of_tensors(self) -> bool:
        """Whether neither a loader nor a model shows where it begins."""
        return self.is_by_hand and not self.forwards

    @property
    def is_without_batches(self) -> bool:
        """Whether no fetch will follow: the step is by hand, or its loader was left."""
        return self.is_by_hand or self.batches is None or self.batches.is_of() is None

    def have_stepped(self, awaited: AbstractSet[int], idle: AbstractSet[int], *, to_look: bool) -> bool:
        """Return whether all the optimizers have stepped that are awaited, and not idle.

        Of several in a loop by hand, some may step now and then, or more than once in a turn: there they have where the
        loop has come around, and where a look begins after all of them.
        """
        have_all = awaited - idle <= self.stepped
        turned = self.has_turned() if self.is_by_hand and len(awaited) > 1 else None
        if turned is None:
            return have_all
        return turned or (to_look and have_all and not self._is_amid_its_calls())

    def has_backward(self) -> None:
        """Count a backward pass that begins."""
        if self.place is None and not self.backwards and self._began_at:
            self.place_so_far = next(iter(loops_around(self._began_at, stack_here())), None)
        self.backwards += 1

    def called(self, key: int = 0) -> None:
        """Note the first call of each optimizer, or of a backward pass where there is none."""
        if key not in self._calls:
            self._calls[key] = stack_here()

    def has_turned(self) -> bool | None:
        """Return whether the loop has come around since the first of all these; None if that is not known."""
        first = next(iter(self._calls.values()), [])
        return has_turned(first, stack_here()) if first else None

    def _is_amid_its_calls(self) -> bool:
        """Return whether another loop, inside of the turn, has come around to them."""
        now = stack_here()
        return any(has_turned(call, now) for call in self._calls.values())

    def found_around(self) -> list[LoopPlace]:
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
