"""The list of sessions, the ranks of one job, and what went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from phasescope.analysis.diagnosis.growth_text import called, where_it_stays
from phasescope.analysis.formatting import (
    UNKNOWN,
    duration_text,
    elide,
    pad,
    path_text,
    plural,
    printable,
    size_text,
    text_width,
)
from phasescope.views.top.chart import clock
from phasescope.views.top.styled_line import Line, cut, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from phasescope.analysis.diagnosis.growth import Growth
    from phasescope.analysis.jobs.job import Job, PhaseByRank, RankRow
    from phasescope.analysis.timeline.timeline import Mark
    from phasescope.views.catalogue import Entry
    from phasescope.views.top.session_list import Watch

STATES = {
    "running": ("●", "good"),
    "silent": ("◌", "warn"),
    "finished": ("○", "ended"),
    "stopped": ("○", "ended"),
    "dead": ("✗", "bad"),
    "unknown": ("?", "ended"),
}
"""The sign and the role of a state or an ending; what is not in it went wrong."""

_LONGEST_COMMAND = 300
_PHASE_SHARE = 0.26
_CLEARLY_SLOWER = 1.05


def state_sign(state: str) -> tuple[str, str]:
    """How a state, or the kind of an ending, is shown."""
    return STATES.get(state, ("✗", "bad"))


def session_list(watch: Watch, width: int, height: int, now_ns: int | None = None) -> list[Line]:
    """A line a job, the chosen one marked, with its neighbours where not all fit."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    at = next((at for at, job in enumerate(watch.jobs) if any(entry.key == watch.key for entry in job)), -1)
    start = visible(at, len(watch.jobs), height)
    lines = [_job_line(watch, job, width, now_ns) for job in watch.jobs[start : start + height]]
    if lines and start + height < len(watch.jobs):
        more = f" +{len(watch.jobs) - start - height} more "
        lines[-1] = Line(*cut(lines[-1], width - len(more)).parts, base=lines[-1].base)
        lines[-1].add(" " * (width - len(more) - lines[-1].width)).add(more, "dim")
    return lines


def shown_keys(watch: Watch, height: int) -> list[str]:
    """The sessions of which the list shows something."""
    at = next((at for at, job in enumerate(watch.jobs) if any(entry.key == watch.key for entry in job)), -1)
    start = visible(at, len(watch.jobs), height)
    return [_speaker(watch, job).key for job in watch.jobs[start : start + height]]


def _speaker(watch: Watch, job: Sequence[Entry]) -> Entry:
    """Whose phase and memory stand for the job: the chosen rank's, else those of the first that runs."""
    chosen = next((entry for entry in job if entry.key == watch.key), None)
    return chosen or next((entry for entry in job if entry.state == "running"), job[0])


def _job_line(watch: Watch, job: Sequence[Entry], width: int, now_ns: int) -> Line:
    entry = _speaker(watch, job)
    is_chosen = any(rank.key == watch.key for rank in job)
    states = {rank.state for rank in job}
    state = next((state for state in ("dead", "running", "stopped") if state in states), entry.state)
    sign, role = state_sign(state)
    glance = watch.glanced(entry.key)
    phase = UNKNOWN if glance is None or glance.phase is None else path_text(glance.phase)
    allocated = size_text(None if glance is None else glance.allocated_bytes)
    pid = entry.constants.get("pid")
    phase_width = max(8, int(width * _PHASE_SHARE))
    line = Line(("▸ " if is_chosen else "  ", "title"), (f"{sign} ", role), base="cursor" if is_chosen else "base")
    line.add(pad(str(pid) if type(pid) is int else UNKNOWN, 8, right=True), "text" if not is_chosen else "strong")
    line.add(" " + pad(_age(entry, now_ns), 9, right=True), "dim" if not is_chosen else "text")
    line.add(" " + pad(_rank_text(job), 8, right=True))
    line.add("  " + pad(elide(phase, phase_width), phase_width))
    line.add(" " + pad(allocated, 9, right=True) + "  ")
    return line.add(clipped(what_runs(entry.constants), width - line.width), "text" if is_chosen else "dim")


def _age(entry: Entry, now_ns: int) -> str:
    started_ns = entry.constants.get("started_ns")
    if entry.state != "running" or type(started_ns) is not int:
        return {"dead": "died", "stopped": "finished", "running": ""}.get(entry.state, "recorded")
    return duration_text(max(0, now_ns - started_ns))


def _rank_text(job: Sequence[Entry]) -> str:
    return f"{len(job)} ranks" if len(job) > 1 else ""


def command_of(constants: Mapping[str, Any]) -> str:
    """The session's command on one harmless line, the program without its directory."""
    command = constants.get("command")
    words = [word for word in (command if isinstance(command, list) else [command])[:64] if isinstance(word, str)]
    words[:1] = [word.rpartition("/")[2] or word for word in words[:1]]
    return " ".join(printable(word[:_LONGEST_COMMAND]) for word in words)[:_LONGEST_COMMAND]


def what_runs(constants: Mapping[str, Any]) -> str:
    """The command without the interpreter before it."""
    program, _, rest = command_of(constants).partition(" ")
    if not rest or not program.startswith("python"):
        return f"{program} {rest}".rstrip()
    script, _, options = rest.partition(" ")
    return f"{script.rpartition('/')[2] or script} {options}".rstrip()


