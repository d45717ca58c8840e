"""The attributes of a phase, cleaned for an event: small, valid JSON, and no object of the user's kept alive.

No code of the user's runs here: no `str()`, no `repr()`, no property, nothing that could wait for a device. Even
`isinstance` is avoided: if the class says no, it asks the object for its `__class__`.
"""

from __future__ import annotations

from math import isfinite
from types import FunctionType

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Scalar: TypeAlias = str | int | float | bool | None

MAX_ATTRIBUTES = 16
MAX_TEXT = 200
_MAX_INT = 2**63 - 1
_SIZED = (bytes, bytearray, list, tuple, dict, set, frozenset)
_WRAPPERS = (classmethod, property)  # decorated too, though no calls reach them
_UNNAMED = "unnamed"

_module_of = type.__dict__["__module__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__
_function_name = FunctionType.__dict__["__name__"].__get__


def clean_attributes(attributes: Mapping[str, object]) -> dict[str, Scalar] | None:
    """Return JSON scalars as they are, anything else as a short description; at most `MAX_ATTRIBUTES`, else None."""
    kept: dict[str, Scalar] = {}
    for key, value in attributes.items():
        if len(kept) == MAX_ATTRIBUTES:
            kept["…"] = f"<{len(attributes) - MAX_ATTRIBUTES} more>"
            break
        kept[_text(key)] = clean_value(value)
    return kept or None


def clean_value(value: object) -> Scalar:
    """Return one JSON scalar for any object, made without touching its data."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    # Through the base class: a subclass may have its own idea of its text.
    if issubclass(kind, str):
        return _text(value)  # type: ignore[arg-type]
    if issubclass(kind, int):
        whole = int.__int__(value)  # type: ignore[arg-type]
        return whole if -_MAX_INT <= whole <= _MAX_INT else f"<int of {whole.bit_length()} bits>"
    if issubclass(kind, float):
        number = float.__float__(value)  # type: ignore[arg-type]
        return number if isfinite(number) else float.__repr__(number)
    return _description(value)


def given_name(name: object) -> str:
    """Return the name given to `phase()`. Raises TypeError for the function that a bare `@phase` hands over."""
    kind = type(name)
    if issubclass(kind, str) or not (callable(name) or issubclass(kind, _WRAPPERS)):
        return clean_name(name)
    if issubclass(kind, type):
        of_class = str.__str__(_qualname_of(name))
        raise TypeError(f'phase() decorates functions, not a class: write @phase("name") on the methods of {of_class}')
    text = _function_name(name) if kind is FunctionType else "name"
    raise TypeError(f'phase() takes a name, not {_description(name)}: write @phase("{text}") above the function')


def clean_name(name: object) -> str:
    """Return a phase's name: text that is not blank, whatever was given."""
    text = _text(name) if issubclass(type(name), str) else _description(name)  # type: ignore[arg-type]
    return text if text.strip() else _UNNAMED


def _text(value: str) -> str:
    text = str.__str__(value)
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    # Lone surrogates have no form in UTF-8, and so none in JSON that others could read.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _description(value: object) -> str:
    kind = type(value)
    for sized in _SIZED:
        if kind is sized:
            return f"<{kind.__name__} of {len(value)}>"  # type: ignore[arg-type]
    module = _module_of(kind)  # whatever the class has there: it need not be text
    prefix = f"{module}." if type(module) is str and module != "builtins" else ""
    return _text(f"<{prefix}{str.__str__(_qualname_of(kind))}>")
