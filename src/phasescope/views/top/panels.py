"""The list of sessions, the ranks of one job, and the events that went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import (
    UNKNOWN,
    duration_text,
    elide,
    pad,
    path_text,
    printable,
    size_text,
    text_width,
)
from phasescope.analysis.text.commands import what_runs
from phasescope.analysis.text.job_text import behind, fattest, missing_ranks
from phasescope.analysis.text.state_word import state_word
from phasescope.views.catalogue import index_of_job
from phasescope.views.top.chart import clock
from phasescope.views.top.styled_line import StyledLine, cut, visible, which

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.jobs.job import Job, PhaseByRank, RankRow
    from phasescope.analysis.timeline.timeline import Mark
    from phasescope.views.catalogue import Entry
    from phasescope.views.top.session_list import SessionWatch

STATES = {
    "running": ("●", "good"),
    "silent": ("◌", "warn"),
    "finished": ("○", "ended"),
    "unknown": ("?", "ended"),
}
"""The sign and the role of an ending, by its kind; any other went wrong."""

_PHASE_SHARE = 0.26
_WIDE = 90
_CLEARLY_SLOWER = 1.05


def state_sign(kind: str) -> tuple[str, str]:
    """Return the sign and role of the kind of an ending."""
    return STATES.get(kind, ("✗", "bad"))


def session_list(watch: SessionWatch, width: int, height: int, now_ns: int | None = None) -> list[StyledLine]:
    """Return a line for each job, the chosen one marked, with its neighbours if not all fit."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    start = _first_shown(watch, height)
    rows = [_row(watch, job) for job in watch.jobs[start : start + height]]
    widths = _widths(rows, width)
    lines = [_job_line(watch, row, widths, width, now_ns) for row in rows]
    if lines and start + height < len(watch.jobs):
        more = f" +{len(watch.jobs) - start - height} more "
        lines[-1] = StyledLine(*cut(lines[-1], width - len(more)).parts, base=lines[-1].base)
        lines[-1].add(" " * (width - len(more) - lines[-1].width)).add(more, "dim")
    return lines


def shown_keys(watch: SessionWatch, height: int) -> list[str]:
    """Return the sessions of which the list shows something: of a job one phase, and how all ranks ended."""
    start = _first_shown(watch, height)
    shown = watch.jobs[start : start + height]
    over = [entry.key for job in shown for entry in job if entry.state != "running"]
    return list(dict.fromkeys([*(_speaker(watch, job).key for job in shown), *over]))


def _first_shown(watch: SessionWatch, height: int) -> int:
    index = index_of_job(watch.jobs, watch.key)
    return visible(-1 if index is None else index, len(watch.jobs), height)


def _speaker(watch: SessionWatch, job: Sequence[Entry]) -> Entry:
    """Return the rank whose phase and memory stand for the job: the chosen one, else the first that runs."""
    chosen = next((entry for entry in job if entry.key == watch.key), None)
    return chosen or next((entry for entry in job if entry.state == "running"), job[0])


class _JobRow(NamedTuple):
    """A job's cells: `ending` is the worst of its ranks', None as long as that is not known."""

    job: Sequence[Entry]
    entry: Entry
    ending: Ending | None
    state: str
    phase: str
    allocated: str


def _row(watch: SessionWatch, job: Sequence[Entry]) -> _JobRow:
    entry = _speaker(watch, job)
    glance = watch.glanced(entry.key)
    endings = [each.ending for rank in job if (each := watch.glanced(rank.key)) is not None and each.ending is not None]
    ending = max(endings, key=_badness, default=None)
    return _JobRow(
        job,
        entry,
        ending,
        UNKNOWN if ending is None else state_word(ending),
        UNKNOWN if glance is None or glance.phase is None else path_text(glance.phase),
        size_text(None if glance is None else glance.allocated_bytes),
    )


def _badness(ending: Ending) -> int:
    """Return what stands for a job: that a rank went wrong, else that one is silent, else that one runs."""
    if ending.is_over:
        return 0 if ending.is_good else 3
    return 1 if ending.is_good else 2


def _job_line(watch: SessionWatch, row: _JobRow, widths: _Widths, width: int, now_ns: int) -> StyledLine:
    is_chosen = any(rank.key == watch.key for rank in row.job)
    sign, role = state_sign("unknown" if row.ending is None else row.ending.kind)
    pid = row.entry.constants.get("pid")
    line = StyledLine(
        ("▸ " if is_chosen else "  ", "title"), (f"{sign} ", role), base="cursor" if is_chosen else "base"
    )
    line.add(pad(str(pid) if type(pid) is int else UNKNOWN, 8, right=True), "text" if not is_chosen else "strong")
    line.add("  " + pad(row.state, widths.state), role)
    if widths.age:
        line.add("  " + pad(_age(row.entry, now_ns), widths.age, right=True), "dim" if not is_chosen else "text")
    if widths.ranks:
        line.add("  " + pad(_rank_text(row.job), widths.ranks, right=True))
    line.add("  " + pad(elide(row.phase, widths.phase), widths.phase))
    line.add("  " + pad(row.allocated, 9, right=True) + "  ")
    return line.add(clipped(what_runs(row.entry.constants), width - line.width), "text" if is_chosen else "dim")


class _Widths(NamedTuple):
    """The columns' widths; 0: the column is left out."""

    state: int
    age: int
    ranks: int
    phase: int


