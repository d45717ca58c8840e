"""The steps of all optimizers, torch's and those that only look like them: by a function around `step` in their class.

A class of torch's is met when an optimizer is made. One that only looks like it (fastai's, one of the script's own) is
met when a backward pass begins: among the classes that the modules on the stack know by name.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from ._torch_around import guarded
from ._torch_classes import mark_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_MAX_FRAMES = 64
_METHODS = ("step", "zero_grad")


class OptimizerClasses:
    """Puts the functions around, once for each class."""

    def __init__(self, begins: Callable[[Any], Any], ends: Callable[[Any, BaseException | None], None]) -> None:
        asked = guarded(begins)
        self._begins = lambda args, _kwargs: asked(args[0]) if args else None
        self._ends = guarded(ends)
        self._looked_into: set[int] = set()

    def meet(self, cls: type, method: str = "step") -> None:
        """Mark the steps of this class, wherever in it they are defined."""
        for owner in cls.__mro__:
            if owner is not torch.optim.Optimizer:
                mark_method(owner, method, self._begins, self._ends)

    def look_around(self) -> None:
        """Meet the classes that look like optimizers in the modules whose functions run. Each is looked into once."""
        frame: FrameType | None = sys._getframe(1)
        for _ in range(_MAX_FRAMES):
            if frame is None:
                return
            names = frame.f_globals
            if id(names) not in self._looked_into:
                self._looked_into.add(id(names))
                for cls in _classes_in(names):
                    self.meet(cls)
            frame = frame.f_back


def _classes_in(names: dict[str, Any]) -> Iterator[type]:
    """Yield the classes that look like an optimizer among the values of a module, and those of its objects."""
    if str(names.get("__name__")).partition(".")[0] in ("torch", "phasescope"):
        return
    for value in list(names.values()):
        cls = value if issubclass(type(value), type) else type(value)
        if _looks_like_an_optimizer(cls):
            yield cls


def _looks_like_an_optimizer(cls: type) -> bool:
    """Return whether it has functions `step` and `zero_grad`, and is neither a model that steps by itself nor torch's.

    Torch's are met when they are made; one that never was, such as accelerate's, has another one inside that steps.
    """
    classes = cls.__mro__
    if torch.nn.Module in classes or torch.optim.Optimizer in classes:
        return False
    return all(
        any(isinstance(vars(each).get(name), FunctionType) for each in classes) for name in ("step", "zero_grad")
    )


def is_around_another(optimizer: Any) -> bool:
    """Return whether this only looks like an optimizer, and has one of torch's inside that steps when it is time."""
    if isinstance(optimizer, torch.optim.Optimizer):
        return False
    held = getattr(optimizer, "__dict__", {})
    return any(issubclass(type(value), torch.optim.Optimizer) for value in list(held.values()))
