"""The parts of a cause, and its kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .growth import Growth
    from .open_phase_rise import Rise

GROWTH, WORKERS_GROW, OTHERS = "growth", "workers_grow", "other_processes"
PHASE_RISES = "phase_rises"
FRAGMENTATION, TOO_LARGE, LIMIT = "fragmentation", "too_large", "limit"
ALLOCATOR_CACHE = "allocator_cache"
OUTSIDE_ALLOCATOR, LIMIT_OF_DEVICE, REFUSED = "outside_allocator", "limit_of_device", "refused_although_free"
HOST_FULL, UNKNOWN = "host_full", "unknown"
KILLED_OUTSIDE, FAILED, NONE = "killed", "exception", "none"


@dataclass(frozen=True)
class Cause:
    """The cause of an ending or of growth. docs/explain.md lists every `kind`; `text` is a sentence for a person.

    `figures` are the numbers behind it, by name: bytes, steps and shares. `certain` is False if it is inferred.
    `brief` is the same in few words for a verdict, where memory ran out; empty where there is a growth or a rise.
    """

    kind: str
    text: str
    certain: bool = False
    figures: dict[str, int | float] = field(default_factory=dict)
    growth: Growth | None = None
    rise: Rise | None = None
    brief: str = ""


def sentence(brief: str) -> str:
    """Return the few words as the beginning of a sentence, so that both places say the same."""
    return brief[:1].upper() + brief[1:]


def known(**figures: int | None) -> dict[str, int | float]:
    """Return the figures of a cause: those that are known, by name."""
    return {name: value for name, value in figures.items() if value is not None}
