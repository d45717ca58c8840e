"""What is known of the functions that TensorFlow compiles: what was seen while they were traced."""

from __future__ import annotations

import functools
import weakref
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from ._attributes import attributes_of

if TYPE_CHECKING:
    from collections.abc import Hashable

_FRAMEWORK = ("tensorflow", "keras")
_MAX_NAME = 40


class KnownFunction:
    """What a call of a function does. It is known once it has been called to its end."""

    __slots__ = ("is_known", "looks", "optimizers", "trains")

    def __init__(self) -> None:
        self.is_known = False
        self.trains = False  # it takes the gradient of a loss, or an optimizer steps in it
        self.looks = False  # it calls a model
        self.optimizers: set[int] = set()


class CalledFunctions:
    """All that were called, by their identity. None of them is kept."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[weakref.ref[Any], KnownFunction]] = {}

    def of(self, function: Any) -> KnownFunction:
        """Return what is known of a function; of a method, for the very object that it is of."""
        if type(function) is MethodType:
            return self.of_method(function.__self__, id(function.__func__))
        return self.of_method(function, 0)

    def of_method(self, owner: Any, method: Hashable) -> KnownFunction:
        """Return what is known of an object's method, by a name or another key of it."""
        key = id(owner), method
        entry = self._known.get(key)
        if entry is not None and entry[0]() is owner:
            return entry[1]
        known = KnownFunction()
        try:
            self._known[key] = weakref.ref(owner, lambda gone: self._forget(key, gone)), known
        except TypeError:  # nothing can refer to it weakly: each call is the first
            self._known.pop(key, None)
        return known

    def _forget(self, key: Hashable, gone: weakref.ref[Any]) -> None:
        entry = self._known.get(key)
        if entry is not None and entry[0] is gone:
            del self._known[key]


def is_of_the_framework(function: Any) -> bool:
    """Return whether a compiled function is one that TensorFlow or Keras has made for itself: to save, say."""
    python_function = attributes_of(function).get("_python_function")
    if type(python_function) is not FunctionType:
        return False
    return python_function.__module__.partition(".")[0] in _FRAMEWORK


def name_of(function: Any) -> str:
    """Return the name of a function, compiled or not, as the program has written it."""
    while type(function) is functools.partial:
        function = function.func
    own = attributes_of(function)
    name = own.get("_name") or own.get("__name__") or getattr(function, "__name__", None) or type(function).__name__
    return name.strip("<>")[:_MAX_NAME] if type(name) is str else type(function).__name__[:_MAX_NAME]


def name_of_model(model: Any) -> str:
    """Return the name of a model: its class's, or its own if the class is one of Keras's."""
    cls = type(model)
    name = attributes_of(model).get("name") if cls.__module__.partition(".")[0] in _FRAMEWORK else None
    return name if type(name) is str else cls.__name__
