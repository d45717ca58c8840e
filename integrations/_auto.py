"""What `phasescope run` does: each framework that the script imports gets its integration, without being asked.

Unlike the integrations themselves, which only use hooks, this puts functions of its own around a few of the
frameworks': a script that names no callback and no model leaves no other way.
"""

from __future__ import annotations

import functools
import gc
import weakref
from typing import TYPE_CHECKING, Any

from phasescope import track

from ._imports import when_imported
from ._scopes import FitSession, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def instrument_imports() -> None:
    """Instrument torch, Lightning, transformers and Keras as the script imports them."""
    when_imported(
        {
            "torch": _on_torch,
            "lightning.pytorch.trainer.trainer": _on_lightning,
            "pytorch_lightning.trainer.trainer": _on_lightning,
            "transformers.trainer": _on_transformers,
            "keras": _on_keras,
        }
    )


def _after(cls: Any, name: str, then: Callable[[Any], None]) -> None:
    """After each call of the method, call `then` with its object; what that raises is logged."""
    method = getattr(cls, name)

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        try:
            then(self)
        except Exception as error:
            logger.warning("a %s is not instrumented (%s: %s)", cls.__name__, type(error).__name__, error)
        return result

    setattr(cls, name, called)


def _on_lightning(module: ModuleType) -> None:
    def made(trainer: Any) -> None:
        from .lightning import PhaseCallback

        if not any(isinstance(callback, PhaseCallback) for callback in trainer.callbacks):
            trainer.callbacks.insert(0, PhaseCallback())

    _after(module.Trainer, "__init__", made)


def _on_transformers(module: ModuleType) -> None:
    def made(trainer: Any) -> None:
        from .transformers import PhaseCallback

        if not any(isinstance(callback, PhaseCallback) for callback in trainer.callback_handler.callbacks):
            trainer.add_callback(PhaseCallback())

    _after(module.Trainer, "__init__", made)


def _on_keras(module: ModuleType) -> None:
    from .keras import PhaseCallback

    def made(callbacks: Any) -> None:
        if not any(isinstance(callback, PhaseCallback) for callback in callbacks.callbacks):
            callback = PhaseCallback()
            callback.set_params(callbacks.params)
            callback.set_model(vars(callbacks).get("_model"))  # its property has JAX put the whole state back
            callbacks.callbacks.append(callback)

    _after(module.callbacks.CallbackList, "__init__", made)


def _on_torch(module: ModuleType) -> None:
    models = _Models()
    _after(module.optim.Optimizer, "__init__", models.optimizer_made)
    _track_loaders(module.utils.data.dataloader, models.fetching)


class _Models:
    """The models of a plain torch loop: those that hold what an optimizer was given.

    A model may be wrapped (DDP, `torch.compile`) after its optimizer was made, so they are looked for again when the
    loop begins.
    """

    def __init__(self) -> None:
        self._waiting: list[weakref.ref[Any]] = []

    def optimizer_made(self, optimizer: Any) -> None:
        if not FitSession.is_any_open():
            self._look(optimizer)
            self._waiting.append(weakref.ref(optimizer))

    def fetching(self) -> None:
        waiting, self._waiting = self._waiting, []
        for the_optimizer in waiting:
            optimizer = the_optimizer()
            if optimizer is not None:
                self._look(optimizer)

    def _look(self, optimizer: Any) -> None:
        from .torch import instrument_by_itself

        parameters = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for model in _roots(parameters):
            instrument_by_itself(model, optimizer)


def _roots(parameters: set[int]) -> list[Any]:
    """The outermost modules that hold one of the parameters, by their ids. Looks through all objects: some 100 ms."""
    import torch

    modules = [found for found in gc.get_objects() if issubclass(type(found), torch.nn.Module)]
    inner = {id(child) for module in modules for child in vars(module).get("_modules", {}).values()}
    return [
        module
        for module in modules
        if id(module) not in inner
        and "_parameters" in vars(module)
        and any(id(parameter) in parameters for parameter in module.parameters())
    ]


def _track_loaders(module: ModuleType, fetching: Callable[[], None]) -> None:
    """Each fetch from a DataLoader is the phase `data`, unless a framework's fit runs, whose callback says so."""
    iterators: Any = module._BaseDataLoaderIter
    fetch = iterators.__next__

    @functools.wraps(fetch)
    def __next__(self: Any) -> Any:  # noqa: N807
        if FitSession.is_any_open():
            return fetch(self)
        try:
            fetching()
        except Exception as error:
            logger.warning("a model is not instrumented (%s: %s)", type(error).__name__, error)
        return next(iter(track(_Fetch(fetch, self))))

    iterators.__next__ = __next__


class _Fetch:
    """One fetch from an iterator, as the iterable that `track` takes."""

    def __init__(self, fetch: Callable[[Any], Any], iterator: Any) -> None:
        self._fetch = fetch
        self._iterator = iterator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._fetch(self._iterator)
