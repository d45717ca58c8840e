"""Explain a session from its figures: the event, the holders of the memory, the phase, remedies, and the unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.breakdown import held_by
from phasescope.analysis.categories import made_of
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
from phasescope.analysis.summary.allocator_remarks import allocator_remarks

from .advice import advice
from .asked_by import asked_by
from .cause import ALLOCATOR_CACHE, FRAGMENTATION, HOST_FULL, LIMIT, OTHERS, OUTSIDE_ALLOCATOR, TOO_LARGE
from .causes import cause, why_not_known
from .census import (
    GRAPH,
    behind,
    compiled_again,
    is_outside_python,
    is_seldom,
    may_be_garbage,
    not_counted_whole,
    seen_anyway,
    small_ones,
    without_keeper,
)
from .census_text import grown_text
from .device_findings import of_relieved, of_stray_contexts
from .ending import DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY
from .growth_causes import hours_text
from .growth_text import span
from .heap import heap_text
from .host_limits import LIMITS, own_limit
from .left_behind import leaving_most, left_text
from .lines import line_text, lines_behind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cause import Cause
    from .census import GrownObjects
    from .ending import Ending
    from .evidence import Evidence, LastShortage
    from .growth import Growth
    from .open_phase_rise import Rise

SCHEMA_VERSION = 1
"""Of `Explanation.to_dict()`; a key may be added without a new version."""

_MOST_PHASES = 5
_BESIDES = "what its operations keep besides is not counted"
_IN_PIECES = (
    "little by its own bytes, but what is kept between large blocks that are freed can leave the heap in pieces"
)
_BY_SIZE = (ALLOCATOR_CACHE, FRAGMENTATION, HOST_FULL, LIMIT, OTHERS, OUTSIDE_ALLOCATOR, TOO_LARGE)
_LONGEST_WORDS = 240
_LONGEST_REASON = 160
_AS_OFTEN, _FEWEST_ENTRIES = 0.15, 4
_LEAST_MAPPED_BYTES = 256 << 20
_MUCH = 0.3  # of the resident set: the pages of an interpreter's own libraries are less


@dataclass(frozen=True)
class Explanation:
    """Why a session ended as it did, or why its memory grows. `print()` shows it as text.

    `happened` is one line for a person. `held` (the holders of the memory), `phases`, `advice`, `unknown` and `ranks`
    (other ranks of the job that ended badly, if those were read) are lines too, most important first.
    """

    cause: Cause
    happened: str
    held: tuple[str, ...]
    phases: tuple[str, ...]
    advice: tuple[str, ...]
    unknown: tuple[str, ...]
    evidence: Evidence
    ranks: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The answer in one line: problem, place and next step. Every surface that shows a session begins with it."""
        from .verdict import verdict

        return verdict(self).text

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types; docs/explain.md has the schema."""
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
            "grown": [] if evidence.census is None else [grown.to_dict() for grown in evidence.census.grown],
            "lines": [] if evidence.lines is None else [line.to_dict() for line in evidence.lines.grown],
            "rises": [rise.to_dict() for rise in evidence.rises],
            "out_of_memory": evidence.shortages,
        }

    def __str__(self) -> str:
        lines = [self.cause.text]
        for title, lines_of in (
            ("what happened", (self.happened, *_words(self.evidence.ending))),
            ("other ranks of its job", self.ranks),
            ("what held the memory", self.held),
            ("which phase", self.phases),
            ("what to try first", self.advice),
            ("what is not known", self.unknown),
        ):
            if lines_of:
                lines += ["", title, *(f"  {line}" for line in lines_of)]
        return "\n".join(lines)


def explain(evidence: Evidence) -> Explanation:
    """Return the explanation of one session."""
    why = cause(evidence)
    return Explanation(
        cause=why,
        happened=_happened(evidence),
        held=(*_held(evidence), *_findings(evidence), *_grown(evidence)),
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
    """Yield the exception's message if it is about memory: then the line above does not have it."""
    if ending.context and ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY):
        yield f"it said: {elide(printable(ending.context), _LONGEST_WORDS)}"


