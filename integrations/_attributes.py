"""The attributes of an object, past whatever its class makes of them: no code of the training's runs."""

from __future__ import annotations

from typing import Any


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of an instance, past whatever its class makes of that."""
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return attributes if type(attributes) is dict else {}


def slots_of(thing: Any, base: type = object) -> list[Any]:
    """Return what lies in the slots (`__slots__`) of an instance, those of a base class left out."""
    inside = []
    for kind in type.__dict__["__mro__"].__get__(type(thing)):
        if kind is base:
            break
        for slot in list(type.__dict__["__dict__"].__get__(kind).values()):
            if type(slot) is _SLOT:
                try:
                    inside.append(slot.__get__(thing))
                except AttributeError:  # it is not set
                    continue
    return inside


class _WithSlot:
    __slots__ = ("slot",)


_SLOT = type(vars(_WithSlot)["slot"])
