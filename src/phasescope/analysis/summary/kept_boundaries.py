"""The boundaries of each phase on each device that a summary has read, and not passed on yet."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .allocator_counts import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .phase_tree import _Node

Ends = tuple[tuple[str, ...], "Sequence[tuple[int, int, int, int | None, int]]"]
"""A phase's path and its exits: the place of each among those passed on together, allocated bytes, delta, time and
duration."""


class PhaseBoundaries:
    """The boundaries of one phase on one device: those that its node has not been passed yet."""

    __slots__ = (
        *("deltas", "durations", "ends", "highest", "knows_reserved", "node", "path", "reserved"),
        *("packed_deltas", "packed_durations", "packed_ends"),
        *("risen", "risen_outside", "slack"),
    )

    def __init__(self, node: _Node, knows_reserved: bool) -> None:
        self.node = node
        self.path = node.path
        self.knows_reserved = knows_reserved
        self.highest = -1  # of the allocated figures; below 0 there is nothing to pass on
        self.reserved = self.slack = -1  # the highest of these
        self.durations: list[int] = []
        self.deltas: list[int] = []
        self.ends: list[tuple[int, int, int, int | None, int]] = []  # only if a watch wants them
        # What the compiled core adds: 64-bit integers.
        self.packed_durations, self.packed_deltas, self.packed_ends = bytearray(), bytearray(), bytearray()
        self.risen = [0] * len(KEYS)  # what the allocator's counts have risen by at its exits
        self.risen_outside = [0] * len(KEYS)  # and at its entries: meanwhile the enclosing phase was the innermost

    def tell(self, label: str, knows_allocated: bool) -> None:
        self.node.saw(label, True, self.highest if knows_allocated else None)
        if knows_allocated and self.knows_reserved:
            self.node.reserved(label, self.reserved, self.slack)
        self.reserved = self.slack = -1
        if self.packed_durations:
            durations, deltas = array("q", self.packed_durations), array("q", self.packed_deltas)
            self.node.ended(len(durations), durations, deltas)
            self.packed_durations.clear()
            self.packed_deltas.clear()
        if self.durations:
            self.node.ended(len(self.durations), self.durations, self.deltas)
            self.durations.clear()
            self.deltas.clear()
        self.highest = -1


class PackedEnds(Sequence[tuple[int, int, int, "int | None", int]]):
    """Ends of a phase as the compiled core packs them: five integers each."""

    def __init__(self, packed: bytearray) -> None:
        """Take the packed ends."""
        self._values = array("q", packed)

    def columns(self) -> tuple[Sequence[int], ...]:
        """Return their places, allocated bytes, deltas, times and durations."""
        return tuple(self._values[first::5] for first in range(5))

    def __len__(self) -> int:
        return len(self._values) // 5

    def __iter__(self) -> Iterator[Any]:
        return zip(*self.columns(), strict=True)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


class Device(NamedTuple):
    """`kinds` are by packed path. Devices that differ in the driver's figures only have them in common."""

    label: str
    knows_allocated: bool
    kinds: dict[bytes, PhaseBoundaries]


NO_DEVICE = Device("", False, {})