def _widths(rows: Sequence[_JobRow], width: int) -> _Widths:
    """Return as little as the rows that are shown need: the rest is the command's."""
    return _Widths(
        state=max((text_width(row.state) for row in rows), default=0),
        age=9 if width >= _WIDE else 0,
        ranks=8 if any(len(row.job) > 1 for row in rows) else 0,
        phase=min(max(8, int(width * _PHASE_SHARE)), max((text_width(row.phase) for row in rows), default=0)),
    )


def _age(entry: Entry, now_ns: int) -> str:
    """Return how long a session has been running, or how long ago one that is over began."""
    started_ns = entry.constants.get("started_ns")
    return duration_text(max(0, now_ns - started_ns)) if type(started_ns) is int else UNKNOWN


def _rank_text(job: Sequence[Entry]) -> str:
    return f"{len(job)} ranks" if len(job) > 1 else ""


def clipped(text: str, width: int) -> str:
    """Return as much of the beginning of a text as fits."""
    if text_width(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while kept and text_width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…" if width > 0 else ""


def ranks_table(job: Job, chosen_pid: int | None, width: int, height: int, scroll: int) -> list[StyledLine]:
    """Return a line for each rank, then how they differ."""
    phase_width = max(10, width - 60)
    titles = f"  {'rank':>5} {'pid':>8}  {'steps':>9}  {'behind':>7} {'allocated':>10} {'peak':>9}  "
    rows = [_rank_line(row, index, job, chosen_pid, phase_width) for index, row in enumerate(job.ranks)]
    rows += [StyledLine(("  " + remark, "dim")) for remark in remarks(job)]
    rows += _by_rank(job, width)
    shown = rows[scroll : scroll + max(0, height - 1)]
    last = elide(f"phase{which(scroll, len(shown), len(rows))}", phase_width)
    return [StyledLine((titles + pad(last, phase_width), "dim")), *shown]


def _rank_line(row: RankRow, index: int, job: Job, chosen_pid: int | None, phase_width: int) -> StyledLine:
    sign, role = state_sign(row.ending.kind)
    is_chosen = row.pid == chosen_pid
    line = StyledLine((sign + " ", role), base="cursor" if is_chosen else "base")
    device = row.devices[0] if row.devices else None
    line.add(f"{UNKNOWN if row.rank is None else row.rank:>5} {UNKNOWN if row.pid is None else row.pid:>8}  ")
    line.add(f"{UNKNOWN if row.steps is None else f'{row.steps:,}':>9}  ")
    lag = UNKNOWN if row.steps_behind is None else str(row.steps_behind)
    line.add(f"{lag:>7} ", "warn" if index == job.behind else "text")
    line.add(f"{size_text(None if device is None else device.allocated_bytes):>10} ")
    line.add(f"{size_text(row.peak_allocated_bytes):>9}  ", "warn" if index == job.fattest else "text")
    phase = UNKNOWN if row.phase is None else path_text(row.phase)
    return line.add(elide(phase if not row.ending.is_over else row.ending.text, phase_width))


def remarks(job: Job) -> list[str]:
    """Return the outliers among the ranks, for a person."""
    lines = [*missing_ranks(job), *fattest(job), *behind(job)]
    if len(job.hosts) > 1:
        lines.append(f"{len(job.hosts)} hosts; {job.clocks.text}")
    return lines


def _by_rank(job: Job, width: int) -> list[StyledLine]:
    """Return the phases in which the ranks differ most, the worst first."""
    slow = [phase for phase in job.phases if phase.slowest is not None and (phase.slowdown or 0) >= _CLEARLY_SLOWER]
    slow.sort(key=lambda phase: phase.slowdown or 0, reverse=True)
    return [_phase_line(phase, job, width) for phase in slow]


def _phase_line(phase: PhaseByRank, job: Job, width: int) -> StyledLine:
    rank = phase.slowest or 0
    cell = phase.cells[rank]
    text = f"{phase.slowdown:.2f} × the median, {duration_text(None if cell is None else cell.mean_ns)} on average"
    name_width = max(8, width - len(text) - 24)
    line = StyledLine((f"  {elide(path_text(phase.path), name_width)}", "text"))
    return line.add(f"  slowest on rank {job.ranks[rank].rank}: ", "dim").add(text, "dim")


def alert_lines(marks: Sequence[Mark], width: int, height: int) -> list[StyledLine]:
    """Return the newest warnings and errors, the newest last."""
    return [_mark_line(mark, width) for mark in marks[-height:]] if height > 0 else []


def event_lines(marks: Sequence[Mark], width: int, height: int, scroll: int) -> list[StyledLine]:
    """Return all events that are worth a mark, the newest first."""
    newest_first = list(reversed(marks))
    lines = [_mark_line(mark, width) for mark in newest_first[scroll : scroll + height]]
    return lines or [StyledLine(("  no warnings, no errors", "dim"))]


def _mark_line(mark: Mark, width: int) -> StyledLine:
    role = {"error": "bad", "critical": "bad", "warning": "warn", "collector_degraded": "warn"}.get(
        mark.event_type, "dim"
    )
    sign = "▲" if role in ("bad", "warn") else "·"
    line = StyledLine((f"  {sign} {clock(mark.timestamp_ns)} ", role), (printable(mark.event_type), role))
    line.add(f" {printable(mark.device)}" if mark.device else "", "dim")
    text = mark.context or mark.error_type or ""
    line.add(f"  {printable(text)}" if text else "")
    if mark.path:
        line.add(f"  in {elide(path_text(mark.path), 60)}", "dim")
    return cut(line, width)
