"""The size of a batch, by the shapes of what a model is called with, where they leave no doubt.

Shapes are read as torch keeps them, without a line of the user's code; nothing is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ._attributes import attributes_of
from ._torch_storages import is_tensor_class, modules_of, tensors_in

if TYPE_CHECKING:
    from collections.abc import Iterable

_base: Any = torch.Tensor.__mro__[1]
_shape_of, _elements_of = _base.shape.__get__, _base.numel


class Shapes:
    """The input of one forward: its first and second dimensions, the lengths of its lists, and its elements."""

    def __init__(self, given: Iterable[Any]) -> None:
        self.elements = 0
        self._firsts: set[int] = set()
        self._others: set[int] = set()
        self._has_lists = False
        for whole in given:
            for each in [whole] if is_tensor_class(type(whole)) else _inside(whole):
                self._add(each)

    def _add(self, each: Any) -> None:
        for one in _inside(each) if isinstance(each, dict) else [each]:
            if is_tensor_class(type(one)):
                self._add_tensor(one)
            elif tensors := tensors_in(one, depth=3):  # samples one by one: what is the first of each is not the batch
                self._has_lists = True
                self._others.add(len(_inside(one)))
                self.elements += sum(map(_elements_of, tensors))

    def _add_tensor(self, tensor: Any) -> None:
        try:
            shape = tuple(_shape_of(tensor))
            self.elements += _elements_of(tensor)
        except (RuntimeError, NotImplementedError):  # a nested one has no shape
            self._has_lists = True
            return
        if shape:
            self._firsts.add(shape[0])
            self._others.update(shape[1:2])

    def batch_size(self, fetched: int | None, is_batch_first: bool) -> int | None:
        """Return the number of samples, None if that is not sure.

        It is the first dimension that all tensors share; if they share none, if samples lie in lists, or if a part of
        the model has its batch elsewhere, only if it is what the loader gives at once.
        """
        if len(self._firsts) == 1 and is_batch_first and not self._has_lists:
            return next(iter(self._firsts))
        return fetched if fetched in self._firsts | self._others else None


def is_batch_first(models: Iterable[Any]) -> bool:
    """Return whether no part of these models has the sequence before the batch, as torch's own parts can."""
    return all(attributes_of(each).get("batch_first") is not False for model in models for each in modules_of(model))


def size_fetched(loader: Any) -> int | None:
    """Return the number of samples that a loader, or its sampler of batches, gives at once; None if it says none."""
    size = attributes_of(loader).get("batch_size")
    return size if type(size) is int and size > 0 else None


def _inside(thing: Any) -> list[Any]:
    kind = type(thing)
    if issubclass(kind, dict):
        return list(dict.values(thing))
    if issubclass(kind, tuple):
        return list(tuple.__iter__(thing))
    return list(list.__iter__(thing)) if issubclass(kind, list) else []
