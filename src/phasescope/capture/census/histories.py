"""How many there were of each group at the last few censuses, and which of them grew with the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

MOST_LOOKS = 6
FEWEST_LOOKS = 3
_MOST_GROUPS = 512
_FEWEST_MORE = 4
_LEAST_RATE = 0.02  # per step
_KEEPS_ON = 0.5  # of the rate before


class Risen(NamedTuple):
    """How a count rose: in how many censuses in a row in proportion to the steps, from what, since which step."""

    censuses: int
    before: int
    since_step: int
    per_step: float


class Histories:
    """The counts of the groups, in bounded memory: of more groups than `_MOST_GROUPS` only the largest are known."""

    def __init__(self) -> None:
        self._looks: list[tuple[int, dict[Hashable, int]]] = []

    def add(self, step: int, counts: Mapping[Hashable, int]) -> None:
        """Take the counts of a census."""
        kept = dict(counts)
        if len(kept) > _MOST_GROUPS:
            largest = sorted(kept, key=lambda key: -kept[key])[:_MOST_GROUPS]
            kept = {key: kept[key] for key in largest}
        self._looks = [*self._looks[1 - MOST_LOOKS :], (step, kept)]

    def clear(self) -> None:
        """Forget all: the steps are counted from 0 again."""
        self._looks.clear()

    def risen(self, key: Hashable) -> Risen | None:
        """Return how the count of a group rose until now; None if it did not, or not with the steps."""
        return in_proportion([(step, counts.get(key, 0)) for step, counts in self._looks])


def in_proportion(looks: Sequence[tuple[int, int]]) -> Risen | None:
    """Return how a count rose that was looked at at these steps; None if not in proportion to them to the end."""
    if len(looks) < FEWEST_LOOKS or looks[-1][1] - looks[-2][1] < _FEWEST_MORE:
        return None
    begin = len(looks) - 1
    last_rate: float | None = None
    while begin > 0:
        (step, count), (later_step, later_count) = looks[begin - 1], looks[begin]
        if later_step <= step:
            break
        rate = (later_count - count) / (later_step - step)
        if rate < _LEAST_RATE or (last_rate is not None and not _goes_with(rate, last_rate)):
            break
        last_rate = rate
        begin -= 1
    if len(looks) - begin < FEWEST_LOOKS:
        return None
    (step, count), (last_step, last_count) = looks[begin], looks[-1]
    return Risen(len(looks) - begin, count, step, (last_count - count) / (last_step - step))


def _goes_with(rate: float, later: float) -> bool:
    """Return whether a rate and the one after it are of one and the same growth."""
    return later >= _KEEPS_ON * rate and rate >= _KEEPS_ON * later
