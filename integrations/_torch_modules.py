"""Which submodules a model's memory belongs to, read as the whole is: without a line of the user's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ._attributes import attributes_of
from ._torch_storages import Storages, given_to, gradients_of, parameters_of, tensors_in

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable, Mapping

ByModule = dict[str, dict[str, dict[str, int]]]
"""Bytes by device, module and category."""

_MOST = 32
_BETWEEN = ":"  # what no category has in its name


def smallest(names: Iterable[str]) -> set[str]:
    """Return the names of modules that have no other one of them inside, without the model itself."""
    all_of_them = set(names)
    around = {name[:index] for name in all_of_them for index in range(len(name)) if name[index] == "."}
    return all_of_them - around - {""}


class Modules:
    """The submodules that are distinguished, held weakly, and what the forwards of a step keep of each."""

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[str, weakref.ref[Any]]]] = {}
        self.watch()

    def know(self, model: Any, parts: list[tuple[str, weakref.ref[Any]]]) -> None:
        """Tell these submodules of a model apart from now on, by their names."""
        self._parts[id(model)] = parts

    def forget(self, model: Any) -> None:
        """Tell those of a model apart no more."""
        self._parts.pop(id(model), None)

    def watch(self) -> None:
        """Begin a step of which nothing is known."""
        self._since_backward: dict[tuple[str, str], int] = {}
        self._kept: dict[tuple[str, str], int] = {}

    def add(self, saved: Mapping[tuple[str, str], int]) -> None:
        """Note what a forward has left, by device and module."""
        for key, size in saved.items():
            self._since_backward[key] = self._since_backward.get(key, 0) + size

    def backward_begins(self) -> None:
        """Note that it is freed now. Of several backward passes the one with the most counts."""
        since, self._since_backward = self._since_backward, {}
        if sum(since.values()) >= sum(self._kept.values()):
            self._kept = since

    def sizes(self, optimizers: Iterable[Any]) -> ByModule:
        """Return what each of them has."""
        parts = [(name, module) for of in self._parts.values() for name, ref in of if (module := ref()) is not None]
        if not parts:
            return {}
        with torch._C.DisableTorchFunction():
            return by_module(parts, optimizers, self._kept)


def by_module(
    parts: Iterable[tuple[str, Any]], optimizers: Iterable[Any], kept: Mapping[tuple[str, str], int]
) -> ByModule:
    """Return what the named modules have, each storage once: weights, gradients, and the optimizers' state for them.

    kept: what forwards have left for their backward, by device and module. The largest modules of each device are
    returned, and no more than a few dozen.
    """
    states = _states(optimizers)
    storages = Storages()
    for name, module in parts:
        parameters = list(parameters_of(module))
        of_parameters = [kept for each in parameters for kept in states.get(id(each), ())]
        storages.add(f"{name}{_BETWEEN}parameters", parameters)
        storages.add(f"{name}{_BETWEEN}gradients", gradients_of(parameters))
        storages.add(f"{name}{_BETWEEN}optimizer_state", [one for state in of_parameters for one in tensors_in(state)])
    modules: ByModule = {}
    for device, sizes in storages.sizes.items():
        for both, size in sizes.items():
            name, _, category = both.rpartition(_BETWEEN)
            if size:
                modules.setdefault(device, {}).setdefault(name, {})[category] = size
    for (device, name), size in kept.items():
        modules.setdefault(device, {}).setdefault(name, {})["activations"] = size
    return {device: _largest(of) for device, of in modules.items()}


def _largest(modules: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    order = sorted(modules, key=lambda name: -sum(modules[name].values()))
    return {name: modules[name] for name in order[:_MOST]}


def _states(optimizers: Iterable[Any]) -> dict[int, list[Any]]:
    """Return the state of each parameter, by its identity. A state for many parameters belongs to no module."""
    states: dict[int, list[Any]] = {}
    for optimizer in optimizers:
        state = attributes_of(optimizer).get("state")
        if not isinstance(state, dict) or (len(state) == 1 and len(list(given_to(optimizer))) > 1):
            continue
        for parameter, kept in list(dict.items(state)):
            states.setdefault(id(parameter), []).append(kept)
    return states
