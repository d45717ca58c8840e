"""Why memory ran out, or will: one cause chosen from the evidence, with the figures that it stands on.

What is named is the cause, not the victim: the phase that grew rather than the one whose allocation failed, the other
process rather than this one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .ending import DEVICE_OUT_OF_MEMORY, EXCEPTION, HOST_OUT_OF_MEMORY, INTERRUPT, KILLED
from .growth import WORKERS
from .hostlimits import FULL_SHARE, LIMITS, are_mappings_used_up, exceeds_all, has_room, mappings, own_limit
from .text import change_text, count_text, duration_text, elide, path_text, printable, share_text, size_text
from .usedup import MAPPINGS, OPEN_FILES, no_mapping_text, used_up_by
from .whereabouts import called, where_it_stays

if TYPE_CHECKING:
    from .breakdown import Breakdown
    from .ending import Ending
    from .evidence import Evidence, Shortage
    from .growth import Growth
    from .rise import Rise

GROWTH, WORKERS_GROW, OTHERS = "growth", "workers_grow", "other_processes"
PHASE_RISES = "phase_rises"
FRAGMENTATION, TOO_LARGE, LIMIT = "fragmentation", "too_large", "limit"
HOST_FULL, UNKNOWN = "host_full", "unknown"
KILLED_OUTSIDE, FAILED, NONE = "killed", "exception", "none"

_GREW_SHARE = 0.3  # growth is the cause where it accounts for this much of what is allocated, or for what was asked for
_HELD_SHARE = 0.25  # others are the cause where they hold this much of the device, and this process could use it
_NS_PER_HOUR = 3.6e12


@dataclass(frozen=True)
class Cause:
    """`kind` is one of this module's words, `text` a sentence for a person, `figures` what it stands on: bytes, steps
    and shares by name. `certain` is False where it is a conclusion and not written anywhere."""

    kind: str
    text: str
    certain: bool = False
    figures: dict[str, int | float] = field(default_factory=dict)
    growth: Growth | None = None
    rise: Rise | None = None


def cause(evidence: Evidence) -> Cause:
    """The one cause. For a session that is healthy its kind is `none`."""
    kind = evidence.ending.kind
    if kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY):
        return _of_shortage(evidence)
    if kind == KILLED and evidence.oom_kills:
        return _of_shortage(evidence)
    growing = next((found for found in evidence.growth if found.grows), None)
    if kind == EXCEPTION and evidence.ending.error_type != INTERRUPT:
        return _of_exception(evidence, growing)
    risen = _risen(evidence)
    if kind == KILLED and risen is not None:
        return _rising(risen, evidence)
    if growing is not None:
        return _growing(growing)
    if kind == KILLED:
        gone = "Its process is gone without a word: killed from outside, or crashed; its memory was not short."
        return Cause(KILLED_OUTSIDE, gone, certain=False)
    if kind == EXCEPTION:
        return _of_exception(evidence, None)
    return Cause(NONE, _healthy(evidence), certain=is_growth_known(evidence))


def _of_exception(evidence: Evidence, growing: Growth | None) -> Cause:
    """What ended it is the headline; that memory grew comes behind it, where it can have to do with it."""
    ending = evidence.ending
    used_up = used_up_by(ending.context or "", evidence.oom_kills)
    if used_up is not None:
        return _and_grew(Cause(*used_up), None if used_up.kind == OPEN_FILES else growing)
    if evidence.oom_kills and ending.error_type != INTERRUPT:
        struck = f"The kernel's OOM killer struck in its control group, {_times(evidence.oom_kills)}"
        figures: dict[str, int | float] = {"oom_kills": evidence.oom_kills}
        return _and_grew(Cause(HOST_FULL, f"{struck}; it was {ending.text}.", figures=figures), growing)
    text = f"It was {ending.text}; {_fared(evidence) if growing is None else _grew(ending, growing)}."
    certain = ending.certain and is_growth_known(evidence)
    related = growing if growing is not None and _can_follow_from_memory(ending) else None
    return Cause(FAILED, text, certain=certain, growth=related)


def _and_grew(cause: Cause, growing: Growth | None) -> Cause:
    """The same, with a growth behind it that can have brought it about: one of the host's memory."""
    if growing is None or growing.device not in ("host", WORKERS):
        return cause
    return replace(cause, text=f"{cause.text} {_growing(growing).text}", growth=growing)


