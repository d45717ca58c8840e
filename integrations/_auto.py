"""What `phasescope run` does: each framework that the script imports gets its integration, without being asked.

Unlike the integrations themselves, which only use hooks, this puts functions of its own around a few of the
frameworks': a script that names no callback and no model leaves no other way.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ._imports import when_imported
from ._scopes import logger

if TYPE_CHECKING:
    from collections.abc import Callable
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


def _on_torch(_module: ModuleType) -> None:
    from ._torch_run import mark_everything

    mark_everything()
