"""The modules that the optimizers of a run train, and the name of a call of each.

Modules are looked at when they are called, never looked for: there is no walk over all objects. Everything is held
weakly, and by identity: a model may compare and hash as it likes.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

from ._role import ModelNames, Role
from ._torch_storages import modules_of, parameters_of

if TYPE_CHECKING:
    from ._loop_optimizers import Optimizers

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DistributedDataParallel": "module", "DataParallel": "module"}
_WRAPPERS |= {"FullyShardedDataParallel": "_fsdp_wrapped_module", "_FabricModule": "_original_module"}
_WRAPPERS["DeepSpeedEngine"] = "module"


_NONE = Role(None, False)
_OF_OTHERS = Role("forward", True)


class Roles:
    """The roles of modules, decided at the first call, and again when an optimizer comes that trains something else."""

    def __init__(self, optimizers: Optimizers) -> None:
        self.optimizers = optimizers
        self._known: dict[int, tuple[weakref.ref[Any], Role]] = {}
        self._names = ModelNames()

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
        module = _unwrapped(module)
        return self._names.of(module, type(module).__name__)

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
