"""Whether a rise over few steps is growth: decided by what else is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .census import is_explained
from .ending import DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY

if TYPE_CHECKING:
    from .census import NewestCensus
    from .ending import Ending
    from .growth import Growth


def judged(growth: Growth, ending: Ending, census: NewestCensus | None, *, is_oom_killed: bool) -> Growth:
    """Return a growth over few steps as unclear, unless it is known who keeps it, or memory ran out in the end.

    A cache that fills, or garbage that was not collected yet, rises as a leak does. If memory ran out meanwhile, it is
    a reason whichever it was.
    """
    ran_out = is_oom_killed or ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
    if not growth.few:
        return growth
    if ran_out or is_explained(growth, census):
        return replace(growth, few=False)
    return replace(growth, grows=False, unclear=True, phases=(), outside=False, hours_until_full=None)
