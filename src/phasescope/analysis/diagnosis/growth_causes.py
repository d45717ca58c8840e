"""The causes that are memory which becomes more: from step to step, or within one phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import (
    change_text,
    count_text,
    duration_text,
    path_text,
    size_text,
)

from .cause import (
    GROWTH,
    PHASE_RISES,
    WORKERS_GROW,
    Cause,
)
from .ending import KILLED
from .growth import WORKERS
from .growth_text import called, where_it_stays

if TYPE_CHECKING:
    from .evidence import Evidence, Shortage
    from .growth import Growth
    from .open_phase_rise import Rise

_NS_PER_HOUR = 3.6e12


def of_growth(growth: Growth) -> Cause:
    """The cause that a growth is, in a sentence."""
    rate = change_text(round(growth.bytes_per_step))
    hour = f", {size_text(round(growth.bytes_per_hour))} an hour" if growth.bytes_per_hour else ""
    subject = called(growth)
    steps = f"over {count_text(growth.steps)} of them{where_it_stays(growth)}"
    text = f"{subject[0].upper()}{subject[1:]} grows: {rate} {per(growth)}{hour}, {steps}."
    return Cause(
        WORKERS_GROW if growth.device == WORKERS else GROWTH,
        text,
        figures={
            "bytes_per_step": round(growth.bytes_per_step),
            "low_bytes_per_step": round(growth.low_bytes_per_step),
            "high_bytes_per_step": round(growth.high_bytes_per_step),
            "steps": growth.steps,
        },
        growth=growth,
    )


def per(growing: Growth) -> str:
    """What a step is, of a growth: `per entry of step`."""
    return f"per entry of {path_text(growing.per)}" if growing.per else "per sample"


def rise_behind(evidence: Evidence, shortage: Shortage | None = None, on_host: bool | None = None) -> Rise | None:
    """The phase that was open and took more and more, where no steps inside of it tell better."""
    for rise in evidence.rises:
        is_there = on_host is None or (rise.device == "host") == on_host
        if not rise.rises or not is_there or (shortage is not None and rise.device != shortage.label):
            continue
        inside = (growth.per for growth in evidence.growth if growth.device == rise.device and growth.per)
        if not any(per[: len(rise.path)] == rise.path for per in inside):
            return rise
    return None


def of_rise(rise: Rise, evidence: Evidence) -> Cause:
    """The cause that such a phase is, in a sentence."""
    subject = "the process's memory on the host" if rise.device == "host" else f"memory on {rise.device}"
    took = (
        f"in the {duration_text(rise.open_ns)} since it began, {subject} rose from "
        f"{size_text(rise.before_bytes)} to {size_text(rise.highest_bytes)}, and it rose all the time"
    )
    text = f"{path_text(rise.path)} gathered memory for as long as it ran: {took}."
    if evidence.ending.kind == KILLED and not evidence.oom_kills:
        text = (
            f"Its process is gone without a word, and {path_text(rise.path)} was open: {took}. Whether that is why is "
            "not known."
        )
    figures = {"before_bytes": rise.before_bytes, "highest_bytes": rise.highest_bytes, "open_ns": rise.open_ns}
    return Cause(PHASE_RISES, text, figures=dict(figures), rise=rise)


def hours_text(hours: float) -> str:
    """`2.50 min`, `1.20 h`."""
    return duration_text(round(hours * _NS_PER_HOUR))
