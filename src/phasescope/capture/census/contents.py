"""The contents of a container: the kind of its items, and how many bytes they have for themselves."""

from __future__ import annotations

import gc
import sys
import types
from collections import deque
from itertools import islice
from typing import Any

from phasescope.capture.census import base

_SAMPLED_ITEMS = 12
_MOST_BELOW = 200  # objects that an item refers to, directly or not
_SIZED = frozenset(map(id, (str, bytes, bytearray, int, float, complex, list, dict, tuple, set, frozenset, deque)))
"""By address: a class may have a way of its own to be equal to others."""
_NOT_DATA = (type, types.ModuleType, types.FunctionType, types.FrameType, types.CodeType, types.TracebackType)
_OBJECT_BYTES = 48


def contents(container: Any, length: int) -> dict[str, Any]:
    """Return `bytes`, and `of`, the class of the items, `dtype` and `shape` (of numpy's arrays), if all have the same.

    The bytes are those of plain objects and of numpy's arrays that an item refers to and that others do not: a few
    items are looked at, from all over the container. Tensors are not among them.
    """
    items = _some_items(container, length)
    array: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
    try:
        fields: dict[str, Any] = {"bytes": _bytes_of(items, array) * length // max(1, len(items))}
        kind = type(items[0]) if items else None
        if kind is not None and all(type(item) is kind for item in items):
            fields["of"] = base.type_name(kind)
            if kind is array:
                arrays = {(str(item.dtype)[:40], item.shape) for item in items}
                if len(arrays) == 1:
                    dtype, shape = arrays.pop()
                    fields |= {"library": "numpy", "dtype": dtype, "shape": list(shape)}
        return fields
    finally:
        items.clear()


def _some_items(container: Any, length: int) -> list[Any]:
    stride = max(1, length // _SAMPLED_ITEMS)
    kind = type(container)
    every: Any = None
    for base_class, walk in ((list, list.__iter__), (dict, dict.values), (set, set.__iter__), (deque, deque.__iter__)):
        if issubclass(kind, base_class):
            every = walk
    return [] if every is None else list(islice(every(container), 0, None, stride))


def _bytes_of(items: list[Any], array: Any) -> int:
    """Return the bytes of what the items refer to; what two of them refer to is not theirs."""
    sizes: dict[int, int] = {}
    owners: dict[int, int] = {}
    alive: list[Any] = []
    for place, item in enumerate(items):
        below, seen = [item], {id(item)}
        for each in below:  # it grows meanwhile
            if owners.setdefault(id(each), place) != place:
                sizes[id(each)] = 0
                continue
            sizes[id(each)] = _size_of(each, array)
            if len(below) < _MOST_BELOW and gc.is_tracked(each):
                for other in gc.get_referents(each):
                    if id(other) not in seen and not issubclass(type(other), _NOT_DATA):
                        seen.add(id(other))
                        below.append(other)
            elif len(below) < _MOST_BELOW and (
                type(each) is dict or type(each) is tuple
            ):  # of plain objects: not tracked
                below += [other for other in gc.get_referents(each) if id(other) not in seen]
        alive += below  # or an address could be another object's by now
        below.clear()
    alive.clear()
    return sum(sizes.values())


def _size_of(item: Any, array: Any) -> int:
    kind = type(item)
    if kind is array:
        base_array = item.base
        size = int(item.nbytes)
        while type(base_array) is array:  # a view keeps all that it is a view of
            size, base_array = int(base_array.nbytes), base_array.base
        return size + 112
    if id(kind) in _SIZED:
        return int(item.__sizeof__())
    return _OBJECT_BYTES if item is not None and item is not True and item is not False else 0