def _held(evidence: Evidence) -> Iterator[str]:
    shortage = evidence.shortage
    if shortage is not None:
        yield from filter(None, [held_by(shortage.label, shortage.breakdown) or _beyond(shortage)])
        if shortage.allowed_bytes is not None:
            yield f"this process's limit on it: {size_text(shortage.allowed_bytes)}"
        name, limit = own_limit(shortage)
        if limit is not None:
            yield f"the process's own limit: {size_text(limit)} ({LIMITS[name]})"
        yield from made_of(evidence.summary.devices)
        return
    for device in evidence.summary.devices:
        yield from filter(None, [held_by(device.label, device.breakdown)])
        if device.label == "host":
            yield from _mapped(evidence.mapped_bytes, device.allocated_bytes)
    yield from made_of(evidence.summary.devices)


def _beyond(shortage: LastShortage) -> str:
    """Return the holders if more is live than the device has: a part of it lies in the host's memory."""
    live, total = shortage.device.allocated_bytes, shortage.device.total_bytes
    if live is None or not total or live <= total:
        return ""
    slack = (shortage.device.reserved_bytes or live) - live
    reserved = f", allocator slack {size_text(slack)}" if slack > 0 else ""
    held = f"live tensors {size_text(live)}{reserved}; a part lies in the host's memory"
    return f"{shortage.label} of {size_text(total)}: {held}"


def _findings(evidence: Evidence) -> Iterator[str]:
    yield from of_relieved(evidence.relieved)
    yield from of_stray_contexts(evidence.summary.devices, evidence.summary.rank)


def _grown(evidence: Evidence) -> Iterator[str]:
    """Yield the objects that grew with the steps, and who keeps them."""
    growing = [growth for growth in evidence.growth if growth.grows]
    with_keeper = dict.fromkeys(grown for growth in growing for grown in behind(growth, evidence.census))
    if any(rise.rises for rise in evidence.rises) or (not growing and why_not_known(evidence) is not None):
        with_keeper |= dict.fromkeys(seen_anyway(evidence.census))
    for grown in with_keeper:
        yield _grew(grown, evidence)
    for grown in dict.fromkeys(small for growth in growing for small in small_ones(growth, evidence.census)):
        yield f"{_grew(grown, evidence)}: {_BESIDES if grown.kind == GRAPH else _IN_PIECES}"
    for grown in dict.fromkeys(each for growth in growing for each in not_counted_whole(growth, evidence.census)):
        yield f"{_grew(grown, evidence)}: as Python counts them; what a C library holds for them is not in it"
    for grown in dict.fromkeys(large for growth in growing for large in without_keeper(growth, evidence.census)):
        is_garbage = any(may_be_garbage(growth, evidence.census) for growth in growing)
        waits = ", or they wait for the garbage collector" if is_garbage else ""
        yield f"{_grew(grown, evidence)}; who keeps them was not found{waits}"
    for grown in dict.fromkeys(again for growth in growing for again in compiled_again(growth, evidence.census)):
        yield f"{_grew(grown, evidence)}: it lies outside of Python, so how much of the growth it is cannot be said"
    lines = evidence.lines
    for line in dict.fromkeys(line for growth in growing for line in lines_behind(growth, lines)):
        yield line_text(line, 0 if lines is None else lines.step)
    pieces = [text for growth in growing if (text := heap_text(growth, evidence.heap)) is not None]
    yield from pieces
    if not with_keeper and not pieces and any(is_outside_python(growth, evidence.census) for growth in growing):
        yield (
            "none of the tensors, arrays and containers that the censuses count grew by as much: what grows is outside "
            "of Python's objects (a C library, or its heap in pieces)"
        )


def _grew(grown: GrownObjects, evidence: Evidence) -> str:
    until = evidence.census.step if evidence.census is not None else 0
    seldom = _how_seldom(grown, evidence) if is_seldom(grown) else ""
    risen = grown.risen()
    now = f" ({count_text(grown.kept)} now)" if risen.kept < grown.kept else ""
    steps = f"from step {count_text(grown.since_step)} to {count_text(until)}"
    return f"grew by {grown_text(risen)}, {steps}{now}{seldom}"


