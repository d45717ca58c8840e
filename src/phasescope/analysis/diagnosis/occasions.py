"""The phase at whose entries memory rises, if that is a rarer one than the steps: an evaluation, an epoch, a save.

Memory that is kept once in forty steps rises at one of them and stays flat at the others. Spread over all steps that is
a rate of which no step knows anything. So the rises are laid beside the ends of each phase that ended more rarely: if
nearly all of the growth falls on them, and nearly each of them has its part in it, it is of that phase's entries.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .kept_memory import Moments

_FEWEST = 3  # entries: two rises may coincide with anything
RARE = 1 / 3  # of the steps, at most
_AFTER = (0, 1, 2, 4, 8)  # steps after the entry that may have their part in it: the first of an epoch
_MOST_SHARE, _LEAST_SHARE = 1.4, 0.7  # of the growth
_MOST_OF_THEM = 0.8
_ABOVE_USUAL = 1.5  # as often must an entry's rise be the average rise of as many steps
_LIKE_EACH_OTHER = 2.0
_FEW_OTHERS = 0.5  # of what rose at a few entries: so much else may have come between, as a heap creeps


class Occasion(NamedTuple):
    """A phase, by its place among all, that ended `entries` times, and the `rises` of the memory where it did, in
    bytes: as a rule one for each entry. Empty if they cannot be separated from those of the steps."""

    phase: int
    entries: int
    rises: Sequence[int] = ()

    @property
    def rise(self) -> float:
        """By how much memory rose at an entry, on average."""
        return sum(self.rises) / self.entries


def occasions(moments: Moments, rise_per_step: float) -> list[Occasion]:
    """Return the phases at whose entries memory rises, those that explain it most closely; empty if it is the steps
    themselves, or if it is not known."""
    found: list[Occasion] = []
    for behind in _AFTER:
        found = list(_at(moments, rise_per_step, behind))
        if found:
            break
    return found


def few_occasions(moments: Moments) -> list[Occasion]:
    """Return the phases of which most entries raised the memory by about as much, and little else did.

    The first entry is left out: it takes what all of them use.
    """
    changes = _changes(moments)
    few = []
    for phase, flags in _rare(moments):
        rises = [sum(changes[begin:end]) for begin, end in _windows(flags, 0)][1:]
        usual = median(rises)
        alike = sum(usual <= _LIKE_EACH_OTHER * rise <= _LIKE_EACH_OTHER**2 * usual for rise in rises)
        if usual <= 0 or alike < _MOST_OF_THEM * len(rises):
            continue
        began = flags.index(True) + 1
        others = sum(change for change, flag in zip(changes[began:], flags[began:], strict=True) if not flag)
        if abs(others) <= _FEW_OTHERS * sum(rises):
            few.append(Occasion(phase, len(rises), rises))
    return few


def entries_of(moments: Moments, phase: int) -> int:
    """Return how often a phase ended from the first of these moments to the last."""
    first, last = moments.counts[0], moments.counts[-1]
    return last[phase] - (first[phase] if phase < len(first) else 0)


def _at(moments: Moments, rise_per_step: float, behind: int) -> Iterator[Occasion]:
    """Yield each phase at whose ends, or within that many steps after them, it rises."""
    changes = _changes(moments)
    per_change = rise_per_step * moments.stride
    for phase, flags in _rare(moments):
        windows = _windows(flags, behind)
        if sum(end - begin for begin, end in windows) > RARE * len(flags):
            continue
        rises = [sum(changes[begin:end]) for begin, end in windows]
        share = sum(rises) / (per_change * len(changes))
        apart = sum(
            rise > _ABOVE_USUAL * per_change * (end - begin) for rise, (begin, end) in zip(rises, windows, strict=True)
        )
        if _LEAST_SHARE <= share <= _MOST_SHARE and apart >= _MOST_OF_THEM * len(windows):
            yield Occasion(phase, entries_of(moments, phase), rises)


def _changes(moments: Moments) -> list[int]:
    return [later - earlier for earlier, later in pairwise(moments.levels)]


def _rare(moments: Moments) -> Iterator[tuple[int, list[bool]]]:
    """Yield each phase that ended now and then, and between which moments it did."""
    for phase in range(len(moments.counts[-1]) if moments.counts else 0):
        counts = [counts[phase] if phase < len(counts) else 0 for counts in moments.counts]
        flags = [later > earlier for earlier, later in pairwise(counts)]
        if len(_windows(flags, 0)) >= _FEWEST and sum(flags) <= RARE * len(flags):
            yield phase, flags


def _windows(flags: Sequence[bool], behind: int) -> list[tuple[int, int]]:
    """Return the stretches of flags that are set, each longer by `behind`, as far as there is room."""
    windows: list[tuple[int, int]] = []
    for place, flag in enumerate(flags):
        if flag and windows and place <= windows[-1][1]:
            windows[-1] = windows[-1][0], min(place + 1 + behind, len(flags))
        elif flag:
            windows.append((place, min(place + 1 + behind, len(flags))))
    return windows