_CLASSES_OF_THE_PROGRAM = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    FileExistsError,
    FileNotFoundError,
    FloatingPointError,
    ImportError,
    IndentationError,
    IndexError,
    IsADirectoryError,
    KeyError,
    LookupError,
    ModuleNotFoundError,
    NameError,
    NotADirectoryError,
    NotImplementedError,
    OverflowError,
    PermissionError,
    RecursionError,
    SyntaxError,
    TabError,
    TypeError,
    UnboundLocalError,
    UnicodeDecodeError,
    UnicodeEncodeError,
    UnicodeError,
    ValueError,
    ZeroDivisionError,
)
_OF_THE_PROGRAM = {"JSONDecodeError"} | {cls.__name__ for cls in _CLASSES_OF_THE_PROGRAM}
"""Exceptions that no lack of memory brings about, by all that is known."""


def _can_follow_from_memory(ending: Ending) -> bool:
    return ending.error_type not in _OF_THE_PROGRAM


def _grew(ending: Ending, growing: Growth) -> str:
    rate, per = change_text(round(growing.bytes_per_step)), _per(growing)
    told = f"{called(growing)} grew before, {rate} {per}"
    if _can_follow_from_memory(ending):
        return f"{told}; whether that has to do with it is not known"
    return f"{told}, which has nothing to do with it as far as it says"


def _per(growing: Growth) -> str:
    return f"per entry of {path_text(growing.per)}" if growing.per else "per sample"


def is_growth_known(evidence: Evidence) -> bool:
    """Whether there are steps enough to tell of any device whether its memory grows."""
    return any(growth.device != WORKERS for growth in evidence.growth)


def _healthy(evidence: Evidence) -> str:
    known, caught = is_growth_known(evidence), evidence.shortages
    if caught:
        grows = "it does not grow" if known else "whether it grows is not known: too few steps"
        return f"Memory ran out {_times(caught)} and was caught; {grows}."
    if known:
        return "Its memory does not grow and did not run out."
    return "Nothing went wrong, as far as can be told; whether its memory grows is not known: too few steps."


def _fared(evidence: Evidence) -> str:
    """How memory fared in a training that something else ended. Libraries raise what they like when memory runs out:
    only of Ctrl-C it is sure that it did not."""
    known, caught = is_growth_known(evidence), evidence.shortages
    ran_out = "did not run out" if evidence.ending.error_type == INTERRUPT else "is not known to have run out"
    if caught:
        grew = "and did not grow" if known else "and whether it grew is not known: too few steps"
        return f"memory ran out {_times(caught)} before and was caught, {grew}"
    if known:
        return f"its memory did not grow and {ran_out}"
    return f"its memory {ran_out}, and whether it grew is not known: too few steps"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count_text(count)} times"


def _of_shortage(evidence: Evidence) -> Cause:
    shortage = evidence.shortage
    on_host = evidence.ending.kind != DEVICE_OUT_OF_MEMORY
    grown, risen = _growth_behind(evidence, on_host), _risen(evidence, None if on_host else shortage, on_host)
    if risen is not None and (grown is None or risen.risen_bytes > grown.bytes_per_step * grown.steps):
        return _until_the_limit(_rising(risen, evidence), shortage)
    if grown is not None:
        return _until_the_limit(_growing(grown), shortage)
    if shortage is None:
        return _host_full(evidence) if evidence.ending.error_type is None else _outside(evidence.ending)
    return _limit(shortage) if on_host else _on_device(shortage)


