"""Functions that JAX compiles and TensorFlow traces: each keeps a version for each kind of arguments.

The libraries' own counts are read, and the code object of the function says where it is. None is called.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.capture.census import base
from phasescope.capture.census.names import short_file
from phasescope.capture.own_files import is_own_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CONTAINERS = {"jax": "JAX function", "tensorflow": "tf.function"}
_FEWEST = 3
_MOST_WRAPPED = 8
_POLYMORPHIC = "tensorflow.python.eager.polymorphic_function.polymorphic_function"
MODULES = ("jaxlib._jax", "jaxlib.xla_extension", _POLYMORPHIC)
"""The modules that the classes of such functions are in."""


class Compiled(NamedTuple):
    """A function, by where it was written. `file` is empty if that is not known."""

    library: str
    name: str
    file: str
    line: int
    is_own: bool

    def as_keeper(self, versions: int) -> dict[str, Any]:
        """Return it as a keeper of its versions, as JSON types."""
        fields: dict[str, Any] = {"container": _CONTAINERS[self.library], "expression": self.name, "length": versions}
        fields |= {"scope": "global", "file": short_file(self.file), "own": self.is_own, "kept": versions}
        if self.is_own and self.file:
            fields |= {"line": self.line, "line_file": short_file(self.file), "line_function": self.name[:60]}
        return fields


class Versions:
    """The functions that were found, each with the number of its versions."""

    def __init__(self) -> None:
        self.counts: dict[Compiled, int] = {}
        self.containers: set[int] = set()
        """By address: what TensorFlow keeps them in, so that it is not told as well."""

    def read(self, objects: Iterable[Any]) -> None:
        """Count the versions of all functions among the objects; wrappers of one function share them."""
        ways = _ways()
        counts: dict[tuple[Compiled, int], int] = {}
        for item in objects:
            way = ways.get(id(type(item)))
            if way is None:
                continue
            try:
                library, function, count = way[0], *way[1](item, self.containers)
            except Exception:  # of a version of the library that has it otherwise
                continue
            if function is not None:
                key = _named(library, item, function), id(function)
                counts[key] = max(count, counts.get(key, 0))
        for (compiled, _), count in counts.items():
            self.counts[compiled] = self.counts.get(compiled, 0) + count
        self.counts = {compiled: count for compiled, count in self.counts.items() if count >= _FEWEST}


def classes() -> list[type]:
    """Return the classes of such functions, of the libraries that are loaded by now."""
    candidates = [getattr(sys.modules.get(module), "PjitFunction", None) for module in MODULES[:2]]
    candidates.append(getattr(sys.modules.get(_POLYMORPHIC), "Function", None))
    return [kind for kind in candidates if isinstance(kind, type)]


def _ways() -> dict[int, tuple[str, Callable[[Any, set[int]], tuple[Any, int]]]]:
    """Return how to read a function, by its class."""
    polymorphic = sys.modules.get(_POLYMORPHIC)
    return {
        id(kind): ("tensorflow", _of_tensorflow) if kind is getattr(polymorphic, "Function", None) else ("jax", _of_jax)
        for kind in classes()
    }


def _of_jax(function: Any, _containers: set[int]) -> tuple[Any, int]:
    return (base.attributes_of(function) or {}).get("__wrapped__"), int(type(function)._cache_size(function))


def _of_tensorflow(function: Any, containers: set[int]) -> tuple[Any, int]:
    own = base.attributes_of(function) or {}
    cache = own.get("_function_cache")
    kept = dict(base.namespace_of(type(cache)))["_primary"].__get__(cache)
    containers.add(id(kept))
    return own.get("_python_function"), dict.__len__(kept)


def _named(library: str, wrapper: Any, function: Any) -> Compiled:
    plain = _plain(function)
    if plain is None:
        name = (base.attributes_of(wrapper) or {}).get("__name__")
        return Compiled(library, name if type(name) is str else base.type_name(type(function)), "", 0, is_own=False)
    code = plain.__code__
    name = plain.__qualname__.rpartition("<locals>.")[2]
    if is_own_file(code.co_filename):
        return Compiled(library, name, code.co_filename, code.co_firstlineno, is_own=True)
    own = base.attributes_of(wrapper) or {}
    name, module = (own.get("__name__", name), own.get("__module__")) if library == "jax" else (name, None)
    module = module if type(module) is str and "._src" not in module else ""
    return Compiled(library, f"{module}.{name}" if module else str(name), code.co_filename, 0, is_own=False)


def _plain(function: Any) -> types.FunctionType | None:
    """Return the function that was written, behind methods, partial functions and decorators."""
    for _ in range(_MOST_WRAPPED):
        if type(function) is types.MethodType:
            function = function.__func__
        elif type(function) is functools.partial:
            function = function.func
        elif type(function) is types.FunctionType and not is_own_file(function.__code__.co_filename):
            inner = function.__dict__.get("__wrapped__")
            if inner is None:
                return function
            function = inner
        else:
            break
    return function if type(function) is types.FunctionType else None
