"""The role of a model in a loop, and the names that several models go by."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

_MAX_NAME = 40
_MAX_NUMBER = 8
_MAX_NAMES = 64


class Role(NamedTuple):
    """The name of a module's calls, and whether an optimizer has parameters of it: then it is trained.

    No name: it is not marked.
    """

    name: str | None
    is_trained: bool
    by: frozenset[int] = frozenset()


class ModelNames:
    """The names of living models, with numbers where they share one."""

    def __init__(self) -> None:
        self._named: dict[str, dict[int, weakref.ref[Any]]] = {}

    def of(self, model: Any, name: str) -> str:
        """Return the name with the least number that is free among the living models of that name.

        Beyond the highest there is they share one. So do those with names beyond the first few dozen.
        """
        name = name[:_MAX_NAME]
        if name not in self._named and len(self._named) >= _MAX_NAMES:
            return "others"
        named = self._named.setdefault(name, {})
        number = next((number for number, other in named.items() if other() is model), None)
        if number is None:
            free = (number for number in range(1, _MAX_NUMBER) if number not in named)
            number = next(free, _MAX_NUMBER)
            if number < _MAX_NUMBER:
                named[number] = weakref.ref(model, lambda _: named.pop(number, None))
        return name if number == 1 else f"{name} {number}{'+' if number == _MAX_NUMBER else ''}"
