"""Which modules the optimizers of a run train, and what a call of each is named.

Modules are looked at when they are called, never looked for: there is no walk over all objects. Everything is held
weakly, and by identity: a model may compare and hash as it likes.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ._torch_owners import Optimizers

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DistributedDataParallel": "module", "DataParallel": "module"}
_WRAPPERS["FullyShardedDataParallel"] = "_fsdp_wrapped_module"
_MAX_NAME = 40


class Role(NamedTuple):
    """What a call of a module is named, and whether an optimizer has parameters of it: by which it is trained.

    No name: it is not marked.
    """

    name: str | None
    is_trained: bool
    by: frozenset[int] = frozenset()


_NONE = Role(None, False)


class Roles:
    """The roles of modules, decided at the first call, and anew when an optimizer comes that trains something else."""

    def __init__(self) -> None:
        self.optimizers = Optimizers()
        self._known: dict[int, tuple[weakref.ref[Any], Role]] = {}

    def add(self, optimizer: Any, owner: object) -> None:
        """An optimizer was made."""
        if self.optimizers.add(key_of(optimizer), optimizer, owner):
            self._known.clear()

    def of(self, module: Any) -> Role:
        """The role of this module."""
        ident = id(module)
        known = self._known.get(ident)
        if known is not None and known[0]() is module:
            return known[1]
        role = self._decided(module)
        self._known[ident] = weakref.ref(module, lambda _: self._known.pop(ident, None)), role
        return role

    def _decided(self, module: Any) -> Role:
        """`forward` is whatever all optimizers train: the model, or the parts of it that are called by themselves.

        With several optimizers the models that only some of them train go by their class, as do those that none does.
        """
        held = {id(parameter) for parameter in _parameters(module)}
        if not held and not isinstance(module, torch.jit.ScriptModule):
            return _NONE
        trained = self._trained()
        by = frozenset(key for key, given in trained.items() if any(id(parameter) in held for parameter in given))
        beside = self.optimizers.beside(by) if by else trained.keys()
        name = "forward" if by >= trained.keys() & beside else f"forward ({_class_of(module)})"
        return Role(name, bool(by) or not trained, by)

    def _trained(self) -> dict[int, list[Any]]:
        """The parameters of each optimizer that is still there and trains some of a module."""
        given = {key: _given(optimizer) for key, optimizer in self.optimizers.all()}
        return {
            key: parameters
            for key, parameters in given.items()
            if any(isinstance(parameter, torch.nn.Parameter) for parameter in parameters)
        }


def key_of(optimizer: Any) -> int:
    """What an optimizer has in common with another one that is made for the same parameters."""
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


def _parameters(module: Any) -> Iterator[Any]:
    """The parameters of a module and of those inside, without asking methods that a model may have overridden."""
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        if isinstance(module, torch.jit.ScriptModule):
            yield from module.parameters()
        else:
            held = vars(module)
            yield from (parameter for parameter in (held.get("_parameters") or {}).values() if parameter is not None)
            waiting += (held.get("_modules") or {}).values()


def _class_of(module: Any) -> str:
    name = type(module).__name__
    while name in _WRAPPERS:
        inner = (vars(module).get("_modules") or {}).get(_WRAPPERS[name])
        if inner is None:
            break
        module, name = inner, type(inner).__name__
    return name[:_MAX_NAME]
