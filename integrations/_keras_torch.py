"""Phases of Keras on its torch backend, where every batch is Python: data, forward, backward and optimizer."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from phasescope import phase

from ._scopes import leave
from ._torch_looks import looks
from ._tracebacks import step_out
from .torch import Instrumented, instrument

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = ("train_function", "test_function", "predict_function")


class ModelSteps:
    """One model, for the time of a fit: `step_ended` is called after each of its batches, the rest marks itself."""

    def __init__(self, model: Any, step_ended: Callable[[], None]) -> None:
        self._model = model
        self._step_ended = step_ended
        self._marked: Instrumented | None = None
        self._optimizer: Any = None
        if getattr(model, "jit_compile", False) is not True:  # compiled code is not looked into
            with contextlib.suppress(ValueError):  # the user has instrumented it
                self._marked = instrument(model)
            self._optimizer = getattr(model, "optimizer", None)
            if self._optimizer is not None:
                looks.know_optimizer(self._optimizer)
            _surround(self._optimizer, "apply", self._marked_step)

    def mark_batches(self) -> None:
        """Mark the batches of a loop that begins: by now the model has the functions that it calls for each."""
        for name in _STEPS:
            _surround(self._model, name, self._marked_batch)

    def undo(self, error: BaseException | None) -> None:
        """Take everything away. Phases that are still open end; with an error, as ended by it."""
        if self._marked is not None:
            self._marked.undo(error)
        _free(self._optimizer, "apply")
        for name in _STEPS:
            _free(self._model, name)

    def _marked_batch(self, step: Callable[..., Any]) -> Callable[..., Any]:
        ended = self._step_ended

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                result = step(*args, **kwargs)
            except BaseException as error:
                step_out(error)
                raise
            ended()
            return result

        return call

    def _marked_step(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        key = id(self)

        def call(*args: Any, **kwargs: Any) -> Any:
            scope = phase("optimizer")
            scope.__enter__()
            try:
                result = apply(*args, **kwargs)
            except BaseException as error:
                leave(scope, error)
                step_out(error)
                raise
            scope.__exit__(None, None, None)
            looks.step_ended(key)
            return result

        return call


def _surround(owner: Any, name: str, marked: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what `marked` makes of the object's own attribute in its place, until `_free`. Once is enough."""
    original = getattr(owner, name, None)
    if callable(original) and not hasattr(original, "phasescope_original"):
        call = functools.wraps(original)(marked(original))
        call.phasescope_original = original  # type: ignore[attr-defined]
        setattr(owner, name, call)


def _free(owner: Any, name: str) -> None:
    original = getattr(getattr(owner, name, None), "phasescope_original", None)
    if original is None:
        return
    if getattr(original, "__self__", None) is owner:  # a method, that the attribute stood before
        delattr(owner, name)
    else:
        setattr(owner, name, original)
