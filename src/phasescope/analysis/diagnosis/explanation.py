"""From figures to the answer: what happened, what held the memory, which phase, what to try, what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import (
    change_text,
    count_text,
    duration_text,
    elide,
    path_text,
    plural,
    printable,
    size_text,
)

from .advice import advice
from .cause import FAILED, NONE
from .causes import cause, is_growth_known
from .ending import DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY
from .growth_causes import hours_text
from .host_limits import LIMITS, own_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.analysis.breakdown import Breakdown

    from .cause import Cause
    from .ending import Ending
    from .evidence import Evidence
    from .growth import Growth
    from .open_phase_rise import Rise

SCHEMA_VERSION = 1
"""Of `Explanation.to_dict()`; a key may be added without a new version."""

_MOST_PHASES = 5
_LONGEST_WORDS = 240
_LEAST_MAPPED_BYTES = 256 << 20
_MUCH = 0.3  # of the resident set: the pages of an interpreter's own libraries are less


@dataclass(frozen=True)
class Explanation:
    """The answer. `held`, `phases`, `advice` and `unknown` are lines for a person, most important first, and so
    are `ranks`: of other ranks of its job that ended badly, where whoever asked has looked at them."""

    cause: Cause
    happened: str
    held: tuple[str, ...]
    phases: tuple[str, ...]
    advice: tuple[str, ...]
    unknown: tuple[str, ...]
    evidence: Evidence
    ranks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; docs/explain.md has the schema."""
        evidence = self.evidence
        return {
            "schema_version": SCHEMA_VERSION,
            "session_id": evidence.summary.session_id,
            "pid": evidence.summary.pid,
            "host": evidence.summary.host,
            "rank": evidence.summary.rank,
            "cause": {
                "kind": self.cause.kind,
                "text": self.cause.text,
                "certain": self.cause.certain,
                "figures": self.cause.figures,
            },
            "ending": evidence.ending.to_dict(),
            "happened": self.happened,
            "held": list(self.held),
            "phases": list(self.phases),
            "advice": list(self.advice),
            "unknown": list(self.unknown),
            "growth": [growth.to_dict() for growth in evidence.growth],
            "rises": [rise.to_dict() for rise in evidence.rises],
            "out_of_memory": evidence.shortages,
        }

    def __str__(self) -> str:
        lines = [self.cause.text]
        for title, found in (
            ("what happened", (self.happened, *_words(self.evidence.ending))),
            ("other ranks of its job", self.ranks),
            ("what held the memory", self.held),
            ("which phase", self.phases),
            ("what to try first", self.advice),
            ("what is not known", self.unknown),
        ):
            if found:
                lines += ["", title, *(f"  {line}" for line in found)]
        return "\n".join(lines)


def explain(evidence: Evidence) -> Explanation:
    """The explanation of one session."""
    why = cause(evidence)
    return Explanation(
        cause=why,
        happened=_happened(evidence),
        held=tuple(_held(evidence)),
        phases=tuple(_phases(evidence, why)),
        advice=advice(why, evidence),
        unknown=tuple(_unknown(evidence)),
        evidence=evidence,
    )


def _happened(evidence: Evidence) -> str:
    ending = evidence.ending
    text = ending.text
    if ending.kind not in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY) and evidence.shortages:
        text += f"; memory ran out {plural(evidence.shortages, 'time')} before, and the training went on"
    if ending.open_phases and ending.kind != "running":
        text += f"; open: {path_text(ending.open_phases[-1].path)}"
    return text


def _words(ending: Ending) -> Iterator[str]:
    """What the exception says, where the line above does not have it: of one about memory."""
    if ending.context and ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY):
        yield f"it said: {elide(printable(ending.context), _LONGEST_WORDS)}"


def _held(evidence: Evidence) -> Iterator[str]:
    shortage = evidence.shortage
    if shortage is not None:
        yield from _parts(shortage.label, shortage.breakdown)
        name, limit = own_limit(shortage)
        if limit is not None:
            yield f"the process's own limit: {size_text(limit)} ({LIMITS[name]})"
        return
    for device in evidence.summary.devices:
        yield from _parts(device.label, device.breakdown)
        if device.label == "host":
            yield from _mapped(evidence.mapped_bytes, device.allocated_bytes)


def _mapped(mapped_bytes: int | None, resident_bytes: int | None) -> Iterator[str]:
    """What of the process's resident set is no memory of its own, where that is much."""
    if mapped_bytes and resident_bytes and mapped_bytes >= max(_LEAST_MAPPED_BYTES, _MUCH * resident_bytes):
        yield (
            f"  of this process's, {size_text(mapped_bytes)} are pages of mapped files, which the kernel takes back "
            "when memory is short: they do not count as growth"
        )


