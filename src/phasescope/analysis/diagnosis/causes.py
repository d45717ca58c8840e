"""The cause for which memory ran out, or will: one cause chosen from the evidence, with the figures that support it.

It names the cause, not the victim: the phase that grew rather than the one whose allocation failed, the other
process rather than this one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import (
    change_text,
    elide,
    printable,
    size_text,
    times_text,
)
from phasescope.analysis.liveness import DISAPPEARED

from . import device_shortage, oom_causes
from .cause import (
    FAILED,
    HOST_FULL,
    KILLED_OUTSIDE,
    NONE,
    REFUSED,
    UNKNOWN,
    Cause,
    known,
)
from .ending import (
    DEVICE_OUT_OF_MEMORY,
    EXCEPTION,
    HOST_OUT_OF_MEMORY,
    INTERRUPT,
    KILLED,
)
from .exhausted_limits import (
    MAPPINGS,
    OPEN_FILES,
    exit_of_killed_child,
    no_mapping_text,
    used_up_by,
)
from .growth import WORKERS
from .growth_causes import (
    of_growth,
    of_rise,
    per,
    rise_behind,
)
from .growth_text import called, most_unclear, not_known_because, not_known_of_workers
from .host_limits import (
    LIMITS,
    are_mappings_used_up,
    exceeds_all,
    has_room,
    mappings,
    own_limit,
)

if TYPE_CHECKING:
    from .ending import Ending
    from .evidence import Evidence, LastShortage
    from .growth import Growth
    from .open_phase_rise import Rise

_NO_ROOM = "the host had no room left"
_GREW_SHARE = 0.3  # growth is the cause if it accounts for this much of the allocated memory, or for the request


def cause(evidence: Evidence) -> Cause:
    """Return the one cause. For a session that is healthy its kind is `none`."""
    kind = evidence.ending.kind
    if kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY):
        return _of_shortage(evidence)
    if kind == KILLED and evidence.oom_kills:
        return _of_shortage(evidence)
    growing = next((each for each in evidence.growth if each.grows), None)
    if kind == EXCEPTION and evidence.ending.error_type != INTERRUPT:
        return _of_exception(evidence, growing)
    risen = rise_behind(evidence)
    if kind == KILLED and risen is not None:
        return of_rise(risen, evidence)
    if growing is not None:
        return of_growth(growing, evidence.census)
    if kind == KILLED:
        short = "its memory was not short" if _is_room_known(evidence) else "whether its memory was short is not known"
        gone = f"Its process {DISAPPEARED}: killed from outside, or crashed; {short}."
        return Cause(KILLED_OUTSIDE, gone, certain=False)
    if kind == EXCEPTION:
        return _of_exception(evidence, None)
    is_certain = why_not_known(evidence) is None and evidence.unjudged_workers is None
    return Cause(NONE, _healthy(evidence), certain=is_certain)


def _of_exception(evidence: Evidence, growing: Growth | None) -> Cause:
    """Return the cause with the exception as its headline; growth follows, if it can have to do with it."""
    ending = evidence.ending
    used_up = used_up_by(ending.context or "", evidence.oom_kills)
    used_up = used_up or exit_of_killed_child(ending.text, evidence.oom_kills)
    if used_up is not None:
        return _and_grew(Cause(*used_up), None if used_up.kind == OPEN_FILES else growing, evidence)
    if evidence.oom_kills and ending.error_type != INTERRUPT:
        struck = f"The kernel's OOM killer struck in its control group, {times_text(evidence.oom_kills)}"
        figures: dict[str, int | float] = {"oom_kills": evidence.oom_kills}
        return _and_grew(Cause(HOST_FULL, f"{struck}; it was {ending.text}.", figures=figures), growing, evidence)
    text = f"It was {ending.text}; {_fared(evidence) if growing is None else _grew(ending, growing)}."
    certain = ending.certain and evidence.not_judged is None
    related = growing if growing is not None and _can_follow_from_memory(ending) else None
    return Cause(FAILED, text, certain=certain, growth=related)


def _and_grew(cause: Cause, growing: Growth | None, evidence: Evidence) -> Cause:
    """Return the same, followed by a growth that can have brought it about: one of the host's memory."""
    if growing is None or growing.device not in ("host", WORKERS):
        return cause
    return replace(cause, text=f"{cause.text} {of_growth(growing, evidence.census).text}", growth=growing)


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
    rate = change_text(round(growing.bytes_per_step))
    grew = f"{called(growing)} grew before, {rate} {per(growing)}"
    if _can_follow_from_memory(ending):
        return f"{grew}; whether that has to do with it is not known"
    return f"{grew}, which has nothing to do with it as far as it says"


def _is_room_known(evidence: Evidence) -> bool:
    """Return whether the host was looked at; that it was short would be an ending of its own."""
    return any(row.label == "host" and row.used_bytes is not None for row in evidence.summary.devices)


def why_not_known(evidence: Evidence) -> str | None:
    """Return why it is not known whether memory grows; None if it is known."""
    if evidence.not_judged is not None:
        return evidence.not_judged
    unclear = most_unclear(evidence.growth)
    return None if unclear is None else not_known_because(unclear)


