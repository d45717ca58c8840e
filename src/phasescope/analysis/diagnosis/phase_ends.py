"""The phases that have ended on one device: what was allocated at each end, and what each phase kept by itself."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from phasescope.analysis.statistics.trend import MIN_STEPS, Series
from phasescope.analysis.steps import EPOCH, step_of

from .kept_memory import Kept, Rates

if TYPE_CHECKING:
    from collections.abc import Iterator


Path = tuple[str, ...]

_NS_PER_HOUR = 3.6e12
_MAX_PATHS = 256  # on one device: a series each


class Timed:
    """A series, and the time from its first figure to its last."""

    def __init__(self) -> None:
        self.series = Series()
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def add(self, value: int, time_ns: int | None) -> None:
        """The next figure, in bytes."""
        self.series.add(value)
        if time_ns is not None:
            if self._first_ns is None:
                self._first_ns = time_ns
            self._last_ns = time_ns

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """When the first and the last figure were taken; None where that is not known."""
        return None if self._first_ns is None or self._last_ns is None else (self._first_ns, self._last_ns)

    @property
    def hours(self) -> float:
        """0 where that is not known."""
        span = self.span_ns
        return 0.0 if span is None else (span[1] - span[0]) / _NS_PER_HOUR


class Ends:
    """The ends of one phase. `own` is all that it ever kept by itself, `inner` what those inside it kept since it
    last ended: in bytes. `first` is how many phases of the device had ended for the first time before it did."""

    __slots__ = ("count", "first", "inner", "levels", "own", "parent", "total_ns")

    def __init__(self, parent: Ends | None) -> None:
        self.parent = parent
        self.levels = Timed()
        self.count = self.total_ns = self.own = self.inner = self.first = 0

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """When it ended first and last; None where that is not known."""
        return self.levels.span_ns


class Phases:
    """All phases of one device."""

    def __init__(self) -> None:
        self.ends: dict[Path, Ends] = {}
        self._in_order: list[tuple[Path, Ends]] = []  # in which they first ended
        self._beat: Ends | None = None  # at whose ends it is noted what all of them kept
        self._known = 0  # so many phases had ended when the steps began
        self._kept = Kept()

    def ended(self, path: Path, allocated: int, delta: int, time_ns: int | None, duration_ns: int) -> bool:
        """A phase has ended; whether the steps begin with that, as far as can be told."""
        ends = self.ends.get(path) or self._made(path)
        if ends is None:
            return False
        if not ends.count:
            ends.first = len(self._in_order)
            self._in_order.append((path, ends))
        ends.count += 1
        ends.total_ns += duration_ns
        ends.levels.add(allocated, time_ns)
        ends.own += delta - ends.inner
        ends.inner = 0
        if ends.parent is not None:
            ends.parent.inner += delta
        if ends is self._beat:
            self._kept.step(allocated, self._sums)
            return False
        count = ends.count
        return (count & (count - 1) == 0 or count == MIN_STEPS) and self._begins()

    def _made(self, path: Path) -> Ends | None:
        if len(self.ends) >= _MAX_PATHS:
            return None
        parent = (self.ends.get(path[:-1]) or self._made(path[:-1])) if len(path) > 1 else None
        ends = self.ends[path] = Ends(parent)
        return ends

    def _begins(self) -> bool:
        """Look anew whose entries are the steps, before there are enough of them too. Where these came after all that
        was noted so far (a loop that loads, say), it is noted anew, and so where they are around what beats the time.
        Else any of the phases does as well."""
        step = step_of(self.ends) or self._outermost(step_of(self.ends, 2))
        if step is None or not (self._beat is None or self._came_later(step) or self._is_around(step)):
            return False
        came_later = self._came_later(step)
        self._beat, self._kept = self.ends[step], Kept()
        self._known = len(self._in_order) if came_later else self._known
        return came_later

    def _came_later(self, step: Path) -> bool:
        return self.ends[step].first >= self._known

    def _is_around(self, step: Path) -> bool:
        inner = None if self._beat is None else self._beat.parent
        while inner is not None and inner is not self.ends[step]:
            inner = inner.parent
        return inner is not None

    def _outermost(self, step: Path | None) -> Path | None:
        """The phase around this one that has ended too: what ends first of a step is what is innermost."""
        around = [] if step is None else [step[:length] for length in range(1, len(step))]
        return next(
            (path for path in around if path[-1] != EPOCH and path in self.ends and self.ends[path].count), step
        )

    def _sums(self) -> array[int]:
        return array("q", [ends.own for _, ends in self._in_order])

    def most(self) -> tuple[Path, Ends] | None:
        """The phase whose entries are the steps, or would be if there were enough; None where none has ended."""
        step = step_of(self.ends) or step_of(self.ends, 2) or step_of(self.ends, 1)
        return None if step is None else (step, self.ends[step])

    def judged(self) -> tuple[Path, Ends] | None:
        """The phase whose entries are the steps; None where there are too few."""
        step = step_of(self.ends)
        return None if step is None else (step, self.ends[step])

    def rates(self) -> Rates | None:
        """How much the level rose per step of late, and what each phase kept of it; None: that is not known."""
        judged, rates = self.judged(), self._kept.rates()
        if judged is None or rates is None or self._beat is None:
            return None
        span, beats_span = judged[1].span_ns, self._beat.span_ns
        if span is not None and beats_span is not None and beats_span[1] < span[0]:
            return None  # what was noted is of a loop that was over before these steps began
        beats = self._beat.count / judged[1].count
        return Rates(rates.level * beats, [own * beats for own in rates.own])

    def retained(self, rates: Rates) -> Iterator[tuple[Path, float]]:
        """Each phase with what it keeps per step, in the order in which they first ended."""
        for (path, _), kept in zip(self._in_order, rates.own, strict=False):
            yield path, kept
