"""A way by references, in the words of the program: `trainer.history["loss"]`."""

from __future__ import annotations

import types
from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope.capture.census import base
from phasescope.capture.census.sources import variables_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_KEY = 40
_LONGEST = 100
_MOST_STEPS = 5
_UNNAMED = "[…]"
_TABLES = ("._modules", "._parameters", "._buffers")


def key_text(key: object) -> str:
    """Return a key of a dict as an index: only text and numbers are shown."""
    if type(key) is str:
        text = key if len(key) <= _LONGEST_KEY else key[: _LONGEST_KEY - 1] + "…"
        return f'["{text}"]'
    if type(key) is int:
        return f"[{key}]" if abs(key) < 1 << 63 else _UNNAMED
    return _UNNAMED


def key_in(mapping: Any, held: object) -> object:
    """Return the key under which a dict has an object; `None` if it has it under none that is known."""
    for key, value in list(dict.items(mapping)):
        if value is held:
            return key
    return None


def expression(way: Sequence[Any]) -> tuple[str, str | None]:
    """Return what the last object of a way is called, from the name that it begins with, and the last name in it.

    `way[0]` is a dict of names. The last name is of a variable or an attribute; None if it ends without one.
    """
    first = key_in(way[0], way[1])
    name = first if type(first) is str else "…"
    parts, last_name, index = [name], name, 1
    while index < len(way) - 1:
        owner, held = way[index], way[index + 1]
        following = way[index + 2] if index + 2 < len(way) else None
        text, used = _edge(owner, held, following)
        if text is not None:
            parts.append(text)
            if text.startswith("."):
                last_name = text[1:]
        index += used
    parts = _as_written(parts)
    if len(parts) > _MOST_STEPS:
        parts = [*parts[:2], "…", *parts[-2:]]
    joined = "".join(parts)
    return (joined if len(joined) <= _LONGEST else joined[: _LONGEST - 1] + "…"), last_name


def _as_written(parts: list[str]) -> list[str]:
    """Return the parts of an expression as one writes them for torch's modules: `model.layers[3].weight`."""
    written: list[str] = []
    for part in parts:
        if written and written[-1] in _TABLES and part.startswith('["'):
            name = part[2:-2]
            written[-1] = f"[{name}]" if name.isdigit() else f".{name}"
        else:
            written.append(part)
    return written


def _edge(owner: Any, held: Any, following: Any) -> tuple[str | None, int]:
    """Return how the owner is asked for what it holds, and how many steps of the way that is."""
    kind = type(owner)
    attributes = None if issubclass(kind, (dict, list, tuple)) else base.attributes_of(owner)
    if attributes is not None:
        if held is attributes and following is not None:
            key = key_in(attributes, following)
            return (f".{key}" if type(key) is str else None), 2
        key = key_in(attributes, held)
        if type(key) is str:
            return f".{key}", 1
    if issubclass(kind, dict):
        key = key_in(owner, held)
        return (key_text(key) if key is not None else _UNNAMED), 1
    if issubclass(kind, (list, tuple, deque)):
        return _UNNAMED if kind is deque else _index(owner, held), 1
    if issubclass(kind, type) and following is not None and type(held) is dict:  # what is behind `vars(owner)`
        key = key_in(held, following)
        return (f".{key}" if type(key) is str else None), 2
    if issubclass(kind, type):
        key = key_in(dict(base.namespace_of(owner)), held)
        return (f".{key}" if type(key) is str else None), 1
    if kind is types.FunctionType:
        return _of_function(owner, held, following)
    if kind is types.MethodType:
        return (".__self__" if owner.__self__ is held else None), 1
    if kind is types.ModuleType:
        key = None if following is None else key_in(vars(owner), following)
        return (f".{key}" if type(key) is str else None), 2
    if kind is types.FrameType:
        key = key_in(variables_of(owner), held)
        return (f".{key}" if type(key) is str else None), 1
    slot = base.slot_that_holds(owner, held)
    return (f".{slot}" if slot is not None else None), 1


def _index(owner: Any, held: object) -> str:
    rows = list.__iter__(owner) if issubclass(type(owner), list) else tuple.__iter__(owner)
    for place, item in enumerate(rows):
        if item is held:
            return f"[{place}]"
    return _UNNAMED


def _of_function(function: types.FunctionType, held: object, following: object) -> tuple[str | None, int]:
    """Name the variable of a closure, or the default of a parameter."""
    cells = function.__closure__
    if held is cells and cells is not None and following is not None:
        for name, cell in zip(function.__code__.co_freevars, cells, strict=False):
            if cell is following:
                return f".{name}", 3  # over the tuple and the cell
    if held is function.__defaults__:
        return ".__defaults__", 1
    return None, 1


def through(way: Sequence[Any]) -> dict[str, Any] | None:
    """Return by what the items of a container keep what was found: exceptions by their tracebacks, functions by what
    they close over; None if there is nothing to tell."""
    for index, item in enumerate(way):
        if type(item) is types.FrameType and index + 1 < len(way):
            code = item.f_code
            name = key_in(variables_of(item), way[index + 1])
            fields: dict[str, Any] = {"function": code.co_name[:_LONGEST_KEY], "line": item.f_lineno or 0}
            fields["file"] = short_file(code.co_filename)
            fields["kind"] = "traceback" if any(type(each) is types.TracebackType for each in way[:index]) else "frame"
            if type(name) is str:
                fields["variable"] = name[:_LONGEST_KEY]
            return fields
    if any(type(item) is types.CellType for item in way):
        return {"kind": "closure"}
    return None


def short_file(file: str) -> str:
    """Return a file's name without the directories."""
    return file.replace("\\", "/").rpartition("/")[2][:_LONGEST_KEY]
