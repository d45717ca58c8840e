"""The phases that have ended on one device: the bytes allocated at each end, and what each phase kept by itself."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.statistics.trend import MIN_STEPS, StepSeries
from phasescope.analysis.steps import EPOCH, likely_step_of, step_of

from .end_batches import EndBatch
from .kept_memory import Kept, KeptSums, Rates
from .occasions import RARE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .end_batches import EndsOfPath


Path = tuple[str, ...]

_NS_PER_HOUR = 3.6e12
_MAX_PATHS = 256  # on one device: a series each


class Timed:
    """A series, and the time from its first figure to its last."""

    def __init__(self) -> None:
        self.series = StepSeries()
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def add(self, value: int, time_ns: int | None) -> None:
        """Add the next figure, in bytes."""
        self.series.add(value)
        if time_ns is not None:
            if self._first_ns is None:
                self._first_ns = time_ns
            self._last_ns = time_ns

    def extend(self, values: Sequence[int], times_ns: Sequence[int | None]) -> None:
        """Take the next figures, in bytes."""
        self.series.extend(values)
        bounds_ns = [time_ns for time_ns in (times_ns[0], times_ns[-1]) if time_ns is not None]
        if bounds_ns:
            self._first_ns = bounds_ns[0] if self._first_ns is None else self._first_ns
            self._last_ns = bounds_ns[-1]

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """The times of the first and the last figure; None if they are not known."""
        return None if self._first_ns is None or self._last_ns is None else (self._first_ns, self._last_ns)

    @property
    def hours(self) -> float:
        """The hours between them, 0 if that is not known."""
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
        """When it ended first and last; None if that is not known."""
        return self.levels.span_ns


def _is_a_mark(count: int, more: int) -> bool:
    """Return whether a power of two lies between, or the number of steps that a judgement takes."""
    return count.bit_length() != (count + more).bit_length() or count < MIN_STEPS <= count + more


class Noted(NamedTuple):
    """What was noted at each end of one phase, `per_step` of which are a step; `paths` are those of all phases, in the
    order of the sums."""

    kept: Kept
    paths: tuple[Path, ...]
    step: Path
    per_step: float


class Phases:
    """All phases of one device."""

    def __init__(self) -> None:
        self.ends: dict[Path, Ends] = {}
        self._in_order: list[tuple[Path, Ends]] = []  # in which they first ended
        self._beat: Ends | None = None  # at its ends the memory that all of them kept is noted
        self._known = 0  # how many phases had ended when the steps began
        self._kept = Kept()

    def ended(self, path: Path, allocated: int, delta: int, time_ns: int | None, duration_ns: int) -> bool:
        """Take the end of a phase; return whether the steps begin with it, as far as is known."""
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
            self._kept.steps((allocated,), lambda _: self._sums())
            return False
        count = ends.count
        return (count & (count - 1) == 0 or count == MIN_STEPS) and self._begins()

    def ended_many(self, ended: Sequence[EndsOfPath]) -> bool:
        """Take the ends of several phases at once.

        Returns False, and takes nothing, if one of them may change which phase is the step: then they must be taken one
        by one, in their order.
        """
        batches: dict[Ends, EndBatch] = {}
        for path, path_ends in ended:
            ends = self.ends.get(path)
            if ends is None or not ends.count or _is_a_mark(ends.count, len(path_ends)):
                return False
            batches[ends] = EndBatch(path_ends, ends.own, ends.inner)
        for ends, batch in batches.items():
            if ends.parent in batches:
                batches[ends.parent].inside.append(batch)
            ends.count += len(batch.places)
            ends.total_ns += sum(batch.durations_ns)
            ends.levels.extend(batch.levels, batch.times_ns)
        beat = None if self._beat is None else batches.get(self._beat)
        if beat is not None:
            places = beat.places
            self._kept.steps(beat.levels, lambda index: self._sums_at(places[index], batches))
        for ends, batch in batches.items():
            ends.own, ends.inner = batch.kept()
            if ends.parent is not None and ends.parent not in batches:
                ends.parent.inner += batch.changed
        return True

    def _sums_at(self, place: int, batches: Mapping[Ends, EndBatch]) -> KeptSums:
        own, counts = array("q"), array("q")
        for _, ends in self._in_order:
            batch = batches.get(ends)
            own.append(ends.own if batch is None else batch.own_at(place))
            counts.append(ends.count if batch is None else ends.count - batch.count_after(place))
        return KeptSums(own, counts)

    def _made(self, path: Path) -> Ends | None:
        if len(self.ends) >= _MAX_PATHS:
            return None
        parent = (self.ends.get(path[:-1]) or self._made(path[:-1])) if len(path) > 1 else None
        ends = self.ends[path] = Ends(parent)
        return ends

    def _begins(self) -> bool:
        """Decide again whose entries are the steps, even before there are enough of them.

        If these came after all that was noted so far (a loop that loads, say), or are around what beats the time, notes
        begin again. Else any of the phases does as well.
        """
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
        """Return the phase around this one that has ended too: of a step, the innermost phase ends first."""
        around = [] if step is None else [step[:length] for length in range(1, len(step))]
        return next(
            (path for path in around if path[-1] != EPOCH and path in self.ends and self.ends[path].count), step
        )

    def _sums(self) -> KeptSums:
        of_paths = [ends for _, ends in self._in_order]
        return KeptSums(array("q", [ends.own for ends in of_paths]), array("q", [ends.count for ends in of_paths]))

    def most(self) -> tuple[Path, Ends] | None:
        """Return the phase whose entries are the steps, or would be if there were enough; None if none has ended."""
        step = likely_step_of(self.ends)
        return None if step is None else (step, self.ends[step])

    def judged(self) -> tuple[Path, Ends] | None:
        """Return the phase whose entries are the steps; None if there are too few."""
        step = step_of(self.ends)
        return None if step is None else (step, self.ends[step])

    def rates(self) -> Rates | None:
        """Return how much the level rose per step recently, and what each phase kept of it; None if unknown."""
        noted = self.noted()
        rates = None if noted is None else noted.kept.rates()
        if noted is None or rates is None:
            return None
        return Rates(rates.level * noted.per_step, [own * noted.per_step for own in rates.own])

    def noted(self) -> Noted | None:
        """Return what was noted of these steps; None if nothing was."""
        judged = self.judged()
        if judged is None or self._beat is None:
            return None
        span, beats_span = judged[1].span_ns, self._beat.span_ns
        if span is not None and beats_span is not None and beats_span[1] < span[0]:
            return None  # the notes are of a loop that was over before these steps began
        paths = tuple(path for path, _ in self._in_order)
        return Noted(self._kept, paths, judged[0], self._beat.count / judged[1].count)

    def rare(self) -> set[Path]:
        """Return the phases that ended now and then, beside the steps."""
        beats = 0 if self._beat is None else self._beat.count
        return {path for path, ends in self._in_order if ends.count <= RARE * beats}

    def retained(self, rates: Rates) -> Iterator[tuple[Path, float]]:
        """Yield each phase with what it keeps per step, in the order in which they first ended."""
        for (path, _), kept in zip(self._in_order, rates.own, strict=False):
            yield path, kept
