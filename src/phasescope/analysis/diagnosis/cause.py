"""What a cause is made of, and the kinds that there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .growth import Growth
    from .open_phase_rise import Rise

GROWTH, WORKERS_GROW, OTHERS = "growth", "workers_grow", "other_processes"
PHASE_RISES = "phase_rises"
FRAGMENTATION, TOO_LARGE, LIMIT = "fragmentation", "too_large", "limit"
OUTSIDE_ALLOCATOR = "outside_allocator"
HOST_FULL, UNKNOWN = "host_full", "unknown"
KILLED_OUTSIDE, FAILED, NONE = "killed", "exception", "none"


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


def known(**figures: int | None) -> dict[str, int | float]:
    """The figures of a cause: those that are known, by name."""
    return {name: value for name, value in figures.items() if value is not None}
