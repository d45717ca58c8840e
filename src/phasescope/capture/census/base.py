"""Looks into objects that run no code of the training's: only what CPython's own types answer."""

from __future__ import annotations

import functools
import types
from collections import deque
from typing import Any

_mro_of = type.__dict__["__mro__"].__get__
_namespace_of = type.__dict__["__dict__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__
LruCache: type = functools._lru_cache_wrapper
_LONGEST = 60


def mro_of(kind: type) -> tuple[type, ...]:
    """Return the class and its bases, whatever its metaclass says of them."""
    mro: tuple[type, ...] = _mro_of(kind)
    return mro


def namespace_of(kind: type) -> Any:
    """Return the attributes of a class itself, by name."""
    return _namespace_of(kind)


def type_name(kind: type) -> str:
    """Return the name of a class as a person knows it: without the module."""
    return str.__str__(_qualname_of(kind)).rpartition("<locals>.")[2][:_LONGEST]


def module_name(kind: type) -> str:
    """Return the name of the module that a class says it is from; empty if it says something else."""
    name = _module_of(kind)
    return name if type(name) is str else ""


def attributes_of(owner: object) -> dict[str, Any] | None:
    """Return the dict of an instance's attributes; None if it has none, or it is not the interpreter's own."""
    for kind in mro_of(type(owner)):
        getter = dict.get(_as_dict(namespace_of(kind)), "__dict__")
        if getter is not None:
            if type(getter) is not types.GetSetDescriptorType and type(getter) is not types.MemberDescriptorType:
                return None
            attributes = getter.__get__(owner)
            return attributes if issubclass(type(attributes), dict) else None
    return None


def slot_that_holds(owner: object, held: object) -> str | None:
    """Return the name of the slot (`__slots__`) of an instance that refers to an object; None if none does."""
    for kind in mro_of(type(owner)):
        for name, member in _as_dict(namespace_of(kind)).items():
            if type(member) is types.MemberDescriptorType and type(name) is str:
                try:
                    if member.__get__(owner) is held:
                        return name
                except AttributeError:  # it is not set
                    continue
    return None


def _as_dict(namespace: Any) -> dict[Any, Any]:
    return dict(namespace) if type(namespace) is not dict else namespace


def length_of(container: object) -> int | None:
    """Return how many items a list, dict, set or deque has, by the base class; None for anything else."""
    kind = type(container)
    for base in (list, dict, set, deque, tuple):
        if issubclass(kind, base):
            return base.__len__(container)  # type: ignore[arg-type]
    if kind is LruCache:
        return int(LruCache.cache_info(container).currsize)  # type: ignore[attr-defined]
    return None


def bound_of(container: object) -> int | None:
    """Return how many items a container can have at most: of a deque or an lru_cache; None if there is no bound."""
    kind = type(container)
    if issubclass(kind, deque):
        bound = deque.__dict__["maxlen"].__get__(container)
    elif kind is LruCache:
        bound = LruCache.cache_info(container).maxsize  # type: ignore[attr-defined]
    else:
        return None
    return bound if type(bound) is int else None


def container_name(container: object) -> str:
    """Return what a container is called: `list`, `dict`, `lru_cache`, or its class."""
    return "lru_cache" if type(container) is LruCache else type_name(type(container))
