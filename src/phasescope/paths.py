"""The paths of phases, each made once: a training enters the same few again and again.

A path knows its children by name, so a phase finds its own with one lookup, already encoded for the ring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.attributes import clean_name
from phasescope.codec import Raw, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 64
MAX_PATHS = 10_000
"""How many paths are remembered; more (names that count up) work as well, at a microsecond each."""


class Path:
    """One path from an outermost phase inwards. `encoded` is the list of its names as in a ring payload."""

    __slots__ = ("children", "encoded", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.encoded = Raw(encode(self.names))
        self.children: dict[str, Path] = {}

    def child(self, name: str) -> Path:
        """The path of a phase inside; beyond `MAX_DEPTH` it takes its parent's place, so that it can not grow."""
        global _remembered
        cleaned = clean_name(name)
        child = Path((*self.names[: MAX_DEPTH - 1], cleaned))
        if _remembered < MAX_PATHS:
            _remembered += 1
            self.children[name] = child
        return child


_remembered = 0
ROOT = Path(())
