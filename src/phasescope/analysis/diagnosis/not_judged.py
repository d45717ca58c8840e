"""Why nothing can be said of growth, by the entries that a summary counts: also those that growth is not judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import count_text, path_text
from phasescope.analysis.statistics.trend import MIN_STEPS
from phasescope.analysis.steps import Entries, step_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phasescope.analysis.summary.phase_tree import Row


@dataclass
class _Ended:
    count: int
    total_ns: int

    @property
    def span_ns(self) -> None:
        """Unknown: a summary does not have it."""


def why_not_judged(rows: Iterable[Row], waiting: int, *, is_over: bool) -> str:
    """Return the end of a sentence, for a session in which no device can be judged: the reason, and what would help.

    `waiting` ends of phases came after the last sample that says how much of the host's figures is mapped from files.
    """
    rows = tuple(rows)
    entries: dict[tuple[str, ...], Entries] = {
        row.path: _Ended(row.count, row.total_ns or 0) for row in rows if row.path and row.count
    }
    step = step_of(entries) or step_of(entries, 2) or step_of(entries, 1)
    if step is None:
        return _without_entries(is_open=any(row.open for row in rows), is_over=is_over)
    times = f"{path_text(step)} ended {_times(entries[step].count)}{'' if is_over else ' so far'}"
    if entries[step].count < MIN_STEPS:
        return f"too few steps to tell ({times}, and {MIN_STEPS} are needed){'; train for longer' if is_over else ''}"
    if waiting and is_over:
        return f"too short a run to tell ({times}, with no sample of the host's memory after it); train for longer"
    if waiting:
        return f"too early to tell ({times}, with no sample of the host's memory after it); ask again in a second"
    return f"{times}, and its memory was never measured; see `phasescope doctor`"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count_text(count)} times"


def _without_entries(*, is_open: bool, is_over: bool) -> str:
    if is_open and not is_over:
        return "no phase has ended so far"
    what = "no phase has ended" if is_open else "no phase was entered"
    return f'{what}; put one around each step (`with phase("step"):`)'
