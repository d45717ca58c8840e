"""Why nothing can be said of growth, by the entries that a summary counts: also those that growth is not judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import device_of, is_host, size_or_none, unavailable
from phasescope.analysis.formatting import path_text, size_text, times_text
from phasescope.analysis.statistics.trend import MIN_STEPS, SURE_STEPS
from phasescope.analysis.steps import Entries, step_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.summary.phase_tree import Row


_COUNTER = "allocator_allocated_bytes"
_LEAST_BYTES = 64 << 20
_LEAST_SHARE = 0.5  # of what it was at first


class SampledHost:
    """This process's resident set by the first and the newest sample: all that is known of a run without phases."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._newest = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        if event.get("event_type") != "sample" or not is_host(*(device_of(event) or ("", -1))):
            return
        size = size_or_none(event.get(_COUNTER))
        if size is not None and _COUNTER not in unavailable(event):
            self._first = size if self._first is None else self._first
            self._newest = size

    def rise_text(self) -> str:
        """Return how far it rose, as a part of a sentence; empty if that is little."""
        if self._first is None or self._newest - self._first < max(_LEAST_BYTES, _LEAST_SHARE * self._first):
            return ""
        rise = f"from {size_text(self._first)} to {size_text(self._newest)}"
        return f"while its memory rose {rise} (loading does that too)"


@dataclass
class _EndedEntries:
    count: int
    total_ns: int

    @property
    def span_ns(self) -> None:
        """Unknown: a summary does not have it."""


def why_not_judged(
    rows: Iterable[Row], waiting: int, *, is_over: bool, has_failed: bool = False, host: SampledHost | None = None
) -> str:
    """Return the end of a sentence, for a session in which no device can be judged: the reason, and what would help.

    `waiting` ends of phases came after the last sample that says how much of the host's figures is mapped from files.
    `host` is what the samples say. If an error ended it (`has_failed`), a longer run is no help.
    """
    rows = tuple(rows)
    entries: dict[tuple[str, ...], Entries] = {
        row.path: _EndedEntries(row.count, row.total_ns or 0) for row in rows if row.path and row.count
    }
    step = step_of(entries) or step_of(entries, 2) or step_of(entries, 1)
    if step is None:
        rise = "" if host is None else host.rise_text()
        if has_failed and not any(row.open for row in rows):
            return ", ".join(part for part in ("no phase had begun when it ended", rise) if part)
        return _without_entries(rise, is_open=any(row.open for row in rows), is_over=is_over)
    times = f"{path_text(step)} ended {times_text(entries[step].count)}{'' if is_over else ' so far'}"
    if entries[step].count < MIN_STEPS:
        advice = "; train for longer" if is_over and not has_failed else ""
        return f"too few steps to tell ({times}, and {SURE_STEPS} are needed){advice}"
    if waiting and is_over:
        return f"too short a run to tell ({times}, with no sample of the host's memory after it); train for longer"
    if waiting:
        return f"too early to tell ({times}, with no sample of the host's memory after it); ask again in a second"
    return f"{times}, and its memory was never measured; see `phasescope doctor`"


def _without_entries(rise: str, *, is_open: bool, is_over: bool) -> str:
    if is_open and not is_over:
        return "no phase has ended so far"
    what = " ".join(part for part in ("no phase has ended" if is_open else "no phase was entered", rise) if part)
    return f'{what}; put one around each step (`with phase("step"):`)'
