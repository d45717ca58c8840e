"""The signs in a loop's code, before it has done anything: whether a backward pass will follow."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from ._attributes import attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet
    from types import FrameType

_BETWEEN = ("torch", "tensorflow", "phasescope", "keras", "accelerate", "lightning", "lightning_fabric")
"""Whose functions stand between the loop's own and us."""
_NO_GRADIENTS = frozenset({"no_grad", "inference_mode"})
_OF_TRAINING = ("train", "step", "optim", "update", "fit")  # methods are not looked into


def says_backward() -> bool:
    """Return whether the function that fetches, or calls a model, calls a backward pass, or one that does."""
    frame = _loops_own()
    return frame is not None and any(_has_backward(each) for each in _codes_of(frame.f_code, frame.f_globals))


def says_no_gradients() -> bool:
    """Return whether that function only evaluates: it turns gradients off, and names nothing that a training would."""
    frame = _loops_own()
    names = () if frame is None else frame.f_code.co_names
    if frame is None or "eval" not in names or _NO_GRADIENTS.isdisjoint(names):
        return False
    if any(part in name for name in names for part in _OF_TRAINING):
        return False
    return not any(_has_backward(each) for each in _codes_of(frame.f_code, frame.f_globals))


def trains(function: Any) -> bool:
    """Return whether a function takes gradients, or one that it names, as far as their code shows."""
    if type(function) is not FunctionType:
        return False
    return any(_has_backward(each) for each in _codes_of(function.__code__, function.__globals__))


def names_a_backward(names: Iterable[str], values: dict[str, Any]) -> bool:
    """Return whether one of these names is a backward pass, or a function among the values that calls one."""
    given = frozenset(names)
    return _are_of_backward(given) or any(
        type(value) is FunctionType and _has_backward(value.__code__) for name in given if (value := values.get(name))
    )


def _loops_own() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _package(frame) in _BETWEEN:
        frame = frame.f_back
    if frame is None or _package(frame) == "multiprocessing":  # further out is the code that forked this process
        return None
    return frame


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _codes_of(code: CodeType, names: dict[str, Any]) -> Iterator[CodeType]:
    yield code
    for name in code.co_names:
        value: Any = names.get(name)
        if type(value) is not FunctionType:
            value = attributes_of(value).get("_python_function")  # what `tf.function` made something of
        if type(value) is FunctionType:
            yield value.__code__


def _has_backward(code: CodeType) -> bool:
    return _are_of_backward(frozenset(code.co_names))


def _are_of_backward(names: AbstractSet[str]) -> bool:
    return bool(names & {"backward", "grad_and_value", "GradientTape"}) or (
        "grad" in names and bool(names & {"autograd", "func"})
    )
