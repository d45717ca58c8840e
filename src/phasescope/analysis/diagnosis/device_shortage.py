"""The figures of the moment at which a device's memory ran out, and the cause that follows from them.

Each rule asks what would have to have been otherwise for the allocation to succeed, so that no cause contradicts the
figures that are shown beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import path_text, share_text, size_text

from .cause import (
    ALLOCATOR_CACHE,
    FRAGMENTATION,
    LIMIT_OF_DEVICE,
    OTHERS,
    OUTSIDE_ALLOCATOR,
    REFUSED,
    TOO_LARGE,
    UNKNOWN,
    Cause,
    known,
    sentence,
)
from .host_limits import FULL_SHARE, exceeds_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.analysis.breakdown import Breakdown

    from .evidence import LastShortage

_ROUNDING_SHARE = 0.01  # messages have three digits, and allocators round up what they ask the driver for
_SLACK_SHARE = 0.1
_OTHERS_SHARE = 0.05
_OUTSIDE_SHARE = 0.1
_LEAST_OUTSIDE_BYTES = 1536 << 20  # a context, its libraries and their workspaces are there in every process
_POOLS_SHARE = 0.25
_HELD_SHARE = 0.25  # of the device: the least of a holder if the request is not known
_AMPLE_SHARE, _LEAST_AMPLE_BYTES, _AMPLE_BYTES = 0.05, 256 << 20, 1 << 30
"""Free beyond the request: a share of the device, but these bytes at least, and more than that is ample on any."""

_FRAGMENTED = "its free memory is fragmented"


class _Holder(NamedTuple):
    """A holder without which there would have been room."""

    size_bytes: int
    cause: Cause


class _FailedMoment:
    """One failure, in bytes; None if that is not known."""

    def __init__(self, shortage: LastShortage) -> None:
        row = shortage.device
        self.label = shortage.label
        self.asked, self.live, self.total = shortage.requested_bytes, row.allocated_bytes, row.total_bytes
        self.free, self.free_then = row.free_bytes, shortage.free_bytes
        self.limit = shortage.allowed_bytes
        self.by_allocator, self.pools = shortage.by_allocator, shortage.private_pools_bytes
        reserved = row.reserved_bytes
        self.slack = None if reserved is None or self.live is None else max(0, reserved - self.live)
        self.held = self.live if reserved is None else reserved
        self.others = part(shortage.breakdown, "other_processes")
        self.outside = part(shortage.breakdown, "process_outside")
        self.driver = part(shortage.breakdown, "driver")
        self.is_measured_afterwards = shortage.by_allocator and shortage.is_measured_afterwards
        self.where = f" in {path_text(shortage.path)}" if shortage.path else ""
        asked = "the request" if self.asked is None else f"the {size_text(self.asked)} that were asked for"
        self.wanted = asked if self.asked is None else f"{asked}{self.where}"
        self.figures = known(
            requested_bytes=self.asked,
            allocated_bytes=self.live,
            reserved_bytes=reserved,
            slack_bytes=self.slack,
            inactive_bytes=shortage.inactive_bytes,
            other_processes_bytes=self.others,
            outside_bytes=self.outside,
            private_pools_bytes=shortage.private_pools_bytes,
            allowed_bytes=self.limit,
            free_bytes=self.free_then,
            total_bytes=self.total,
        )

    def would_fit_without(self, size: int) -> bool:
        """Return whether there would have been room if this much more had been free."""
        if self.asked is None or not self.total:
            return False
        if self.free is not None:
            free = self.free
        else:
            free = self.total - sum(held or 0 for held in (self.held, self.others, self.outside, self.driver))
        return free + size >= self.asked - _ROUNDING_SHARE * self.total

    def is_held(self, size: int | None, share: float, least: int = 0) -> bool:
        """Return whether a holder's size is of some weight, and enough to be the reason."""
        if size is None or not self.total:
            return False
        if self.asked is None:
            return size >= _HELD_SHARE * self.total
        return size >= max(share * self.total, least) and self.would_fit_without(size)

    def may_be_fragmented(self, slack: int) -> bool:
        """Return whether the request would have fitted into so much slack; not if more is live than the device has."""
        return self.is_held(slack, _SLACK_SHARE) and (self.live or 0) <= (self.total or 0)


