"""The paths of phases, each made once: a training enters the same few again and again.

A path knows its children by name, so a phase finds its own with one lookup, already encoded for the ring.
"""

from __future__ import annotations

from phasescope.capture.attributes import MAX_TEXT, clean_name
from phasescope.wire.encoding import Raw, encode

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 64
MAX_REMEMBERED_BYTES = 4 * 2**20
"""How much the remembered paths may take; further ones (names that count up) work as well, at a microsecond each."""

_OBJECTS_BYTES = 700
"""The bytes that the objects around one remembered path take, roughly."""


class Path:
    """One path from an outermost phase inwards. `encoded` is the list of its names as in a ring payload, `packed` the
    same as bytes."""

    __slots__ = ("_parent", "children", "encoded", "names", "packed")

    def __init__(self, names: Iterable[str], parent: Path | None = None) -> None:
        self.names = tuple(names)
        self.packed = encode(self.names)
        self.encoded = Raw(self.packed)
        self.children: dict[str, Path] = {}
        self._parent = parent

    def child(self, name: str) -> Path:
        """Return the path of a phase inside; beyond `MAX_DEPTH` it takes its parent's place, so that it cannot grow."""
        if len(self.names) == MAX_DEPTH and self._parent is not None:
            return self._parent.children.get(name) or self._parent.child(name)
        global _remembered_bytes
        child = Path((*self.names, clean_name(name)), self)
        size_bytes = _OBJECTS_BYTES + 8 * len(self.names) + len(child.encoded)
        # A long name would be kept whole, as the key: one longer than a name ever gets is not remembered.
        if len(name) <= MAX_TEXT and _remembered_bytes + size_bytes <= MAX_REMEMBERED_BYTES:
            _remembered_bytes += size_bytes
            self.children[name] = child
        return child


_remembered_bytes = 0
ROOT = Path(())
