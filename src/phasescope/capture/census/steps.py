"""Which phase is the step, as it ends: the outermost one that comes again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phasescope.capture.phase_paths import Path

_OFTEN = 4
_MOST_PATHS = 256
_EPOCH, _STEP = "epoch", "step"
_PATIENCE = 64  # entries of a phase inside of one that is called a step and does not end


class StepFinder:
    """Takes the paths of phases as they end. Of phases that take turns the last one is the step."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self._first: tuple[str, ...] | None = None
        self._last: Path | None = None

    def take(self, path: Path) -> Path | None:
        """Take the path of a phase that ended; return the step's once that is known."""
        names = path.names
        if not names or names[-1] == _EPOCH or (names not in self._counts and len(self._counts) >= _MOST_PATHS):
            return None
        count = self._counts[names] = self._counts.get(names, 0) + 1
        if self._is_part_of_one_that_comes_again(names, count):
            return None
        if self._first is not None and names == self._first:  # a whole round since
            return self._last
        if count >= _OFTEN and (self._first is None or len(names) < len(self._first)):
            self._first, self._last = names, path
        elif self._first is not None and len(names) == len(self._first) and count >= _OFTEN - 1:
            self._last = path
        return None

    def _is_part_of_one_that_comes_again(self, names: tuple[str, ...], count: int) -> bool:
        """Return whether a phase lies in one that has ended before, or that will: several forwards are one step's."""
        around = (names[:depth] for depth in range(1, len(names)))
        return any(each in self._counts or (each[-1] == _STEP and count < _PATIENCE) for each in around)
