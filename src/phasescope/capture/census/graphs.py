"""The graphs that tensors carry: how many operations they have, and what those keep for the backward pass.

A loss that is summed up over the steps (`total += loss`), or a hidden state that is never detached, is one tensor whose
graph becomes longer: no count of tensors shows it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NODES = 20_000
MOST_SAVING = 5_000
_MOST_TENSORS = 64
_MOST_NS = 20_000_000


class Longest(NamedTuple):
    """A tensor, and how many operations its graph has. `is_gradient`: a parameter, whose gradient has the graph."""

    owner: Any
    nodes: int
    is_gradient: bool


class Graphs:
    """How to read torch's graphs. Nothing is unpacked: hooks on saved tensors are the training's code."""

    def __init__(self) -> None:
        torch = sys.modules.get("torch._C")
        self._base: Any = getattr(torch, "TensorBase", None)
        self._function: Any = getattr(torch, "_FunctionBase", None)
        self._edges: dict[int, Any] = {}

    def longest(self, tensors: list[Any], parameters: list[Any]) -> Longest | None:
        """Return the longest graph, of these tensors that carry one, and of the gradients of these parameters."""
        if self._base is None:
            return None
        best: Longest | None = None
        until_ns = time.thread_time_ns() + _MOST_NS
        owned = [(parameter, self._gradient_of(parameter)) for parameter in parameters]
        owned += [(tensor, tensor) for tensor in tensors[:_MOST_TENSORS]]
        try:
            for owner, tensor in owned:
                if tensor is None:
                    continue
                nodes = self.nodes(tensor)
                if best is None or len(nodes) > best.nodes:
                    best = Longest(owner, len(nodes), owner is not tensor)
                nodes.clear()
                if time.thread_time_ns() > until_ns:
                    break
        finally:
            owned.clear()
        return best

    def _gradient_of(self, parameter: Any) -> Any:
        """Return the gradient of a leaf, if it carries a graph itself (`create_graph=True`); else None."""
        gradient = self._base.__dict__["grad"].__get__(parameter)
        if gradient is None or not self._base.__dict__["requires_grad"].__get__(gradient):
            return None
        return gradient

    def nodes(self, tensor: Any, most: int = MOST_NODES) -> list[Any]:
        """Return the operations that a tensor's graph consists of, `most` at most."""
        first = None if tensor is None else self._base.__dict__["grad_fn"].__get__(tensor)
        if first is None:
            return []
        seen = {id(first)}
        nodes = [first]
        for node in nodes:  # it grows meanwhile
            for other, _ in self._next(node):
                if other is not None and id(other) not in seen:
                    seen.add(id(other))
                    nodes.append(other)
            if len(nodes) >= most:
                break
        return nodes

    def _next(self, node: Any) -> Any:
        kind = type(node)
        edges = self._edges.get(id(kind))
        if edges is None:
            of_custom = self._function is not None and issubclass(kind, self._function)
            descriptor = (self._function if of_custom else kind).__dict__.get("next_functions")
            edges = self._edges[id(kind)] = descriptor
        return () if edges is None else edges.__get__(node)

    def saved_bytes(self, tensors: list[Any]) -> int | None:
        """Return the bytes that the graphs of these keep for the backward pass, each storage once, and parameters not;
        None if that cannot be found out without running hooks, or not in time."""
        storages, walked = self.saved_storages(tensors)
        return sum(storages.values()) if walked == len(tensors) else None

    def saved_storages(self, tensors: Sequence[Any]) -> tuple[dict[int, int], int]:
        """Return the memory that the graphs of these keep, by its identity, with its bytes; and of how many of
        the tensors that is, the last ones first: it ends where a hook would have to be called, or the time is over."""
        storages: dict[int, int] = {}
        until_ns = time.thread_time_ns() + _MOST_NS
        seen: set[int] = set()
        nodes: list[Any] = []
        try:
            for walked, tensor in enumerate(reversed(tensors)):
                carries = not self._is_leaf(tensor)
                for node in self.nodes(tensor if carries else self._gradient_of(tensor), MOST_SAVING):
                    if id(node) in seen:
                        continue
                    seen.add(id(node))
                    nodes.append(node)
                    if not self._take_saved(node, storages) or time.thread_time_ns() > until_ns:
                        return storages, walked
            return storages, len(tensors)
        finally:
            nodes.clear()

    def storage(self, tensor: Any) -> tuple[int, int] | None:
        """Return the identity of a tensor's memory, and its bytes; None if it has no memory of its own."""
        try:
            storage = self._base.untyped_storage(tensor)
            return storage._cdata, storage.nbytes()
        except (NotImplementedError, RuntimeError):  # sparse, or of a backend without one
            return None

    def _take_saved(self, node: Any, storages: dict[int, int]) -> bool:
        is_custom = self._function is not None and issubclass(type(node), self._function)
        namespace = (self._function if is_custom else type(node)).__dict__
        for name in namespace:
            if not name.startswith("_raw_saved_"):
                continue
            try:
                raw = namespace[name].__get__(node)
            except RuntimeError:  # released: the backward pass is over
                continue
            for saved in raw if type(raw) is tuple else (raw,):
                data = self._data_of(saved)
                if data is NotImplemented:
                    return False
                storage = None if data is None or self._is_parameter(data) else self.storage(data)
                if storage is not None:
                    storages[storage[0]] = storage[1]
        return True

    def _data_of(self, saved: Any) -> Any:
        """Return what is saved, without unpacking it; NotImplemented if a hook would have to be called."""
        if saved is None:
            return None
        if not hasattr(type(saved), "unpack_hook") or saved.unpack_hook is not None:
            return NotImplemented
        try:
            data = saved.data
        except RuntimeError:
            return None
        return data if data is None or issubclass(type(data), self._base) else None

    def _is_leaf(self, tensor: Any) -> bool:
        return bool(self._base.__dict__["is_leaf"].__get__(tensor))

    def _is_parameter(self, data: Any) -> bool:
        return self._is_leaf(data) and bool(self._base.__dict__["requires_grad"].__get__(data))
