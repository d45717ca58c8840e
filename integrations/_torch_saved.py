"""The tensors that autograd keeps of one forward for its backward, by hooks that hand the same memory on.

A hook is given tensors with their `grad_fn`. One that returned such a tensor would have the graph keep itself: what no
backward pass follows would never be freed. A detached one has the same memory, and autograd adds the `grad_fn` again.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

from ._torch_storages import Storages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Saved:
    """The tensors that are saved between `begin` and `end`. They are held weakly: those let go meanwhile do not count.

    Within a part that has hooks of its own (activation checkpointing, offloading) those take the place of these, as
    torch has it: what such a part does not keep is not seen, and its inputs are.
    """

    def __init__(self, module: Callable[[], str] | None = None) -> None:
        """Begin with none. `module` returns the name of the one that runs, by which they are distinguished too."""
        self._tensors: list[weakref.ref[Any]] = []
        self._modules: list[str] = []
        self._module = module
        self._hooks: Any = None

    def begin(self) -> None:
        """See what is saved from now on, in this thread."""
        note, of, note_module = self._tensors.append, self._module, self._modules.append

        def pack(tensor: Any) -> Any:
            with torch._C.DisableTorchFunction():  # a mode is code of the training's
                kept = _detached(tensor)
            note(weakref.ref(kept))
            if of is not None:
                note_module(of())
            return kept

        self._hooks = torch.autograd.graph.saved_tensors_hooks(pack, _as_it_is)
        self._hooks.__enter__()

    def end(self) -> None:
        """See no more. A second time does nothing."""
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.__exit__(None, None, None)

    def sizes(self, but: Iterable[Any]) -> dict[str, int]:
        """Return the bytes of the storages that are kept, by device; those of the tensors in `but` left out."""
        storages = Storages()
        with torch._C.DisableTorchFunction():
            storages.add("others", but)
            storages.add("saved", (tensor for each in self._tensors if (tensor := each()) is not None))
        return {device: sizes.get("saved", 0) for device, sizes in storages.sizes.items()}

    def sizes_by_module(self, but: Iterable[Any]) -> dict[tuple[str, str], int]:
        """Return the same by device and module, each storage in the first one that saved it."""
        if self._module is None:
            return {}
        of: dict[str, list[Any]] = {}
        for each, module in zip(self._tensors, self._modules, strict=False):
            tensor = each()
            if tensor is not None:
                of.setdefault(module, []).append(tensor)
        storages = Storages()
        with torch._C.DisableTorchFunction():
            storages.add("", but)
            for module, tensors in of.items():
                storages.add(f":{module}", tensors)
        return {
            (device, name[1:]): size
            for device, sizes in storages.sizes.items()
            for name, size in sizes.items()
            if name and size
        }


_detached: Any = torch.Tensor.__mro__[1].detach


def _as_it_is(tensor: Any) -> Any:
    return tensor
