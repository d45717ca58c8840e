"""Whether a rise over few steps, by little, of what is trained, or that slackens, is growth: by what else is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .census import compiled_again, is_kept_without_bound, is_on, seen_anyway
from .ending import DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY
from .library_counts import do_figures_pile_up

if TYPE_CHECKING:
    from .census import NewestCensus
    from .ending import Ending
    from .growth import Growth
    from .library_counts import Seen
    from .more_trained import TrainedFold


def judged(
    growth: Growth,
    ending: Ending,
    census: NewestCensus | None,
    seen: Seen,
    trained: TrainedFold,
    *,
    is_oom_killed: bool,
) -> Growth:
    """Return a growth over few steps, or by little, as unclear, unless it is known what becomes more with the steps,
    or memory ran out in the end over few of them; as unclear one of gradients and an optimizer's state, unless memory
    ran out; and as unclear one that does not grow if a census contradicts.

    A cache that fills, garbage that was not collected yet, and a heap that settles rise as a leak does. If memory ran
    out over few steps, it is a reason whichever it was.
    """
    if _is_contradicted(growth, census):
        return replace(growth, unclear=True)
    ran_out = is_oom_killed or ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
    if not ran_out and trained.explains(growth):
        return replace(_unclear(growth), few=False, little=False, trained=True)
    if not (growth.grows and (growth.few or growth.little)):
        return growth
    if (ran_out and growth.few) or _is_known(growth, census, seen):
        return replace(growth, few=False, little=False)
    return _unclear(growth)


def _unclear(growth: Growth) -> Growth:
    return replace(growth, grows=False, unclear=True, phases=(), outside=False, hours_until_full=None)


def _is_contradicted(growth: Growth, census: NewestCensus | None) -> bool:
    """Return whether a device's memory rises in a way that would not be called growth, by heaps that are given back now
    and then, say, while objects are known to become more that nothing bounds."""
    rises = growth.per is not None and growth.low_bytes_per_step > 0
    return rises and not growth.grows and any(is_on(each, growth.device) for each in seen_anyway(census))


def _is_known(growth: Growth, census: NewestCensus | None, seen: Seen) -> bool:
    """Return whether it is known what becomes more with the steps: objects that somebody keeps, versions of a function,
    or figures that stay open."""
    if is_kept_without_bound(growth, census) or compiled_again(growth, census):
        return True
    return growth.device == "host" and do_figures_pile_up(seen)
