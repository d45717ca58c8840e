"""The modules that the optimizers of a run train, and the name of a call of each.

Modules are looked at when they are called, never looked for: there is no walk over all objects. Everything is held
weakly, and by identity: a model may compare and hash as it likes.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch

from ._torch_owners import Optimizers
from ._torch_storages import modules_of, parameters_of

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DistributedDataParallel": "module", "DataParallel": "module"}
_WRAPPERS |= {"FullyShardedDataParallel": "_fsdp_wrapped_module", "_FabricModule": "_original_module"}
_WRAPPERS["DeepSpeedEngine"] = "module"
_MAX_NAME = 40
_MAX_NUMBER = 8


class Role(NamedTuple):
    """The name of a module's calls, and whether an optimizer has parameters of it: then it is trained.

    No name: it is not marked.
    """

    name: str | None
    is_trained: bool
    by: frozenset[int] = frozenset()


_NONE = Role(None, False)
_OF_OTHERS = Role("forward", True)


class Roles:
    """The roles of modules, decided at the first call, and again when an optimizer comes that trains something else."""

    def __init__(self) -> None:
        self.optimizers = Optimizers()
        self._known: dict[int, tuple[weakref.ref[Any], Role]] = {}
        self._named: dict[str, dict[int, weakref.ref[Any]]] = {}

    def add(self, optimizer: Any, owner: object) -> None:
        """Note that an optimizer was made."""
        if self.optimizers.add(key_of(optimizer), optimizer, owner):
            self._known.clear()

    def of(self, module: Any) -> Role:
        """Return the role of this module."""
        ident = id(module)
        decided = self._known.get(ident)
        if decided is not None and decided[0]() is module:
            return decided[1]
        if _is_given_others(module):
            return _OF_OTHERS
        role = self._decided(module)
        self._known[ident] = weakref.ref(module, lambda _: self._known.pop(ident, None)), role
        return role

    def _decided(self, module: Any) -> Role:
        """Decide a role.

        `forward` is whatever all optimizers train: the model, or the parts that are called by themselves. With several
        optimizers the models that only some of them train go by their class, as do those that none does: the first of a
        class by that alone, others with a number.
        """
        held = {id(parameter) for parameter in parameters_of(module)}
        if not held and not isinstance(module, torch.jit.ScriptModule):
            return _NONE
        trained = self._trained()
        by = frozenset(key for key, given in trained.items() if any(id(parameter) in held for parameter in given))
        beside = self.optimizers.beside(by) if by else trained.keys()
        name = "forward" if by >= trained.keys() & beside else f"forward ({self._name_of(module)})"
        return Role(name, bool(by) or not trained, by)

    def _name_of(self, module: Any) -> str:
        """Return the name of its class, with the least number that is free among the living ones of that name.

        Beyond the highest there is they share one.
        """
        module = _unwrapped(module)
        name = type(module).__name__[:_MAX_NAME]
        named = self._named.setdefault(name, {})
        number = next((number for number, other in named.items() if other() is module), None)
        if number is None:
            free = (number for number in range(1, _MAX_NUMBER) if number not in named)
            number = next(free, _MAX_NUMBER)
            if number < _MAX_NUMBER:
                named[number] = weakref.ref(module, lambda _: named.pop(number, None))
        return name if number == 1 else f"{name} {number}{'+' if number == _MAX_NUMBER else ''}"

    def _trained(self) -> dict[int, list[Any]]:
        """Return the parameters of each optimizer that is still there and trains some of a module."""
        given = {key: _given(optimizer) for key, optimizer in self.optimizers.all()}
        return {
            key: parameters
            for key, parameters in given.items()
            if any(isinstance(parameter, torch.nn.Parameter) for parameter in parameters)
        }


def key_of(optimizer: Any) -> int:
    """Return a key that an optimizer shares with another one that is made for the same parameters."""
    try:
        return id(vars(optimizer)["param_groups"][0]["params"][0])
    except (TypeError, KeyError, IndexError):  # something that only looks like an optimizer
        return id(optimizer)


def _given(optimizer: Any) -> list[Any]:
    try:
        groups = vars(optimizer).get("param_groups")
        return [parameter for group in groups for parameter in group["params"]]
    except (TypeError, KeyError):
        return []


def _is_given_others(module: Any) -> bool:
    """Return whether it is called with other tensors in the place of its parameters (`torch.func.functional_call`)."""
    return any(
        not isinstance(parameter, torch.nn.Parameter)
        for each in modules_of(module)
        if not isinstance(each, torch.jit.ScriptModule)
        for parameter in _own_parameters(each)
    )


def _own_parameters(module: Any) -> list[Any]:
    return [parameter for parameter in (vars(module).get("_parameters") or {}).values() if parameter is not None]


def _unwrapped(module: Any) -> Any:
    """Return the module that a compiled or parallel one wraps."""
    while (attribute := _WRAPPERS.get(type(module).__name__)) is not None:
        inner = (vars(module).get("_modules") or {}).get(attribute)
        if inner is None:
            break
        module = inner
    return module
