"""The bytes of JAX's arrays, and of numpy's beside them, by where they lie.

Nothing waits for a computation: an array that is not there yet has its shape already. An array that was deleted or
given away (`donate_argnums`) has no memory any more. Nothing is asked that would give an array parts of its own.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from ._attributes import attributes_of, slots_of
from ._sizes import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._sizes import CategorySizes

_PLAIN = frozenset(map(id, (int, float, complex, bool, str, bytes, type(None))))
"""By address: a class may have a way of its own to be equal to others."""

_MOST = 100_000
_MOST_DEPTH = 64
_HOST_MEMORY = ("pinned_host", "unpinned_host")
_IS_HEAP_TYPE = 1 << 9
_flags_of: Any = type.__dict__["__flags__"].__get__
_modules = sys.modules


class JaxArrays:
    """Finds arrays in trees of any depth, and counts them."""

    def __init__(self) -> None:
        jaxlib: Any = _modules.get("jaxlib._jax") or _modules.get("jaxlib.xla_extension")
        self._array: Any = getattr(jaxlib, "ArrayImpl", None)
        self._numpy: Any = getattr(_modules.get("numpy"), "ndarray", None)
        self._places: dict[int, tuple[Any, Any, list[str]]] = {}
        """By the identity of a sharding, which many arrays have: itself, its device if it is one, and our names."""

    def add_tree(self, sizes: CategorySizes, category: str, tree: Any) -> None:
        """Count the arrays of a tree: in dicts, lists and tuples, and in attributes, as flax, optax and equinox nest
        them. No function that a class registered for JAX is called. Raises ValueError if the tree has no end."""
        sizes.begin(category)
        level, visited, seen = [tree], 0, {id(tree)}
        for _ in range(_MOST_DEPTH):
            below: list[Any] = []
            for each in level:
                kind = type(each)
                if kind is self._array or kind is self._numpy:
                    self.add(sizes, category, each)
                elif id(kind) not in _PLAIN and not issubclass(kind, type):
                    for inner in _contents(each, kind):
                        if id(inner) not in seen:
                            seen.add(id(inner))
                            below.append(inner)
            visited += len(below)
            if not below:
                return
            if visited > _MOST:
                break
            level = below
        raise ValueError(f"more than {_MOST:,} objects, or {_MOST_DEPTH} levels")

    def add(self, sizes: CategorySizes, category: str, array: Any) -> None:
        """Count an array, by where it lies."""
        if type(array) is self._numpy:
            self._add_numpy(sizes, category, array)
        elif type(array) is self._array and not array.is_deleted():
            self._add_jax(sizes, category, array)

    def _add_jax(self, sizes: CategorySizes, category: str, array: Any) -> None:
        sharding, aval = array.sharding, array.aval
        dtype, shape = aval.dtype, aval.shape
        place = self._places.get(id(sharding))
        if place is None:
            place = self._places[id(sharding)] = _place_of(sharding)
        _, device, names = place
        keys: list[Any] = [id(array)]
        if device is None:
            shape = sharding.shard_shape(shape)
        elif array.is_ready():  # else asking for its address would wait for the computation
            keys.append((device, array.unsafe_buffer_pointer()))
        size = math.prod(shape) * dtype.itemsize
        if size and sizes.is_new(*keys):
            is_float32 = dtype == "float32"
            for name in names:
                sizes.add(category, name, size, is_float32)

    def _add_numpy(self, sizes: CategorySizes, category: str, array: Any) -> None:
        owner = array
        while type(owner.base) is self._numpy:  # a view keeps all that it is a view of
            owner = owner.base
        if owner.nbytes and sizes.is_new(("numpy", owner.__array_interface__["data"][0])):
            sizes.add(category, HOST, owner.nbytes, owner.dtype == "float32")


def _place_of(sharding: Any) -> tuple[Any, Any, list[str]]:
    """Return a sharding, kept so that no other one gets its identity; its device if it has one alone; and our names."""
    devices = list(sharding.addressable_devices)
    on_host = sharding.memory_kind in _HOST_MEMORY
    names = [HOST if on_host or device.platform == "cpu" else f"jax:{device.id}" for device in devices]
    return sharding, devices[0] if len(devices) == 1 else None, names


def _contents(value: Any, kind: type) -> Iterable[Any]:
    if issubclass(kind, dict):
        return list(dict.values(value))
    if issubclass(kind, list):
        return list(list.__iter__(value))
    if issubclass(kind, tuple):
        return tuple.__iter__(value)
    if kind is deque:
        return list(value)
    if not _flags_of(kind) & _IS_HEAP_TYPE:  # a function, a module, a file
        return ()
    return [*attributes_of(value).values(), *slots_of(value)]
