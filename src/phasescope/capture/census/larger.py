"""Objects that become larger from step to step: an array that is joined to itself, a buffer that is written to.

There is one of it at any time, and mostly another one each time (`x = torch.cat([x, batch])`), so no count shows it. It
is known by what refers to it, and by its place among the others there.
"""

from __future__ import annotations

import array
import io
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.capture.census import base
from phasescope.capture.census.histories import MOST_LOOKS, Risen, in_proportion

if TYPE_CHECKING:
    from collections.abc import Hashable

    from phasescope.capture.census.groups import Key, Kinds
    from phasescope.capture.census.sources import Sources

_LEAST_BYTES = 256 << 10
_MOST = 10

Held = tuple[Any, Any, Any]
"""An object, after what refers to it and what refers to that: None if it is a name that does."""


class Larger(NamedTuple):
    """An object, how it grew in bytes, and what kind of tensor it is; None if it is not a tensor."""

    target: Any
    bytes: int
    risen: Risen
    key: Key | None


class SizeHistories:
    """The sizes of arrays, tensors and buffers at the last few censuses, in bounded memory."""

    def __init__(self) -> None:
        self._looks: dict[Hashable, list[tuple[int, int]]] = {}

    def clear(self) -> None:
        """Forget all: the steps are counted from 0 again."""
        self._looks.clear()

    def larger(self, held: list[Held], step: int, sources: Sources, kinds: Kinds) -> list[Larger]:
        """Return what became larger with the steps, what grew most first."""
        looks: dict[Hashable, list[tuple[int, int]]] = {}
        risen_most: list[Larger] = []
        places: dict[Hashable, int] = {}
        with kinds.quiet():
            for above, owner, item in held:
                named = _owner_id(above, owner, sources)
                place = places[named] = places.get(named, 0) + 1
                size, key = size_of(item, kinds)
                if size < _LEAST_BYTES:
                    continue
                noted = (named, place, id(type(item)))
                looks[noted] = [*self._looks.get(noted, ()), (step, size)][-MOST_LOOKS:]
                risen = in_proportion(looks[noted])
                if risen is not None:
                    risen_most.append(Larger(item, size, risen, key))
        self._looks = looks
        risen_most.sort(key=lambda each: each.risen.before - each.bytes)
        return risen_most[:_MOST]


def listed_types() -> tuple[type, ...]:
    """Return the types whose objects may become larger, of the libraries that are loaded."""
    types: list[type] = [bytearray, bytes, str, io.BytesIO, io.StringIO, array.array]
    for module, name in (("numpy", "ndarray"), ("torch._tensor", "Tensor")):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type):
            types.append(kind)
    return tuple(types)


def size_of(item: Any, kinds: Kinds) -> tuple[int, Key | None]:
    """Return the bytes of one of the listed types, and what kind of tensor it is. A view has none of its own."""
    reading = kinds.read(item)
    if reading is not None:
        return reading[1], reading[0]
    if type(item) is getattr(sys.modules.get("numpy"), "ndarray", None):
        return (int(item.nbytes) if item.base is None else 0), None
    if type(item) is io.StringIO:
        return _text_bytes(item), None
    if type(item) in (bytearray, bytes, str, io.BytesIO, array.array):
        return int(item.__sizeof__()), None
    return 0, None


def _text_bytes(text: io.StringIO) -> int:
    """Return the bytes of a text that is written: as long as it is only written at its end, its parts lie in a list
    that neither its size nor any reference tells of. Of these a byte a character is known."""
    size = int(text.__sizeof__())
    return size if text.closed else max(size, text.tell())


def _owner_id(above: Any, owner: Any, sources: Sources) -> Hashable:
    """Return by what an owner is known at the next census too: the variables of a running function are in a dict of our
    own, and an object gets a dict of attributes only when somebody asks for it."""
    if above is None:
        source = sources.of(owner)
        if source is not None and source.frame is not None:
            return source.frame.f_code.co_name, source.file
    elif type(owner) is dict and not issubclass(type(above), dict) and base.attributes_of(above) is owner:
        return id(above)
    return id(owner)