def _growth_behind(evidence: Evidence, on_host: bool) -> Growth | None:
    """The growth that filled the memory, if it was one: not every little growth is the reason."""
    shortage = evidence.shortage
    for found in evidence.growth:
        is_there = (found.device in ("host", WORKERS)) == on_host
        if found.grows and is_there and (on_host or shortage is None or found.device == shortage.label):
            if shortage is None or found.device == WORKERS:
                return found
            grown = found.bytes_per_step * found.steps
            asked = shortage.requested_bytes or shortage.device.allocated_bytes or 0
            if grown >= _GREW_SHARE * (shortage.device.allocated_bytes or 0) or grown >= asked > 0:
                return found
    return None


def _growing(growth: Growth) -> Cause:
    rate, per = change_text(round(growth.bytes_per_step)), _per(growth)
    hour = f", {size_text(round(growth.bytes_per_hour))} an hour" if growth.bytes_per_hour else ""
    subject = called(growth)
    steps = f"over {count_text(growth.steps)} of them{where_it_stays(growth)}"
    text = f"{subject[0].upper()}{subject[1:]} grows: {rate} {per}{hour}, {steps}."
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


def _risen(evidence: Evidence, shortage: Shortage | None = None, on_host: bool | None = None) -> Rise | None:
    """The phase that was open and took more and more, where no steps inside of it tell better."""
    for rise in evidence.rises:
        is_there = on_host is None or (rise.device == "host") == on_host
        if not rise.rises or not is_there or (shortage is not None and rise.device != shortage.label):
            continue
        inside = (growth.per for growth in evidence.growth if growth.device == rise.device and growth.per)
        if not any(per[: len(rise.path)] == rise.path for per in inside):
            return rise
    return None


def _rising(rise: Rise, evidence: Evidence) -> Cause:
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


def _until_the_limit(cause: Cause, shortage: Shortage | None) -> Cause:
    """The same, with the limit that the growth came to, where the process had one of its own."""
    if are_mappings_used_up(shortage):
        mapped, most = mappings(shortage)
        figures = {**cause.figures, **_known(mappings=mapped, mappings_limit=most)}
        return replace(cause, kind=MAPPINGS, text=f"{no_mapping_text(mapped, most)} {cause.text}", figures=figures)
    name, limit = own_limit(shortage)
    device = cause.rise.device if cause.rise is not None else cause.growth.device if cause.growth is not None else ""
    if limit is None or device != "host":
        return cause
    text = f"{cause.text} So it ran into its own limit of {size_text(limit)} ({LIMITS[name]})."
    return replace(cause, text=text, figures={**cause.figures, name: limit})


def _outside(ending: Ending) -> Cause:
    """Only the name of the exception is known."""
    where = "the host" if ending.kind == HOST_OUT_OF_MEMORY else "a device"
    name = elide(printable(ending.error_type or ""), 80)
    return Cause(UNKNOWN, f"Memory ran out on {where}, outside of any phase ({name}): its figures are not known.")