def clipped(text: str, width: int) -> str:
    """As much of the beginning of a text as fits."""
    if text_width(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while kept and text_width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…" if width > 0 else ""


def ranks_table(job: Job, chosen_pid: int | None, width: int, height: int, scroll: int) -> list[Line]:
    """A line a rank, then how they differ."""
    phase_width = max(10, width - 60)
    titles = f"  {'rank':>5} {'pid':>8} {'steps':>9} {'behind':>7} {'allocated':>10} {'peak':>9}  "
    lines = [Line((titles + pad("phase", phase_width), "dim"))]
    rows = [_rank_line(row, at, job, chosen_pid, phase_width) for at, row in enumerate(job.ranks)]
    rows += [Line(("  " + remark, "dim")) for remark in remarks(job)]
    rows += _by_rank(job, width)
    return lines + rows[scroll : scroll + max(0, height - 1)]


def _rank_line(row: RankRow, at: int, job: Job, chosen_pid: int | None, phase_width: int) -> Line:
    sign, role = state_sign(row.ending.kind)
    is_chosen = row.pid == chosen_pid
    line = Line((sign + " ", role), base="cursor" if is_chosen else "base")
    device = row.devices[0] if row.devices else None
    line.add(f"{UNKNOWN if row.rank is None else row.rank:>5} {UNKNOWN if row.pid is None else row.pid:>8} ")
    line.add(f"{UNKNOWN if row.steps is None else f'{row.steps:,}':>9} ")
    behind = UNKNOWN if row.steps_behind is None else str(row.steps_behind)
    line.add(f"{behind:>7} ", "warn" if at == job.behind else "text")
    line.add(f"{size_text(None if device is None else device.allocated_bytes):>10} ")
    line.add(f"{size_text(row.peak_allocated_bytes):>9}  ", "warn" if at == job.fattest else "text")
    phase = UNKNOWN if row.phase is None else path_text(row.phase)
    return line.add(elide(phase if not row.ending.is_over else row.ending.text, phase_width))


def remarks(job: Job) -> list[str]:
    """What stands out among the ranks, for a person."""
    found = []
    if job.fattest is not None:
        row = job.ranks[job.fattest]
        found.append(f"rank {row.rank} uses the most: {size_text(row.peak_allocated_bytes)} at its peak")
    if job.behind is not None:
        row = job.ranks[job.behind]
        found.append(f"rank {row.rank} is {plural(row.steps_behind or 0, 'step')} behind")
    if job.missing:
        found.append(f"{plural(len(job.missing), 'rank')} of {job.world_size} not here")
    if len(job.hosts) > 1:
        found.append(f"{len(job.hosts)} hosts; {job.clocks.text}")
    return found


def _by_rank(job: Job, width: int) -> list[Line]:
    """The phases in which the ranks differ most, the worst first."""
    slow = [phase for phase in job.phases if phase.slowest is not None and (phase.slowdown or 0) >= _CLEARLY_SLOWER]
    slow.sort(key=lambda phase: phase.slowdown or 0, reverse=True)
    return [_phase_line(phase, job, width) for phase in slow]


def _phase_line(phase: PhaseByRank, job: Job, width: int) -> Line:
    at = phase.slowest or 0
    cell = phase.cells[at]
    text = f"{phase.slowdown:.2f} × the median, {duration_text(None if cell is None else cell.mean_ns)} on average"
    name_width = max(8, width - len(text) - 24)
    line = Line((f"  {elide(path_text(phase.path), name_width)}", "text"))
    return line.add(f"  slowest on rank {job.ranks[at].rank}: ", "dim").add(text, "dim")


def alert_lines(
    marks: Sequence[Mark], growth: Sequence[Growth], width: int, height: int, is_over: bool = False
) -> list[Line]:
    """The newest warnings and errors, the newest last; memory that grows is one of them."""
    lines = [cut(_growth_line(found, is_over), width) for found in growth if found.grows][:1]
    room = height - len(lines)
    lines += [_mark_line(mark, width) for mark in marks[-room:]] if room > 0 else []
    return lines[:height]


def event_lines(marks: Sequence[Mark], width: int, height: int, scroll: int) -> list[Line]:
    """All that is worth a mark, the newest first."""
    newest_first = list(reversed(marks))
    found = [_mark_line(mark, width) for mark in newest_first[scroll : scroll + height]]
    return found or [Line(("  no warnings, no errors", "dim"))]


def _growth_line(found: Growth, is_over: bool) -> Line:
    whose = printable(called(found))
    line = Line(("  ▲ ", "warn"), (f"{whose[0].upper()}{whose[1:]} {'grew' if is_over else 'grows'} ", "warn"))
    line.add(f"by {size_text(round(found.bytes_per_step))} a {'sample' if found.per is None else 'step'}")
    if found.hours_until_full is not None and not is_over:
        line.add(f", full in {duration_text(int(min(found.hours_until_full, 1e6) * 3.6e12))}", "warn")
    return line.add(where_it_stays(found), "dim")


def _mark_line(mark: Mark, width: int) -> Line:
    role = {"error": "bad", "critical": "bad", "warning": "warn", "collector_degraded": "warn"}.get(
        mark.event_type, "dim"
    )
    sign = "▲" if role in ("bad", "warn") else "·"
    line = Line((f"  {sign} {clock(mark.timestamp_ns)} ", role), (printable(mark.event_type), role))
    line.add(f" {printable(mark.device)}" if mark.device else "", "dim")
    text = mark.context or mark.error_type or ""
    line.add(f"  {printable(text)}" if text else "")
    if mark.path:
        line.add(f"  in {elide(path_text(mark.path), 60)}", "dim")
    return cut(line, width)
