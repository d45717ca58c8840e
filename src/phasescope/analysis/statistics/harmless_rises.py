"""Two things that rise to the end of a series and are not growth: a wave that has not broken yet, and a few jumps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_FALL = 0.12  # of the whole range of a series: less is not a turn
_FEW = 3  # falls; with more of them their floors decide
_LONGER = 8  # as long as the longest climb before must one be that is to be called growth

_JUMPS, _OF_RISE = 2, 0.75  # two of the seven rises from floor to floor are this share of all: it went up by jumps,
_ABOVE_SPREAD = 4.0  # if the largest is this many times the usual spread,
_GIVES_BACK = 0.25  # and if no more than this part of it was given back in between: that would be noise


class _Climb(NamedTuple):
    """Where it began, and how long the longest of those before it was."""

    began: int
    longest: int
    falls: int


def is_wave(values: Sequence[int]) -> bool:
    """Return whether garbage that is collected now and then explains it.

    It fell before, a few times, and the climb since is not much longer than the climb until then. A climb of eight
    times the length is not a wave.
    """
    climb = _last_climb(values, _FALL * (max(values) - min(values)))
    if climb is None or not 1 <= climb.falls <= _FEW:
        return False
    return len(values) - 1 - climb.began < _LONGER * max(1, climb.longest)


def _last_climb(values: Sequence[int], least: float) -> _Climb | None:
    """Return the climb on which the series ends, if it ends on one; turns of less than `least` do not count."""
    turn = extreme = longest = falls = 0
    is_rising = True
    for index, value in enumerate(values):
        if (value >= values[extreme]) is is_rising:
            extreme = index
        elif abs(value - values[extreme]) >= least:
            if is_rising:
                longest, falls = max(longest, extreme - turn), falls + 1
            turn, extreme, is_rising = extreme, index, not is_rising
    return _Climb(turn, longest, falls) if is_rising and least > 0 else None


def are_stairs(floors: Sequence[int], spread: float) -> bool:
    """Return whether the floors rose by one jump or two and hardly else.

    A larger evaluation, a longer sequence, a new buffer. `spread` is how far the figures of a stretch usually lie
    apart.
    """
    rises = sorted((later - earlier for earlier, later in pairwise(floors)), reverse=True)
    rise = floors[-1] - floors[0]
    if rise <= 0 or rises[0] < _ABOVE_SPREAD * spread:
        return False
    return sum(rises[:_JUMPS]) >= _OF_RISE * rise and -rises[-1] < _GIVES_BACK * rise