def _healthy(evidence: Evidence) -> str:
    """Say how memory fared in a training that ended well, or still runs.

    A shortage that was caught within a phase leaves nothing behind; so it is never said that memory did not run out.
    """
    why, caught = why_not_known(evidence), evidence.shortages
    workers = not_known_of_workers(evidence.unjudged_workers)
    if caught:
        grows = "its memory does not grow" if why is None else f"whether its memory grows is not known: {why}"
        return f"Memory ran out {times_text(caught)} and was caught, and the training went on; {grows}{workers}."
    if why is None:
        return f"Its {'own ' if workers else ''}memory does not grow, and no phase ended by running out of it{workers}."
    return f"Nothing went wrong, as far as is known; whether its memory grows is not known: {why}."


def _fared(evidence: Evidence) -> str:
    """Say how memory fared in a training that something else ended.

    Libraries raise what they like when memory runs out: only for Ctrl-C is it certain that it did not.
    """
    why, caught = why_not_known(evidence), evidence.shortages
    if caught:
        grew = "and did not grow" if why is None else f"and whether it grew is not known: {why}"
        return f"memory ran out {times_text(caught)} before and was caught, {grew}"
    ran_out = "" if evidence.ending.error_type == INTERRUPT else " is not known to have run out"
    if why is None:
        workers = not_known_of_workers(evidence.unjudged_workers)
        return f"its {'own ' if workers else ''}memory did not grow{' and' if ran_out else ''}{ran_out}{workers}"
    if not ran_out:
        return f"whether its memory grew is not known: {why}"
    return f"its memory{ran_out}, and whether it grew is not known: {why}"


def _of_shortage(evidence: Evidence) -> Cause:
    shortage = evidence.shortage
    on_host = evidence.ending.kind != DEVICE_OUT_OF_MEMORY
    at_once = None if shortage is None else _at_once(shortage, on_host)
    if at_once is not None:
        return at_once
    grown, risen = _growth_behind(evidence, on_host), rise_behind(evidence, None if on_host else shortage, on_host)
    if (
        risen is not None
        and _has_filled(risen, shortage)
        and (grown is None or risen.risen_bytes > grown.bytes_per_step * grown.steps)
    ):
        return _until_the_limit(of_rise(risen, evidence), shortage)
    if grown is not None:
        return _until_the_limit(of_growth(grown, evidence.census), shortage)
    if shortage is None:
        return _host_full(evidence) if evidence.ending.error_type is None else _outside(evidence.ending)
    return oom_causes.on_host(shortage) if on_host else device_shortage.on_device(shortage)


def _at_once(shortage: LastShortage, on_host: bool) -> Cause | None:
    """Return the cause if it needs no history.

    A request that could never be met, or one that was refused although there was room."""
    if on_host:
        return oom_causes.on_host(shortage) if exceeds_all(shortage) else None
    cause = device_shortage.on_device(shortage)
    return cause if exceeds_all(shortage) or cause.kind == REFUSED else None


def _has_filled(rise: Rise, shortage: LastShortage | None) -> bool:
    """Return whether such a phase can be why memory ran out: not if there was room, or if most was there before."""
    if shortage is not None and shortage.on_host and own_limit(shortage)[1] is None and has_room(shortage):
        return False
    return rise.risen_bytes >= _GREW_SHARE * rise.highest_bytes


def _growth_behind(evidence: Evidence, on_host: bool) -> Growth | None:
    """Return the growth that filled the memory, if it was one: not every little growth is the reason."""
    shortage = evidence.shortage
    for growth in evidence.growth:
        is_there = (growth.device in ("host", WORKERS)) == on_host
        if growth.grows and is_there and (on_host or shortage is None or growth.device == shortage.label):
            if shortage is None or growth.device == WORKERS:
                return growth
            grown = growth.bytes_per_step * growth.steps
            asked = shortage.requested_bytes or shortage.device.allocated_bytes or 0
            if grown >= _GREW_SHARE * (shortage.device.allocated_bytes or 0) or grown >= asked > 0:
                return growth
    return None


def _until_the_limit(cause: Cause, shortage: LastShortage | None) -> Cause:
    """Return the cause with the limit that the growth came to, if the process had one of its own."""
    if are_mappings_used_up(shortage):
        mapped, most = mappings(shortage)
        figures = {**cause.figures, **known(mappings=mapped, mappings_limit=most)}
        return replace(cause, kind=MAPPINGS, text=f"{no_mapping_text(mapped, most)} {cause.text}", figures=figures)
    name, limit = own_limit(shortage)
    device = cause.rise.device if cause.rise is not None else cause.growth.device if cause.growth is not None else ""
    if limit is None or device != "host":
        return cause
    text = f"{cause.text} So it ran into its own limit of {size_text(limit)} ({LIMITS[name]})."
    return replace(cause, text=text, figures={**cause.figures, name: limit})


def _outside(ending: Ending) -> Cause:
    """Return the cause if only the name of the exception is known."""
    where = "the host" if ending.kind == HOST_OUT_OF_MEMORY else "a device"
    name = elide(printable(ending.error_type or ""), 80)
    return Cause(UNKNOWN, f"Memory ran out on {where}, outside of any phase ({name}): its figures are not known.")


def _host_full(evidence: Evidence) -> Cause:
    """Return the cause if the kernel killed something in this control group, or the host was nearly full at the end."""
    if evidence.oom_kills:
        text = f"The kernel's OOM killer struck in its control group, {times_text(evidence.oom_kills)}."
        figures: dict[str, int | float] = {"oom_kills": evidence.oom_kills}
        return Cause(HOST_FULL, text, figures=figures, brief=_NO_ROOM)
    return Cause(HOST_FULL, f"It was {evidence.ending.text}.", brief=_NO_ROOM)
