"""Tensors, grouped by what they are: device, type of their elements, shape, and whether they carry a graph."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.capture.census import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

_MOST = 20_000
"""Of more tensors than these only every n-th is looked at."""
_MOST_DIMENSIONS = 16


class Key(NamedTuple):
    """The key of a group: what its tensors have in common; `shape` is None for all of them, whatever their shapes."""

    library: str
    device: str
    dtype: str
    shape: tuple[int, ...] | None
    graph: bool
    trains: bool = False  # a leaf that gets a gradient: a parameter


class Group:
    """Tensors that are alike: how many, their bytes, and the objects themselves until `forget()`."""

    __slots__ = ("bytes", "count", "members")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.members: list[Any] = []

    def forget(self) -> None:
        """Drop the references."""
        self.members.clear()


class Kinds:
    """The classes of tensors of the libraries that are loaded by now, and how to read them."""

    def __init__(self) -> None:
        self._readers: dict[int, Callable[[Any], tuple[Key, int] | None]] = {}  # by class: its hash may be code
        self.all: tuple[type, ...] = ()
        self._torch: Any = None
        self._names: dict[object, str] = {}
        self._loaded: tuple[bool, ...] = ()

    def update(self) -> None:
        """Learn of libraries that were loaded meanwhile. None is imported."""
        modules = ("torch", "tensorflow.python.framework.ops", *versions.MODULES)
        loaded = tuple(name in sys.modules for name in modules)
        if loaded == self._loaded:
            return
        self._loaded = loaded
        tracked: list[type] = []
        base, parameter = _attribute("torch._C", "TensorBase"), _attribute("torch.nn.parameter", "Parameter")
        tensor = _attribute("torch._tensor", "Tensor")
        if base is not None and tensor is not None:
            self._torch = sys.modules["torch._C"]
            self._getters = [base.__dict__[name].__get__ for name in ("shape", "dtype", "device", "requires_grad")]
            self._is_leaf = base.__dict__["is_leaf"].__get__
            tracked.append(base)
            self._readers[id(tensor)] = self._of_torch
            if parameter is not None:
                self._readers[id(parameter)] = self._of_torch
        eager = _attribute("tensorflow.python.framework.ops", "EagerTensor")
        if eager is not None:
            tracked.append(eager)
            self._readers[id(eager)] = self._of_tensorflow
        jax = _attribute("jaxlib._jax", "ArrayImpl") or _attribute("jaxlib.xla_extension", "ArrayImpl")
        if jax is not None:
            tracked.append(jax)
            self._readers[id(jax)] = self._of_jax
        self.all = (*tracked, *versions.classes())

    def group(self, objects: list[Any]) -> dict[Key, Group]:
        """Return the groups of these objects. Of classes that are not the libraries' own, nothing is asked."""
        groups: dict[Key, Group] = {}
        stride = 1 + len(objects) // _MOST
        with self.quiet():
            for item in objects[::stride] if stride > 1 else objects:
                reading = self.read(item)
                if reading is not None:
                    group = groups.get(reading[0])
                    if group is None:
                        group = groups[reading[0]] = Group()
                    group.count += stride
                    group.bytes += reading[1] * stride
                    group.members.append(item)
        return groups

    def quiet(self) -> AbstractContextManager[Any]:
        """Return a context in which tensors are read, and no `__torch_function__` is called."""
        if self._torch is None:
            return nullcontext()
        guard: AbstractContextManager[Any] = self._torch.DisableTorchFunction()
        return guard

    def read(self, item: Any) -> tuple[Key, int] | None:
        """Return what a tensor is, and its bytes; None if it is not one of the libraries' own."""
        read = self._readers.get(id(type(item)))
        if read is None:
            return None
        try:
            return read(item)
        except Exception:  # one that is being made or was deleted
            return None

    def _of_torch(self, tensor: Any) -> tuple[Key, int] | None:
        get_shape, get_dtype, get_device, get_requires = self._getters
        shape, dtype = tuple(get_shape(tensor)), get_dtype(tensor)
        size = dtype.itemsize
        for length in shape:
            if type(length) is not int:
                return None
            size *= length
        requires, is_leaf = bool(get_requires(tensor)), bool(self._is_leaf(tensor))
        device = get_device(tensor)
        names = self._names
        dtype_name = names.get(dtype) or names.setdefault(dtype, str(dtype).removeprefix("torch."))
        device_name = names.get(device) or names.setdefault(device, str(device))
        return Key(
            "torch", device_name, dtype_name, shape[:_MOST_DIMENSIONS], requires and not is_leaf, requires and is_leaf
        ), size

    def _of_tensorflow(self, tensor: Any) -> tuple[Key, int] | None:
        shape, dtype = tensor._shape_tuple(), tensor.dtype
        size = dtype.size
        for length in shape:
            size *= length
        return Key("tensorflow", str(tensor.device).rpartition("device:")[2].lower(), dtype.name, shape, False), size

    def _of_jax(self, array: Any) -> tuple[Key, int] | None:
        if array.is_deleted():
            return None
        aval = array.aval
        size = aval.dtype.itemsize
        for length in aval.shape:
            size *= length
        devices = list(array.devices())
        device = devices[0].platform + (f":{devices[0].id}" if len(devices) == 1 else "")
        return Key("jax", device, str(aval.dtype), tuple(aval.shape), False), size


def of_any_shape(groups: dict[Key, Group]) -> dict[Key, Group]:
    """Return the same by all but the shape, of those that have more than one shape."""
    merged: dict[Key, Group] = {}
    shapes: dict[Key, int] = {}
    for key, group in groups.items():
        key = key._replace(shape=None)
        whole = merged.setdefault(key, Group())
        whole.count += group.count
        whole.bytes += group.bytes
        whole.members += group.members
        shapes[key] = shapes.get(key, 0) + 1
    return {key: group for key, group in merged.items() if shapes[key] > 1}


def _attribute(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def forget(groups: Iterable[Group]) -> None:
    """Drop all references."""
    for group in groups:
        group.forget()