def on_device(shortage: LastShortage) -> Cause:
    """Return the cause of a shortage on a device."""
    moment = _FailedMoment(shortage)
    if exceeds_all(shortage):
        brief = f"one request is for more than {moment.label} has"
        text = f"{sentence(brief)}: {moment.wanted} are more than its {size_text(moment.total)}."
        return Cause(TOO_LARGE, text, figures=moment.figures, brief=brief)
    limited = _limited(moment) or _refused(moment) or _not_full_afterwards(moment)
    if limited is not None:
        return limited
    holder = max(_holders(moment), key=lambda holder: holder.size_bytes, default=None)
    return _too_large(moment) if holder is None else holder.cause


def _limited(moment: _FailedMoment) -> Cause | None:
    """Return the cause if the process may have no more of the device, though the device has it."""
    limit, asked = moment.limit, moment.asked or 0
    if limit is None or moment.held is None or moment.held + asked < (1 - _ROUNDING_SHARE) * limit:
        return None
    if moment.free is not None and moment.free < asked:
        return None
    slack = moment.slack or 0
    of_total = "" if moment.total is None else f" of its {size_text(moment.total)}"
    may = f"This process may have {size_text(limit)} of {moment.label}{of_total}"
    if slack >= max(_SLACK_SHARE * limit, asked) and moment.asked is not None:
        text = f"{may}, and that is fragmented: {size_text(slack)} are reserved and unused, more than {moment.wanted}."
        return Cause(FRAGMENTATION, text, figures=moment.figures, brief=_FRAGMENTED)
    text = f"{may}, of which {size_text(moment.live)} are live: no room for {moment.wanted}"
    free = "" if moment.free_then is None else f", though {size_text(moment.free_then)} of the device are free"
    brief = f"this process may have {size_text(limit)} of it"
    return Cause(LIMIT_OF_DEVICE, f"{text}{free}.", figures=moment.figures, brief=brief)


def _refused(moment: _FailedMoment) -> Cause | None:
    """Return the cause if free memory alone would have done.

    Free memory is known of the failure itself, or not at all.
    """
    free, asked, total = moment.free_then, moment.asked, moment.total
    if free is None or asked is None or free - asked < _ample(total):
        return None
    of_total = f" of {size_text(total)}" if total else ""
    text = (
        f"{moment.label} had {size_text(free)} free{of_total}, and yet {moment.wanted} were refused: not "
        "for want of memory, but by a limit, the driver, or a system in between."
    )
    return Cause(REFUSED, text, figures=moment.figures, brief=f"refused although {size_text(free)} were free")


def _ample(total: int | None) -> float:
    return _AMPLE_BYTES if not total else min(max(_AMPLE_SHARE * total, _LEAST_AMPLE_BYTES), _AMPLE_BYTES)


def _not_full_afterwards(moment: _FailedMoment) -> Cause | None:
    """Return the cause if nothing is known of the failure itself, and the device had ample room when it was measured.

    What the training frees on its way out stays reserved by its allocator, so a full device is still full then.
    """
    free, total = moment.free, moment.total
    if free is None or not total or moment.free_then is not None:
        return None
    if free < _HELD_SHARE * total if moment.asked is None else free - moment.asked < _ample(total):
        return None
    brief = f"{size_text(free)} of {size_text(total)} were free a moment later"
    fits = "how much was asked for is not known" if moment.asked is None else f"{moment.wanted} would have fitted"
    text = f"Memory ran out on {moment.label}{'' if moment.asked else moment.where}, yet {brief}, and {fits}."
    return Cause(UNKNOWN, text, figures={**moment.figures, "free_afterwards_bytes": free}, brief=brief)


