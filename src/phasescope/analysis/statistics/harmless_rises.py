"""Two things that rise to the end of a series and are no growth: a wave that has not broken yet, and a few jumps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_FALL = 0.12  # of all that a series ranges over: less is no turn
_FEW = 3  # falls; of more of them it is their floors that tell
_LONGER = 8  # as long as the longest climb before must one be that is to be called growth

_JUMPS, _OF_RISE = 2, 0.75  # so many of the seven rises from floor to floor are so much of all: it went up by jumps,
_ABOVE_SPREAD = 4.0  # where the largest is so many times the usual spread,
_GIVES_BACK = 0.25  # and where no more than this part of it was given back in between: that would be noise


class _Climb(NamedTuple):
    """Where it began, and how long the longest of those before it was."""

    began: int
    longest: int
    falls: int


def is_wave(values: Sequence[int]) -> bool:
    """Whether garbage that is collected now and then explains it: it fell before, a few times, and what has climbed
    since is not much longer than what had climbed until then. A climb of eight times the length is no wave."""
    climb = _last_climb(values, _FALL * (max(values) - min(values)))
    if climb is None or not 1 <= climb.falls <= _FEW:
        return False
    return len(values) - 1 - climb.began < _LONGER * max(1, climb.longest)


def _last_climb(values: Sequence[int], least: float) -> _Climb | None:
    """The climb on which the series ends, where it ends on one; turns of less than `least` are none."""
    turn = extreme = longest = falls = 0
    is_rising = True
    for at, value in enumerate(values):
        if (value >= values[extreme]) is is_rising:
            extreme = at
        elif abs(value - values[extreme]) >= least:
            if is_rising:
                longest, falls = max(longest, extreme - turn), falls + 1
            turn, extreme, is_rising = extreme, at, not is_rising
    return _Climb(turn, longest, falls) if is_rising and least > 0 else None


def are_stairs(floors: Sequence[int], spread: float) -> bool:
    """Whether the floors rose by one jump or two and hardly else: a larger evaluation, a longer sequence, a buffer made
    anew. `spread` is how far the figures of a stretch usually lie apart."""
    rises = sorted((later - earlier for earlier, later in pairwise(floors)), reverse=True)
    rise = floors[-1] - floors[0]
    if rise <= 0 or rises[0] < _ABOVE_SPREAD * spread:
        return False
    return sum(rises[:_JUMPS]) >= _OF_RISE * rise and -rises[-1] < _GIVES_BACK * rise
