"""Phases of a plain PyTorch loop, without a line changed inside of it.

    import phasescope
    from phasescope.integrations.torch import instrument

    with phasescope.start(), instrument(model, optimizer, loader) as marked:
        for inputs, targets in marked.loader:
            ...

Tested with torch 2.13 on the CPU: plain, under DDP and FSDP2 (gloo, 2 processes), with activation checkpointing and
with `torch.compile(fullgraph=True)`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope import track

from ._frameworks import framework

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import torch
else:
    torch = framework("torch", "torch", pip="torch")

from ._torch_batches import size_fetched
from ._torch_looks import looks
from ._torch_marks import Forwards, OptimizerSteps, is_instrumented

__all__ = ["Instrumented", "instrument"]

T = TypeVar("T")


def instrument(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None = None,
    loader: Iterable[Any] | None = None,
    *,
    depth: int = 0,
    activations: bool = False,
) -> Instrumented:
    """Mark the phases data, forward, backward and optimizer of a training loop, until `undo()`.

    It starts no session: phases are written while one runs (`phasescope.start()`), and cost next to nothing otherwise.

    Args:
        model: its calls are `forward`, and each backward pass is `backward`. Only a weak reference to it is kept, and
            nothing is attached to it: copies and saved models have the same bytes as without. With `torch.compile`,
            give the compiled model.
        optimizer: its steps are `optimizer`. Several may be given.
        loader: iterate over `.loader` of the returned object, and each fetch is `data`.
        depth: the number of levels of submodules that are phases too, inside of `forward`, named by their attribute:
            with 2, `forward/encoder/attention`. What memory is made of is broken down by those, too.
        activations: count exactly what autograd saves for the backward pass, by its hooks, in the few steps that are
            looked at for what memory is made of; else activations are a difference of what is allocated, and not known
            on the host. docs/made-of.md has what it changes and costs.

    Raises TypeError or ValueError naming the argument, also if the model is instrumented already.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not a {type(model).__name__}")
    if isinstance(depth, bool) or not isinstance(depth, int):
        raise TypeError(f"depth must be a whole number, not a {type(depth).__name__}")
    if depth < 0:
        raise ValueError(f"depth must be 0 (the model alone) or more, not {depth}")
    if not isinstance(activations, bool):
        raise TypeError(f"activations must be True or False, not a {type(activations).__name__}")
    if loader is not None and not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise TypeError(f"loader must be iterable, not a {type(loader).__name__}")
    optimizers = _optimizers(optimizer)
    if is_instrumented(model):
        raise ValueError("model is instrumented already: call undo() on what instrument() returned for it first")
    return Instrumented(model, optimizers, loader, depth, activations)


class Instrumented:
    """A model whose phases are marked, until `undo()` or the end of the `with`. Made by `instrument()`."""

    loader: Any  # or every `for` would have to ask whether it is None
    """The loader with each fetch as the phase `data`; other attributes are the original's. None if none was given."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: list[torch.optim.Optimizer],
        loader: Iterable[Any] | None,
        depth: int,
        activations: bool = False,
    ) -> None:
        self._model = weakref.ref(model)
        # Nothing that marks leads back to this object, which holds the loader.
        steps = self._steps = [OptimizerSteps.of(optimizer) for optimizer in dict.fromkeys(optimizers)]

        def before() -> None:
            """Begin something new: a forward, a backward or a fetch. A step that was left open ends now."""
            for each in steps:
                if each.scope is not None:
                    each.end_unless_running()

        self._forwards = Forwards(model, depth, before, activations)
        self._over = False
        self.loader = None if loader is None else TrackedLoader(loader, before)

    def undo(self, error: BaseException | None = None) -> None:
        """Stop marking. A second call does nothing. An open phase ends, with the error if one is given."""
        if self._over:
            return
        self._over = True
        self._forwards.remove(error)
        for steps in self._steps:
            steps.release()
        self._steps.clear()

    def __enter__(self) -> Instrumented:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.undo(exc)

    def __repr__(self) -> str:
        model = self._model()
        return f"<Instrumented {'model that is gone' if model is None else type(model).__name__}>"


class TrackedLoader(track[T]):
    """A loader, each fetch from it the phase `data`. Whatever else it is asked for comes from the loader itself."""

    def __init__(self, loader: Iterable[T], before: Callable[[], None]) -> None:
        super().__init__(loader, "data")
        self._loader = loader
        self._gives = size_fetched(loader)
        self._before = before

    def __iter__(self) -> Iterator[T]:
        fetches = super().__iter__()
        while True:
            self._before()
            looks.fetched = self._gives
            try:
                box = [next(fetches)]
            except StopIteration:
                return
            yield box.pop()  # no variable here keeps the batch alive

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._loader, name)


def _optimizers(given: Any) -> list[torch.optim.Optimizer]:
    if given is None:
        return []
    several = [given] if isinstance(given, torch.optim.Optimizer) or not isinstance(given, Iterable) else list(given)
    hooked = []
    for optimizer in several:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer or several of them, not a {type(optimizer).__name__}"
            )
        # Some wrappers (accelerate's) call themselves an optimizer, and have none of its hooks.
        hooked.append(optimizer if hasattr(optimizer, "_optimizer_step_pre_hooks") else _wrapped(optimizer))
    return hooked


def _wrapped(optimizer: Any) -> torch.optim.Optimizer:
    inner = getattr(optimizer, "optimizer", None)
    if not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(f"optimizer must take step hooks, which a {type(optimizer).__name__} does not")
    return inner