def _on_device(shortage: Shortage) -> Cause:
    row, asked, label = shortage.device, shortage.requested_bytes, shortage.label
    slack = _difference(row.reserved_bytes, row.allocated_bytes)
    others = part(shortage.breakdown, "other_processes")
    in_phase = f" in {path_text(shortage.path)}" if shortage.path else ""
    wanted = "what was asked for" if asked is None else f"the {size_text(asked)} that were asked for{in_phase}"
    figures = _known(
        requested_bytes=asked,
        allocated_bytes=row.allocated_bytes,
        reserved_bytes=row.reserved_bytes,
        slack_bytes=slack,
        inactive_bytes=shortage.inactive_bytes,
        other_processes_bytes=others,
        total_bytes=row.total_bytes,
    )
    if others is not None and row.total_bytes and others >= max(_HELD_SHARE * row.total_bytes, asked or 0):
        share = share_text(others / row.total_bytes)
        text = f"Other processes hold {size_text(others)} of {label}, {share} of it: too little is left for {wanted}."
        return Cause(OTHERS, text, figures=figures)
    if slack is not None and asked is not None and slack >= asked:
        text = (
            f"The memory of {label} is in pieces: {size_text(slack)} are reserved and unused, more than {wanted}, "
            "but not in one block."
        )
        return Cause(FRAGMENTATION, text, figures=figures)
    if row.allocated_bytes is None or row.total_bytes is None:
        return Cause(UNKNOWN, f"Memory ran out on {label}{in_phase}; its figures are not known.", figures=figures)
    live = f"{size_text(row.allocated_bytes)} of {size_text(row.total_bytes)}"
    if row.allocated_bytes + (asked or 0) < FULL_SHARE * row.total_bytes:
        text = f"Memory ran out on {label}{in_phase}: {live} are live here, and who holds the rest is not known."
        return Cause(UNKNOWN, text, figures=figures)
    text = f"One step needs more than {label} has: {live} are live, which leaves no room for {wanted}."
    return Cause(TOO_LARGE, text, figures=figures)


def _limit(shortage: Shortage) -> Cause:
    """On the host: a limit of the process's own, or the machine's memory."""
    row, asked = shortage.device, shortage.requested_bytes
    in_phase = f", in {path_text(shortage.path)}" if shortage.path else ""
    wanted = "more" if asked is None else f"{size_text(asked)} more"
    figures = _known(
        requested_bytes=asked,
        resident_bytes=row.allocated_bytes,
        used_bytes=row.used_bytes,
        total_bytes=row.total_bytes,
    )
    if are_mappings_used_up(shortage):
        mapped, most = mappings(shortage)
        figures = _known(mappings=mapped, mappings_limit=most)
        return Cause(MAPPINGS, no_mapping_text(mapped, most), figures=figures)
    if exceeds_all(shortage):
        text = (
            f"One request is for more than the whole host has: {size_text(asked)} were asked for{in_phase}, of "
            f"{size_text(row.total_bytes)}."
        )
        return Cause(TOO_LARGE, text, figures=figures)
    name, limit = own_limit(shortage)
    if limit is not None:
        text = (
            f"The process ran into its own limit of {size_text(limit)} ({LIMITS[name]}): {wanted} were asked for"
            f"{in_phase}, with {size_text(row.allocated_bytes)} resident."
        )
        return Cause(LIMIT, text, figures={**figures, name: limit})
    used = f"{size_text(row.used_bytes)} of {size_text(row.total_bytes)} were in use"
    if has_room(shortage):
        text = f"Memory ran out on the host{in_phase}, which was not full: {used}, and {wanted} could not be had."
        return Cause(UNKNOWN, text, figures=figures)
    text = f"The host had no room for {wanted}{in_phase}: {used}, {size_text(row.allocated_bytes)} by this process."
    return Cause(HOST_FULL, text, figures=figures)


def _host_full(evidence: Evidence) -> Cause:
    """The kernel killed something in this control group, or the host was nearly full when the ring ends."""
    if evidence.oom_kills:
        text = f"The kernel's OOM killer struck in its control group, {_times(evidence.oom_kills)}."
        return Cause(HOST_FULL, text, figures={"oom_kills": evidence.oom_kills})
    return Cause(HOST_FULL, f"It was {evidence.ending.text}.")


def part(breakdown: Breakdown | None, name: str) -> int | None:
    """One part of a breakdown in bytes; None where that is not told."""
    return next((found.size_bytes for found in breakdown.parts if found.name == name), None) if breakdown else None


def hours_text(hours: float) -> str:
    """`2.50 min`, `1.20 h`."""
    return duration_text(round(hours * _NS_PER_HOUR))


def _difference(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(0, a - b)


def _known(**figures: int | None) -> dict[str, int | float]:
    return {name: value for name, value in figures.items() if value is not None}
