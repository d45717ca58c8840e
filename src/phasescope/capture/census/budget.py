"""When a census may be taken: by the steps ever more seldom, and by what the censuses so far have cost."""

from __future__ import annotations

import sys
import time

_ONE_PART_IN = 500
"""Of the time since the session began: 0.2 %."""
_AT_LEAST_NS = 120_000_000_000
"""A run is taken to last as long as this."""
_LONGEST_NS = 1_000_000_000
"""No census is taken that would hold up the training for longer."""
_NS_PER_BLOCK = 30
"""Of Python's memory, before the first census has told."""


class CensusBudget:
    """The cost of the censuses, in time of the thread that takes them, and its limit."""

    def __init__(self, one_part_in: int = _ONE_PART_IN) -> None:
        """Take one part in this many of the time since the session began."""
        self._one_part_in = one_part_in
        self._began_ns = time.monotonic_ns()
        self._ns_per_block: float = _NS_PER_BLOCK
        self._begun_ns = 0
        self.spent_ns = 0

    def allows(self) -> bool:
        """Return whether there is time for a census now."""
        expected_ns = self._ns_per_block * sys.getallocatedblocks()
        return expected_ns <= min(_LONGEST_NS, self.left_ns())

    def left_ns(self) -> int:
        """Return the time that may be spent from now on."""
        elapsed_ns = time.monotonic_ns() - self._began_ns
        return max(elapsed_ns, _AT_LEAST_NS) // self._one_part_in - self.spent_ns - self.running_ns()

    def begin(self) -> None:
        """Note that a census begins in this thread."""
        self._begun_ns = time.thread_time_ns()

    def running_ns(self) -> int:
        """Return what the census that runs has cost so far; 0 if none does."""
        return time.thread_time_ns() - self._begun_ns if self._begun_ns else 0

    def counted(self) -> None:
        """Note that everything is counted: so long it takes."""
        self._ns_per_block = self.running_ns() / max(1, sys.getallocatedblocks())

    def end(self) -> None:
        """Note that the census is over."""
        self.spent_ns += self.running_ns()
        self._begun_ns = 0
