"""Memory that rises within one entry of a phase that has not ended: an evaluation that gathers all it computes.

Such a phase has no steps to compare. The samples since it began show it: a phase that gathers rises on and on,
and one that loads once does not.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.devices import device_row
from phasescope.analysis.event_fields import device_of, int_or_none

from .reclaimable import Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phasescope.analysis.spans import Span

_MOST_LEVELS = 2048
_MAX_DEVICES = 64
_MAX_LEFT = 64
_FEWEST_SAMPLES = 48
_QUARTERS = 4
_RISING = 2  # of the three steps between them
_QUARTER_SHARE = 0.08  # of the memory that stays: the least step up
_STAYS_SHARE = 0.33  # of the whole rise, of the last quarter's least
_LEAST_BYTES = 64 << 20
_LEAST_AT_START_BYTES = 1 << 30
_LEAST_SHARE = 0.2  # of the memory allocated in the end
_MOST_OF_IT = 0.8  # the innermost phase with this share of the rise is the one
_HOST = "host"


@dataclass(frozen=True)
class Rise:
    """One phase that was open at the end, or is now, and the bytes allocated on a device when it began and at its
    highest since. `rises` is whether it rose all the time."""

    device: str
    path: tuple[str, ...]
    open_ns: int
    before_bytes: int
    highest_bytes: int
    rises: bool

    @property
    def risen_bytes(self) -> int:
        """The bytes by which it rose."""
        return self.highest_bytes - self.before_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the rise as JSON types."""
        return {**asdict(self), "path": list(self.path), "risen_bytes": self.risen_bytes}


class RiseFold:
    """Takes samples, and the phases that did not end well, in bounded memory."""

    def __init__(self) -> None:
        self._levels: dict[str, _Levels] = {}
        self._left: list[Span] = []
        self._ended: tuple[tuple[str, ...], ...] = ()
        self._files = Files()
        self._off = 0

    def take(self, event: Mapping[str, Any], span: Span | None) -> None:
        """Take the next event and the span that it ends, if any."""
        if event.get("event_type") == "sample":
            self._sample(event)
        elif span is not None and span.status != "ok":
            self._left = [*self._left[1 - _MAX_LEFT :], span]

    def _sample(self, event: Mapping[str, Any]) -> None:
        time_ns = int_or_none(event.get("timestamp_ns"))
        if time_ns is None or device_of(event) is None:
            return
        row = device_row(event)
        label, allocated = row.label, row.allocated_bytes
        if label == _HOST:
            mapped = self._files.of(event)
            self._off = self._off if mapped is None else mapped - self._files.swapped_bytes
            allocated = None if allocated is None else max(0, allocated - self._off)
        if allocated is not None and (label in self._levels or len(self._levels) < _MAX_DEVICES):
            self._levels.setdefault(label, _Levels()).add(time_ns, allocated)

    def result(
        self,
        open_spans: Iterable[Span],
        path: Sequence[str] | None,
        until_ns: int | None,
        ended: Iterable[tuple[str, ...]] = (),
    ) -> tuple[Rise, ...]:
        """Return the rise of each device on which memory rose in a phase that is open; the largest first.

        Or in one that was open when the exception that ended the session came out of `path`. `ended` are the phases
        that have ended at all.
        """
        self._ended = tuple(ended)
        spans = [span for span in open_spans if span.entered and span.start_ns is not None]
        if not spans and path is not None:
            spans = self._left_with(tuple(path))
        rises = [rise for label in self._levels if (rise := self._on(label, spans, until_ns)) is not None]
        return tuple(sorted(rises, key=lambda rise: -rise.risen_bytes))

    def _left_with(self, path: tuple[str, ...]) -> list[Span]:
        """Return the last phases that were left together, the outer before the inner."""
        last: dict[tuple[str, ...], Span] = {}
        for span in self._left:
            if span.path == path[: len(span.path)] and span.start_ns is not None:
                last[span.path] = span
        return sorted(last.values(), key=lambda span: len(span.path))

    def _on(self, label: str, spans: Sequence[Span], until_ns: int | None) -> Rise | None:
        rises = [rise for span in spans if (rise := self._of(label, span, until_ns)) is not None]
        if not rises:
            return None
        whole = max(rises, key=lambda rise: rise.risen_bytes)
        if whole.risen_bytes <= 0:
            return None
        inner = [rise for rise in rises if rise.risen_bytes >= _MOST_OF_IT * whole.risen_bytes]
        innermost = max(inner, key=lambda rise: len(rise.path))
        least = max(_LEAST_BYTES, _LEAST_SHARE * innermost.highest_bytes)
        if not self._is_after_start(innermost.path):
            least = max(least, _LEAST_AT_START_BYTES)
        return innermost if innermost.risen_bytes >= least else None

    def _is_after_start(self, path: tuple[str, ...]) -> bool:
        """Return whether any phase outside of this one has ended: else it may be imports and loading that rise."""
        return any(ended[: len(path)] != path for ended in self._ended)

    def _of(self, label: str, span: Span, until_ns: int | None) -> Rise | None:
        start_ns = span.start_ns
        end_ns = span.end_ns if span.end_ns is not None else until_ns
        if start_ns is None or end_ns is None:
            return None
        before, levels = self._levels[label].between(start_ns, end_ns)
        if before is None or not levels:
            return None
        highest = max(levels)
        return Rise(label, span.path, max(0, end_ns - start_ns), before, highest, _rises(before, levels))


class _Levels:
    """The allocated bytes of a device over time: all samples while they are few, then every n-th."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int]] = []
        self._one_in = self._passed = 1

    def add(self, time_ns: int, allocated: int) -> None:
        self._passed += 1
        if self._passed >= self._one_in:
            self._passed = 0
            self._kept.append((time_ns, allocated))
            if len(self._kept) >= _MOST_LEVELS:
                self._kept = self._kept[::2]
                self._one_in *= 2

    def between(self, start_ns: int, end_ns: int) -> tuple[int | None, list[int]]:
        """Return the last level before, else the first one from then on, and those from then on to the end."""
        before = next((level for time_ns, level in reversed(self._kept) if time_ns <= start_ns), None)
        levels = [level for time_ns, level in self._kept if start_ns < time_ns <= end_ns]
        return (levels[0] if before is None and levels else before), levels


def _rises(before: int, levels: Sequence[int]) -> bool:
    """Return whether the least of each quarter of the time rises from one to the next, mostly, and in the end stays.

    Memory that comes and goes has highs, but its lows do not rise.
    """
    if len(levels) < _FEWEST_SAMPLES:
        return False
    bounds = [quarter * len(levels) // _QUARTERS for quarter in range(_QUARTERS + 1)]
    lows = [min(levels[begin:end]) for begin, end in itertools.pairwise(bounds)]
    steps = [after - low for low, after in zip([before, *lows], lows, strict=False)]
    stays = lows[-1] - before
    least = _QUARTER_SHARE * stays
    rising = [step >= least > 0 for step in steps[1:]]
    return sum(rising) >= _RISING and rising[-1] and stays >= _STAYS_SHARE * (max(levels) - before)