def _parts(label: str, breakdown: Breakdown | None) -> Iterator[str]:
    if breakdown is None:
        return
    parts = ", ".join(f"{part.label} {size_text(part.size_bytes)}" for part in breakdown.parts if part.size_bytes)
    if not parts:
        return
    total = f" of {size_text(breakdown.total_bytes)}" if breakdown.total_bytes is not None else ""
    yield f"{printable(label)}{total}: {parts}"
    if breakdown.fragmented_bytes:
        yield f"  of the slack, {size_text(breakdown.fragmented_bytes)} lie split between live blocks"


def _phases(evidence: Evidence, why: Cause) -> Iterator[str]:
    if evidence.shortage is not None and evidence.shortage.path:
        yield f"it ran out in {elide(path_text(evidence.shortage.path), 80)}"
    for rise in evidence.rises:
        yield _rise(rise)
    for growth in evidence.growth:
        if growth.grows:
            yield from _growth(growth, evidence.ending.is_over)
    if why.growth is None and why.rise is None and not _is_called_steady(evidence, why):
        rows = [row for row in evidence.summary.rows if row.path and row.allocated_delta_mean_bytes]
        rows.sort(key=lambda row: -(row.allocated_delta_mean_bytes or 0))
        for row in rows[:_MOST_PHASES]:
            if (row.allocated_delta_mean_bytes or 0) > 0:
                yield f"{elide(path_text(row.path), 60)} adds {size_text(row.allocated_delta_mean_bytes)} each time"


def _is_called_steady(evidence: Evidence, why: Cause) -> bool:
    """Whether the headline says that nothing grows: what a phase adds on average, and gives back elsewhere, is not to
    sound otherwise below it."""
    return why.kind in (NONE, FAILED) and is_growth_known(evidence)


def _rise(rise: Rise) -> str:
    risen = f"{change_text(rise.risen_bytes)} on {rise.device} since it began"
    how = "rising all the time" if rise.rises else "not all the time"
    return f"{elide(path_text(rise.path), 60)}: open for {duration_text(rise.open_ns)}, {risen}, {how}"


def _growth(growth: Growth, is_over: bool) -> Iterator[str]:
    low, high = change_text(round(growth.low_bytes_per_step)), change_text(round(growth.high_bytes_per_step))
    step = "entry of " + path_text(growth.per) if growth.per else "sample"
    yield (
        f"{growth.device}: {change_text(round(growth.bytes_per_step))} per {step} (between {low} and {high}), over "
        f"{count_text(growth.steps)} of them"
    )
    for path, kept in sorted(growth.retained_bytes, key=lambda entry: (-entry[1], entry[0]))[:_MOST_PHASES]:
        if path in growth.phases:
            yield f"  {elide(path_text(path), 60)} keeps {change_text(round(kept))}"
    if growth.hours_until_full is not None and not is_over:
        yield f"  full in {hours_text(growth.hours_until_full)} from its last event, at this rate"


def _unknown(evidence: Evidence) -> Iterator[str]:
    summary, shortage = evidence.summary, evidence.shortage
    if summary.missed:
        yield f"{plural(summary.missed, 'older event')} are overwritten: what grew before them does not show"
    if summary.damaged:
        yield f"{plural(summary.damaged, 'place')} of the recording could not be read"
    if shortage is not None and not shortage.on_host:
        if shortage.requested_bytes is None:
            yield "how much was asked for: the error does not say"
        told = [] if shortage.breakdown is None else [part.name for part in shortage.breakdown.parts]
        if "other_processes" not in told:
            yield "how much of it other processes hold: the driver did not tell"
    if any(growth.device == "host" and growth.grows and growth.phases for growth in evidence.growth):
        yield "which phase keeps it for sure: on the host, memory that one phase freed is what the next one gets"
    if not is_growth_known(evidence):
        yield f"whether it grows: not judged, because {elide(evidence.not_judged or 'there are too few steps', 120)}"
    if evidence.ending.kind == "killed" and evidence.oom_kills is None:
        yield "who killed it, or whether it crashed: the control group's counters are gone or out of reach"
    elif evidence.ending.kind == "killed" and not evidence.oom_kills:
        yield "who killed it, or whether it crashed; the kernel's OOM killer has not struck in its control group"
    if any(not row.peak_is_exact for row in summary.rows):
        yield "peaks between two looks: start(peaks=True) measures them exactly"