def _holders(moment: _FailedMoment) -> Iterator[_Holder]:
    """Yield each holder that held enough, with its cause."""
    others, outside, slack, total = moment.others, moment.outside, moment.slack, moment.total
    if others is not None and total and moment.is_held(others, _OTHERS_SHARE):
        brief = f"other processes hold {size_text(others)} of {moment.label}"
        text = f"{sentence(brief)}, {share_text(others / total)} of it: too little is left for {moment.wanted}."
        cause = Cause(OTHERS, text, figures=moment.figures, brief=brief)
        yield _Holder(others, cause)
    if outside is not None and moment.is_held(outside, _OUTSIDE_SHARE, _LEAST_OUTSIDE_BYTES):
        live = "" if moment.live is None else f", beside {_live(moment)} that are live"
        brief = f"this process holds {size_text(outside)} of {moment.label} outside of its allocator"
        text = f"{sentence(brief)}{live}: too little is left for {moment.wanted}."
        cause = Cause(OUTSIDE_ALLOCATOR, text, figures=moment.figures, brief=brief)
        yield _Holder(outside, cause)
    if slack is not None and not moment.by_allocator and moment.is_held(slack, _SLACK_SHARE):
        brief = f"the allocator keeps {size_text(slack)} of {moment.label} that it does not use"
        text = f"{sentence(brief)}, and what asked does not draw on it: too little is left for {moment.wanted}."
        yield _Holder(slack, Cause(ALLOCATOR_CACHE, text, figures=moment.figures, brief=brief))
    elif slack is not None and moment.asked is not None and moment.may_be_fragmented(slack):
        more = ", more than" if slack >= moment.asked else ", with the free memory enough for"
        text = f"{moment.label} is fragmented: {size_text(slack)} are reserved and unused{more} "
        text += f"{moment.wanted}, but not in one block."
        cause = Cause(FRAGMENTATION, text, figures=moment.figures, brief=_FRAGMENTED)
        yield _Holder(slack, cause)


def _live(moment: _FailedMoment) -> str:
    return size_text(moment.live) + ("" if moment.total is None else f" of {size_text(moment.total)}")


def _too_large(moment: _FailedMoment) -> Cause:
    """Return the cause if there is no single holder: the device is full, or it is not known of what."""
    if moment.live is None or not moment.total:
        text = f"Memory ran out on {moment.label}{moment.where}; its figures are not known."
        return Cause(UNKNOWN, text, figures=moment.figures)
    brief = f"one step needs more than {moment.label} has"
    is_less = moment.live + (moment.asked or 0) < FULL_SHARE * moment.total
    if is_less and moment.is_measured_afterwards and (moment.held or 0) >= FULL_SHARE * moment.total:
        text = f"{sentence(brief)}, most likely: its allocator has taken {size_text(moment.held)} of "
        text += f"{size_text(moment.total)}; how much of it was live at that moment is not known."
        return Cause(TOO_LARGE, text, figures=moment.figures, brief=brief)
    if is_less and not _is_accounted_for(moment):
        text = f"Memory ran out on {moment.label}{moment.where}: {_live(moment)} are live here, and who holds the rest "
        return Cause(UNKNOWN, f"{text}is not known.", figures=moment.figures)
    slack = ""
    if moment.slack and moment.asked is not None and moment.slack >= moment.asked:
        slack = f"; the {size_text(moment.slack)} that are reserved and unused are fragmented, and little of the whole"
    if moment.live > moment.total:
        slack = f"{slack}; what exceeds the device lies in the host's memory (Windows, WSL, managed memory)"
    if moment.pools and moment.pools >= _POOLS_SHARE * moment.total:
        slack = f"{slack}; {size_text(moment.pools)} lie in pools that only CUDA graphs use"
    text = f"{sentence(brief)}: {_live(moment)} are live, which leaves no room for {moment.wanted}{slack}."
    return Cause(TOO_LARGE, text, figures=moment.figures, brief=brief)


def _is_accounted_for(moment: _FailedMoment) -> bool:
    """Return whether all that is not live is known to be held by nobody in particular, or to be too small to matter."""
    if moment.total is None or moment.free is None or moment.held is None:
        return False
    others = sum(size or 0 for size in (moment.others, moment.outside, moment.driver))
    rest = moment.total - moment.free - moment.held - others
    return rest < max(_OUTSIDE_SHARE * moment.total, _LEAST_OUTSIDE_BYTES)


def part(breakdown: Breakdown | None, name: str) -> int | None:
    """Return one part of a breakdown in bytes; None if it is not known."""
    return next((each.size_bytes for each in breakdown.parts if each.name == name), None) if breakdown else None