def _how_seldom(grown: GrownObjects, evidence: Evidence) -> str:
    """Say in how many steps one of them comes, and which phase ends about as often."""
    text = f", about one in {count_text(round(1 / grown.per_step))} steps"
    steps = next((growth.steps for growth in evidence.growth if growth.grows and growth.per and not growth.rare), 0)
    expected = grown.per_step * steps
    rows = [row for row in evidence.summary.rows if row.path and abs(row.count - expected) <= _AS_OFTEN * expected]
    alike = min(rows, key=lambda row: len(row.path), default=None)
    return (
        text if alike is None or alike.count < _FEWEST_ENTRIES else f"{text}, as often as {path_text(alike.path)} ends"
    )


def _mapped(mapped_bytes: int | None, resident_bytes: int | None) -> Iterator[str]:
    """Yield the part of the resident set that is not the process's own, if that is much."""
    if mapped_bytes and resident_bytes and mapped_bytes >= max(_LEAST_MAPPED_BYTES, _MUCH * resident_bytes):
        yield (
            f"  of this process's, {size_text(mapped_bytes)} are pages of mapped files, which the kernel takes back "
            "when memory is short: they do not count as growth"
        )


def _phases(evidence: Evidence, why: Cause) -> Iterator[str]:
    if evidence.shortage is not None and evidence.shortage.path:
        yield f"it ran out in {elide(path_text(evidence.shortage.path), 80)}"
    for rise in evidence.rises:
        yield _rise(rise)
    for growth in evidence.growth:
        if growth.grows:
            yield from _growth(growth, evidence.ending.is_over)
    yield from allocator_remarks(evidence.summary.rows)
    if why.growth is None and why.rise is None and evidence.shortage is not None and why.kind in _BY_SIZE:
        yield from _largest(evidence, evidence.shortage)


def _largest(evidence: Evidence, shortage: LastShortage) -> Iterator[str]:
    """Yield the phases that leave most behind, if memory ran out.

    Else it would sound like growth: their mean has all that the first entries load and allocate.
    """
    for row in leaving_most(evidence.summary.rows, shortage)[:_MOST_PHASES]:
        yield f"{elide(path_text(row.path), 60)} leaves {left_text(row)}"


def _rise(rise: Rise) -> str:
    risen = f"{change_text(rise.risen_bytes)} on {rise.device} since it began"
    how = "rising all the time" if rise.rises else "with falls in between"
    return f"{elide(path_text(rise.path), 60)}: open for {duration_text(rise.open_ns)}, {risen}, {how}"


def _growth(growth: Growth, is_over: bool) -> Iterator[str]:
    low, high = change_text(round(growth.low_bytes_per_step)), change_text(round(growth.high_bytes_per_step))
    step = "entry of " + path_text(growth.per) if growth.per else "sample"
    bounds = f"between {low} and {high}" if growth.low_bytes_per_step > 0 else f"at most {high}"
    yield f"{growth.device}: {change_text(round(growth.bytes_per_step))} per {step} ({bounds}), {span(growth)}"
    verb = "shows" if growth.device == "host" else "keeps"  # there freed memory of one phase is given to another
    for path, kept in sorted(growth.retained_bytes, key=lambda entry: (-entry[1], entry[0]))[:_MOST_PHASES]:
        if path in growth.phases:
            yield f"  {elide(path_text(path), 60)} {verb} {change_text(round(kept))}"
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
        parts = [] if shortage.breakdown is None else [part.name for part in shortage.breakdown.parts]
        if "other_processes" not in parts:
            yield "how much of it other processes hold: the driver did not say"
    if any(growth.device == "host" and growth.grows and growth.phases for growth in evidence.growth):
        yield "which phase keeps it for sure: on the host, memory that one phase freed is what the next one gets"
    if evidence.not_judged is not None:
        yield f"whether it grows: {elide(evidence.not_judged, _LONGEST_REASON)}"
    if evidence.ending.kind == "killed" and evidence.oom_kills is None:
        yield "who killed it, or whether it crashed: the control group's counters are gone or out of reach"
    elif evidence.ending.kind == "killed" and not evidence.oom_kills:
        yield "who killed it, or whether it crashed; the kernel's OOM killer has not struck in its control group"
    if any(not row.peak_is_exact for row in summary.rows):
        by = asked_by("peaks", evidence)
        yield f"peaks between two looks{f': {by} measures them exactly' if by else ''}"
