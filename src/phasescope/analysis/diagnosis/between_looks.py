"""What child processes did between the looks at what each has for itself.

A cache that is filled and emptied in the time from one look to the next, or nearly so, is met a little fuller at each
look: it seems to rise all the time. The resident sets, which are in every sample, show it as it is.
"""

from __future__ import annotations

from phasescope.analysis.statistics.trend import StepSeries

_AS_MUCH = 0.5  # of the rise that the looks saw


class BetweenLooks:
    """Takes the resident sets of each sample, of children that are the only ones."""

    def __init__(self) -> None:
        self._resident = StepSeries()
        self._highest = self._fallen = 0

    def take(self, resident_bytes: int) -> None:
        """Take the next sample's bytes."""
        self._resident.add(resident_bytes)
        self._highest = max(self._highest, resident_bytes)
        self._fallen = max(self._fallen, self._highest - resident_bytes)

    def explain(self, looked_at: StepSeries) -> bool:
        """Return whether what rose from look to look is explained by what lay between: by all samples it did not rise,
        and fell back by as much. Pages that were shared before are none of that: by them no resident set changes."""
        seen, there = looked_at.overall_slope(), self._resident.overall_slope()
        if seen is None or there is None or there >= _AS_MUCH * seen:
            return False
        return self._fallen >= _AS_MUCH * seen * looked_at.steps
