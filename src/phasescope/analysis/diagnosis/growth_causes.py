"""The causes that are memory which becomes more: from step to step, or within one phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import (
    change_text,
    duration_text,
    path_text,
    size_text,
)
from phasescope.analysis.liveness import DISAPPEARED

from .cause import (
    GROWTH,
    PHASE_RISES,
    WORKERS_GROW,
    Cause,
)
from .census import main_keeper
from .census_text import keeper_text
from .ending import KILLED
from .growth import WORKERS
from .growth_text import called, span, where_it_stays

if TYPE_CHECKING:
    from .census import NewestCensus
    from .evidence import Evidence, LastShortage
    from .growth import Growth
    from .open_phase_rise import Rise

_NS_PER_HOUR = 3.6e12


def of_growth(growth: Growth, census: NewestCensus | None) -> Cause:
    """Return the cause that a growth is, in a sentence: with who keeps it, if that is known, else with the phase."""
    rate = change_text(round(growth.bytes_per_step))
    hour = f", {size_text(round(growth.bytes_per_hour))} an hour" if growth.bytes_per_hour else ""
    subject = called(growth)
    keeper, is_most = main_keeper(growth, census) or (None, False)
    by = "" if keeper is None else f". {'Most' if is_most else 'Part'} of it is kept by {keeper_text(keeper)}"
    where = by if is_most else f"{where_it_stays(growth)}{by}"
    text = f"{subject[0].upper()}{subject[1:]} grows: {rate} {per(growth)}{hour}, {span(growth)}{where}."
    return Cause(
        WORKERS_GROW if growth.device == WORKERS else GROWTH,
        text,
        figures={
            "bytes_per_step": round(growth.bytes_per_step),
            "low_bytes_per_step": round(growth.low_bytes_per_step),
            "high_bytes_per_step": round(growth.high_bytes_per_step),
            "steps": growth.steps,
            "recent_steps": growth.recent_steps,
        },
        growth=growth,
    )


def per(growing: Growth) -> str:
    """Name the step of a growth: `per entry of step`."""
    return f"per entry of {path_text(growing.per)}" if growing.per else "per sample"


def rise_behind(evidence: Evidence, shortage: LastShortage | None = None, on_host: bool | None = None) -> Rise | None:
    """Return the phase that was open and took more and more, if no steps inside it show it better."""
    for rise in evidence.rises:
        is_there = on_host is None or (rise.device == "host") == on_host
        if not rise.rises or not is_there or (shortage is not None and rise.device != shortage.label):
            continue
        inside = (growth.per for growth in evidence.growth if growth.device == rise.device and growth.per)
        if not any(per[: len(rise.path)] == rise.path for per in inside):
            return rise
    return None


def of_rise(rise: Rise, evidence: Evidence) -> Cause:
    """Return the cause that such a phase is, in a sentence."""
    subject = "the process's memory on the host" if rise.device == "host" else f"memory on {rise.device}"
    took = (
        f"in the {duration_text(rise.open_ns)} since it began, {subject} rose from "
        f"{size_text(rise.before_bytes)} to {size_text(rise.highest_bytes)}, and it rose all the time"
    )
    text = f"{path_text(rise.path)} gathered memory for as long as it ran: {took}."
    if evidence.ending.kind == KILLED and not evidence.oom_kills:
        text = (
            f"Its process {DISAPPEARED}, and {path_text(rise.path)} was open: {took}. Whether that is why is not known."
        )
    figures = {"before_bytes": rise.before_bytes, "highest_bytes": rise.highest_bytes, "open_ns": rise.open_ns}
    return Cause(PHASE_RISES, text, figures=dict(figures), rise=rise)


def hours_text(hours: float) -> str:
    """Format a time in hours: `2.50 min`, `1.20 h`."""
    return duration_text(round(hours * _NS_PER_HOUR))
