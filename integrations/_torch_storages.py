"""The distinct storages of a training's own objects, by device and category, read without a line of the user's code.

Torch's C functions and the instances' own dictionaries are asked, never a method or property that a class of the
training's may have overridden. Nothing is computed, copied, synchronised or kept.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch

from ._attributes import attributes_of, slots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_base: Any = torch.Tensor.__mro__[1]
_storage_of, _gradient_of = _base.untyped_storage, _base.grad.__get__
_device_of, _type_of, _is_leaf = _base.device.__get__, _base.dtype.__get__, _base.is_leaf.__get__
_size_of: Any = torch.UntypedStorage.nbytes
# The storage's own method would have a lazily cloned one copied.
_address_of: Any = getattr(torch._C, "_data_address", lambda tensor: _storage_of(tensor).data_ptr())

_PLAIN = frozenset({int, float, bool, str, type(None)})
_MAX_DEPTH = 5
_MAX_INNER = 32


class Storages:
    """The storages that were found. Each counts once, in the category that it was found for first."""

    def __init__(self) -> None:
        self.sizes: dict[str, dict[str, int]] = {}
        self.float32: dict[str, dict[str, int]] = {}
        """What of them is of that type: by what a smaller one would save."""

        self._seen: set[tuple[Any, int]] = set()
        self._names: dict[Any, str] = {}

    def add(self, category: str, tensors: Iterable[Any]) -> None:
        """Count these tensors. One without memory of its own is made of others, which count.

        Where there are others, the category is 0 from now on, and no longer unknown.
        """
        for sizes in self.sizes.values():
            sizes.setdefault(category, 0)
        self._add(category, tensors)

    def _add(self, category: str, tensors: Iterable[Any]) -> None:
        seen, names = self._seen, self._names
        for tensor in tensors:
            try:
                address = _address_of(tensor)
                size = _size_of(_storage_of(tensor))
            except (RuntimeError, NotImplementedError):  # one of several parts, or none at all
                self._add(category, _parts_of(tensor))
                continue
            if not address:
                if size:
                    self._add(category, _inner(tensor))
                continue
            device = _device_of(tensor)
            key = device, address
            if key not in seen:
                seen.add(key)
                name = names.get(device)
                if name is None:
                    name = names[device] = _name_of(device)
                sizes = self.sizes.setdefault(name, {})
                sizes[category] = sizes.get(category, 0) + size
                if _type_of(tensor) is torch.float32:
                    floats = self.float32.setdefault(name, {})
                    floats[category] = floats.get(category, 0) + size


def tensors_in(value: Any, depth: int = _MAX_DEPTH) -> list[Any]:
    """Return the tensors in plain containers of any depth, as an optimizer's state or a batch has them."""
    tensors: list[Any] = []
    level = [value]
    for _ in range(depth + 1):
        inside: list[Any] = []
        for each in level:
            kind = type(each)
            if is_tensor_class(kind):
                tensors.append(each)
            elif kind not in _PLAIN:
                inside += _contents(each, kind)
        if not inside:
            break
        level = inside
    return tensors


def _contents(value: Any, kind: type) -> Iterable[Any]:
    if issubclass(kind, dict):
        return list(dict.values(value))
    if issubclass(kind, list):
        return list.__iter__(value)
    if issubclass(kind, tuple):
        return tuple.__iter__(value)
    if kind is deque:
        return list(value)
    return list(attributes_of(value).values()) if "__dataclass_fields__" in vars(kind) else ()


def is_tensor_class(kind: type) -> bool:
    """Return whether the objects of a class are tensors. `isinstance` would ask the object for its class."""
    return kind is torch.Tensor or kind is torch.nn.Parameter or torch.Tensor in kind.__mro__


def parameters_of(module: Any) -> Iterator[Any]:
    """Yield the parameters of a module and of those inside."""
    for each in modules_of(module):
        if _is_scripted(each):
            yield from each.parameters(recurse=False)
        else:
            yield from _tensors(attributes_of(each).get("_parameters"))


def buffers_of(module: Any) -> Iterator[Any]:
    """Yield the buffers of a module and of those inside."""
    for each in modules_of(module):
        if _is_scripted(each):
            yield from each.buffers(recurse=False)
        else:
            yield from _tensors(attributes_of(each).get("_buffers"))


def gradients_of(parameters: Iterable[Any]) -> Iterator[Any]:
    """Yield the gradients that are there. A tensor that is not a leaf has none, and would warn if asked."""
    for parameter in parameters:
        if _is_leaf(parameter):
            gradient = _gradient_of(parameter)
            if gradient is not None:
                yield gradient


def given_to(optimizer: Any) -> Iterator[Any]:
    """Yield the parameters of an optimizer's groups."""
    for group in _groups_of(optimizer):
        yield from tensors_in(group.get("params"), depth=1)


def state_of(optimizer: Any) -> Iterator[Any]:
    """Yield the tensors that an optimizer keeps beside its parameters, a learning rate among them if it is one."""
    own = attributes_of(optimizer)
    yield from tensors_in(own.get("state"))
    for variable in own.get("_variables") or ():  # Keras's
        yield from tensors_in(attributes_of(variable).get("_value"), depth=1)
    if own.get("inner_optimizer") is not None:  # of Keras's that scales the loss
        yield from state_of(own["inner_optimizer"])
    for group in _groups_of(optimizer):
        for name, value in list(group.items()):
            if name != "params":
                yield from tensors_in(value, depth=1)


def outline_of(optimizer: Any) -> tuple[object, ...]:
    """Return a few numbers that differ once an optimizer has other parameters or more state, or has moved."""
    groups, state = _groups_of(optimizer), attributes_of(optimizer).get("state")
    params = groups[0].get("params") if groups else None
    # Not all of them are gone through for the first one.
    first = next(iter(tensors_in(params[:1] if type(params) is list else params, depth=1)), None)
    where = None if first is None else (_device_of(first), _type_of(first))
    return len(groups), len(state) if isinstance(state, dict) else 0, where


def modules_of(module: Any) -> Iterator[Any]:
    """Yield a module and all inside it, each once."""
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        yield module
        if _is_scripted(module):
            waiting += module.children()
        else:
            inside = attributes_of(module).get("_modules")
            waiting += list(dict.values(inside)) if isinstance(inside, dict) else ()


def _is_scripted(module: Any) -> bool:
    """Return whether its parts lie in C++. `isinstance` would ask the module for its class."""
    return torch.jit.ScriptModule in type(module).__mro__


def _groups_of(optimizer: Any) -> list[dict[str, Any]]:
    groups = attributes_of(optimizer).get("param_groups")
    return [group for group in groups if type(group) is dict] if type(groups) is list else []


def _tensors(named: Any) -> list[Any]:
    return [one for one in dict.values(named) if is_tensor_class(type(one))] if isinstance(named, dict) else []


def _parts_of(tensor: Any) -> list[Any]:
    """Return the parts of a sparse tensor."""
    parts = []
    for name in ("_values", "_indices", "values", "crow_indices", "col_indices", "ccol_indices", "row_indices"):
        try:
            parts.append(getattr(_base, name)(tensor))
        except (RuntimeError, NotImplementedError, AttributeError):
            continue
    return parts


def _inner(tensor: Any) -> list[Any]:
    """Return the tensors that one without memory of its own wraps: a shard, quantised data with its scales."""
    inside = [*attributes_of(tensor).values(), *slots_of(tensor, torch.Tensor)]
    return [value for value in inside if is_tensor_class(type(value))][:_MAX_INNER]


def _name_of(device: Any) -> str:
    return str(device.type) if device.index is None else f"{device.type}:{device.index}"
