"""Where the phases around a loop end though no call tells: where the code cannot come back to what they are about.

A step ends with the loop whose turns the steps are, an epoch with the loop around that one (or with it, if there is
none), an evaluation where nothing leads back to its first forward. What is not known so ends when a call tells.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from ._loop_steps import Step
from ._places import Spot, is_gone, is_here, stack_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from phasescope import Session, phase

    from ._loop_batches import Batches
    from ._places import LoopPlace
    from ._scopes import Scopes

    StacksOf = Callable[[set[int]], dict[int, tuple[list[Any], list[Any]]]]


_all: weakref.WeakValueDictionary[int, LoopEnds] = weakref.WeakValueDictionary()


class LoopEnds:
    """The open phases around a thread's loop, and their places.

    The sampler's thread asks too: what is about a phase is set before it begins. It holds this, and not the loop, which
    its own thread must be the last to hold.
    """

    def __init__(self, scopes: Scopes) -> None:
        _all[id(self)] = self
        self.thread = threading.get_ident()
        self.scopes = scopes
        self.step: Step | None = None
        self.seen: list[phase] = []
        """The phases that the sampler has found to be over, and ends, since the loop was told."""

        self._of_steps: LoopPlace | None = None
        self._has_moved = False  # that was left, and another is not known yet
        self._of_epoch: LoopPlace | None = None
        self._looked_at: list[Spot] = []

    def step_begins(self, batches: Batches | None) -> Step:
        """Return a step that begins here."""
        if self._of_steps is not None and not self._of_steps.holds_caller():
            self._of_steps = None
            self._has_moved = True
        self.step = step = Step(batches, self._of_steps)
        return step

    def learn(self, step: Step) -> None:
        """Note that a step is all but done here: between its begin and this call lies one turn of its loop."""
        self._has_moved = False
        around = step.found_around()
        if around:
            self._of_steps = around[0]
            self._of_epoch = around[min(1, len(around) - 1)]

    def is_in_turns_of(self, step: Step) -> bool:
        """Return whether the calling thread is in the loop whose turns the steps are, as far as the step shows it."""
        place = step.place or step.place_so_far
        return place is not None and place.holds_caller()

    def epoch_begins(self) -> None:
        """Forget the last epoch's place if this one is elsewhere."""
        if self._of_epoch is not None and not self._of_epoch.holds_caller():
            self._has_moved = self._has_moved or self._of_steps is not None
            self._of_epoch = self._of_steps = None

    def evaluation_begins(self) -> None:
        """Forget the last evaluation's place."""
        self._looked_at = []

    def looked(self) -> None:
        """Note a forward of the evaluation."""
        if not self._looked_at:
            self._looked_at = stack_here()

    def is_elsewhere(self) -> bool:
        """Return whether the calling thread has left the loop of the last step that was known to be one."""
        return self._has_moved or (self._of_steps is not None and not self._of_steps.holds_caller())

    def has_left(self, name: str) -> bool:
        """Return whether the calling thread has left what this phase is about."""
        if name == "evaluate":
            places = self._looked_at
            return bool(places) and not is_here(places[-1]) and is_gone(places, stack_here())
        place = self._place_of(name)
        return place is not None and not place.holds_caller()

    def is_over(self, name: str, stack: Sequence[Spot]) -> bool:
        """Return whether a thread with this stack has left what this phase is about."""
        if name == "evaluate":
            return is_gone(self._looked_at, stack)
        place = self._place_of(name)
        return place is not None and not place.holds(stack)

    def over(self, stack: list[Spot], raised: list[Spot]) -> Iterator[tuple[phase, str | None]]:
        """Yield the phases that the thread with this stack has left, and the class of the exception that ended each.

        An exception on its way out of one, raised there, is left to whoever learns of it in the end.
        """
        step = self.step
        for name, scope in self.scopes.inside_out:
            if not stack or not self.is_over(name, stack) or (raised and not self.is_over(name, raised)):
                return
            self.seen.append(scope)
            yield scope, "UnseenError" if name == "step" and step is not None and step.was_cut else None

    def _place_of(self, name: str) -> LoopPlace | None:
        step = self.step
        if name == "step":
            return None if step is None else step.place
        return self._of_epoch


def ask_in(session: Session) -> None:
    """Have a session ask which of these phases are over, once for all loops."""
    global _asking
    if session.session_id != _asking:
        _asking = session.session_id
        session.ask_what_is_over(_what_is_over)


_asking = ""


def forget_others() -> None:
    """Forget the loops of all threads: this is a forked child."""
    _all.clear()


def _what_is_over(stacks_of: StacksOf) -> Iterator[tuple[phase, str | None]]:
    open_ones = [ends for reference in _all.valuerefs() if (ends := reference()) is not None and ends.scopes]
    stacks = stacks_of({ends.thread for ends in open_ones}) if open_ones else {}
    for ends in open_ones:
        if ends.thread in stacks:
            now, raised = stacks[ends.thread]
            yield from ends.over([Spot(*spot) for spot in now], [Spot(*spot) for spot in raised])
