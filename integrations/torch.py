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
from ._scopes import FitSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import torch
else:
    torch = framework("torch", "torch", pip="torch")

from ._torch_hooks import Backward, Forwards, Steps

__all__ = ["Instrumented", "instrument"]

T = TypeVar("T")


def instrument(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None = None,
    loader: Iterable[Any] | None = None,
    *,
    depth: int = 0,
) -> Instrumented:
    """Mark the phases data, forward, backward and optimizer of a training loop, by hooks; `undo()` takes them away.

    It starts no session: phases are written while one runs (`phasescope.start()`), and cost next to nothing before.

    model: its calls are `forward`; from the first gradient that comes back to an output until the last parameter has
        its gradient is `backward`. Only a weak reference to it is kept. For `torch.compile`, give what that returns.
    optimizer: its steps are `optimizer`. Several may be given.
    loader: iterate over `.loader` of what this returns, and each fetch is `data`.
    depth: so many levels of submodules are phases too, inside of `forward`, named by their attribute:
        with 2, `forward/encoder/attention`.

    Raises TypeError or ValueError naming the argument, also where the model is instrumented already.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not a {type(model).__name__}")
    if isinstance(depth, bool) or not isinstance(depth, int):
        raise TypeError(f"depth must be a whole number, not a {type(depth).__name__}")
    if depth < 0:
        raise ValueError(f"depth must be 0 (the model alone) or more, not {depth}")
    if loader is not None and not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise TypeError(f"loader must be iterable, not a {type(loader).__name__}")
    optimizers = _optimizers(optimizer)
    automatic = _automatic.pop(model, None)
    if automatic is not None:
        automatic.undo()
    if model in _instrumented:
        raise ValueError("model is instrumented already: call undo() on what instrument() returned for it first")
    return Instrumented(model, optimizers, loader, depth)


def instrument_by_itself(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """For `phasescope run`: as `instrument`, silent while a framework's fit runs, until somebody calls that."""
    for inner in model.modules():
        if inner is not model and inner in _automatic:  # it was wrapped since
            _automatic.pop(inner).undo()
    if model in _automatic:
        _automatic[model].add(optimizer)
    elif not any(inner in _instrumented for inner in model.modules()):
        _automatic[model] = Instrumented(model, [optimizer], None, 0, FitSession.is_any_open)


class Instrumented:
    """A model whose phases are marked, until `undo()` or the end of the `with`. Made by `instrument()`."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: list[torch.optim.Optimizer],
        loader: Iterable[Any] | None,
        depth: int,
        paused: Callable[[], bool] = bool,
    ) -> None:
        self._model = weakref.ref(model)
        self._paused = paused
        # Nothing that hangs on the model leads back to this object, which holds the loader.
        steps = self._steps = list[Steps]()
        for optimizer in optimizers:
            self.add(optimizer)

        def before() -> None:
            """Something new begins: a forward or a fetch. What was left open before it ends now."""
            Backward.end_unless_running()
            for each in steps:
                each.end_unless_running()

        self._backward = Backward()
        self._forwards = Forwards(before, self._backward.expect, paused)
        self._handles = self._forwards.hook(model, "")
        for name, module in model.named_modules():
            if name and name.count(".") < depth:
                self._handles += self._forwards.hook(module, name)
        self.loader = None if loader is None else TrackedLoader(loader, before)
        """The loader, each fetch from it a phase; its attributes are the original's. None where none was given."""
        _instrumented.add(model)

    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """Mark the steps of a further optimizer."""
        (optimizer,) = _optimizers(optimizer)
        steps = Steps.of(optimizer, self._paused)
        if steps in self._steps:
            steps.release()
        else:
            self._steps.append(steps)

    def undo(self, error: BaseException | None = None) -> None:
        """Take every hook away. A second time does nothing. A phase that is open ends; with an error, as of that."""
        model = self._model()
        if model is not None and self._handles:
            _instrumented.discard(model)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._backward.remove(error)
        self._forwards.leave_all(error)
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
        self._before = before

    def __iter__(self) -> Iterator[T]:
        fetches = super().__iter__()
        while True:
            self._before()
            try:
                box = [next(fetches)]
            except StopIteration:
                return
            yield box.pop()  # no variable here keeps the batch alive

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._loader, name)


_automatic: weakref.WeakKeyDictionary[torch.nn.Module, Instrumented] = weakref.WeakKeyDictionary()
_instrumented: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def _optimizers(given: Any) -> list[torch.optim.Optimizer]:
    if given is None:
        return []
    several = [given] if isinstance(given, torch.optim.Optimizer) or not isinstance(given, Iterable) else list(given)
    found = []
    for optimizer in several:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer or several of them, not a {type(optimizer).__name__}"
            )
        # Some wrappers (accelerate's) call themselves an optimizer, and have none of its hooks.
        found.append(optimizer if hasattr(optimizer, "_optimizer_step_pre_hooks") else _wrapped(optimizer))
    return found


def _wrapped(optimizer: Any) -> torch.optim.Optimizer:
    inner = getattr(optimizer, "optimizer", None)
    if not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(f"optimizer must take step hooks, which a {type(optimizer).__name__} does not")
    return inner
