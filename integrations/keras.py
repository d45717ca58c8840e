"""Phases of Keras 3 models, by a callback, on the TensorFlow, torch and JAX backends.

    from phasescope.integrations.keras import PhaseCallback

    model.fit(x, y, callbacks=[PhaseCallback()])

Tested with keras 3.15 on TensorFlow 2.21, torch 2.13 and JAX 0.10 on the CPU.

Keras does not report exceptions to its callbacks. So this module wraps `fit`, `evaluate` and `predict` of
`keras.Model`; the wrapper passes everything through and, if one of them raises, ends the phases that were begun in it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ._frameworks import framework
from ._keras_variables import know_model, look_if_due
from ._scopes import FitSession, Scopes, UnseenError, logger
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras

    import phasescope

    from ._keras_torch import ModelSteps
else:
    keras = framework("keras", "keras", pip="'keras>=3' tensorflow")

__all__ = ["PhaseCallback"]

_CALLS = ("fit", "evaluate", "predict")
_BACKEND = keras.backend.backend()
_WITHOUT_STEPS = ("tensorflow", "jax")
"""A batch is one call there. On torch it is Python, and each step tells itself."""


class PhaseCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that marks the phases of fit, evaluate and predict. The tree is in docs/integrations.md.

    It writes to the running session. If there is none, it starts one for the duration of the call and stops it
    afterwards. `session` is that session, also after the call: `print(callback.session.summary())`.

    It has no hook for the end of a batch: with one, Keras would copy the loss from the device for every batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._scopes = Scopes()
        self._fit = FitSession()
        self._the_model: weakref.ref[Any] | None = None
        self._steps: ModelSteps | None = None
        self._batches_begun = 0
        self._has_trained = False

    @property
    def session(self) -> phasescope.Session | None:
        """The session of the last call, which may be over."""
        return self._fit.session

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        # Asking a callback for its `model` in the middle of an epoch makes JAX put the whole state back into it.
        self._the_model = None if model is None else weakref.ref(model)
        if model is not None and _BACKEND in _WITHOUT_STEPS:
            know_model(model)

    # A call as a whole, or a validation within it

    def _begin(self, root: str) -> None:
        if self._scopes and not _calls.has_begun(self):
            self._end_all(UnseenError())  # of a call that nothing stood around, and that ended without a word
        self._fit.begin()
        self._scopes.enter(root)
        _calls.note(self, root)
        self._mark_steps()

    def _end(self, root: str, error: BaseException | None) -> None:
        if error is not None:
            self._unmark_steps(error)
        self._scopes.leave(root, error)
        self._fit.end()
        if not self._scopes:
            self._unmark_steps(None)

    def _ended(self, root: str) -> None:
        _calls.forget(self, root)
        self._end(root, None)

    def _end_all(self, error: BaseException) -> None:
        self._unmark_steps(error)
        self._scopes.leave_all(error)
        self._fit.end_all()

    # The parts that only the torch backend shows

    def _mark_steps(self) -> None:
        model = None if self._the_model is None else self._the_model()
        if model is None or _BACKEND != "torch":
            return
        from ._keras_torch import ModelSteps

        try:
            if self._steps is None:
                self._steps = ModelSteps(model, self._step_ended)
            self._steps.mark_batches()
        except Exception as error:  # a model or an optimizer that takes no hook
            logger.warning("only batches are marked of a %s (%s)", type(model).__name__, type(error).__name__)

    def _unmark_steps(self, error: BaseException | None) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.undo(error)

    def _step_ended(self) -> None:
        if "batch" in self._scopes:  # else it is a `train_on_batch` of somebody's
            self._scopes.leave("batch")
            # Keras says how many there will be, but not of a validation within a fit.
            batches = None if "validation" in self._scopes else (self.params or {}).get("steps")
            if batches is None or self._batches_begun < batches:
                self._scopes.enter("data")

    # A loop over batches

    def _loop_begins(self) -> None:
        if self._steps is not None:
            self._scopes.enter("data")

    def _batch_begins(self, loop: str, number: int) -> None:
        self._scopes.leave_inside(loop)
        if _BACKEND in _WITHOUT_STEPS:
            look_if_due(_BACKEND, "step" if loop == "epoch" and self._has_trained else "forward")
            self._has_trained = self._has_trained or loop == "epoch"
        number = int(number)
        self._scopes.enter("batch", number)
        self._batches_begun = number + 1

    # The hooks of Keras

    def on_train_begin(self, logs: Any = None) -> None:
        self._has_trained = False
        self._begin("fit")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._scopes.leave_inside("fit")
        self._scopes.enter("epoch", int(epoch))
        self._loop_begins()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._batch_begins("epoch", batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._scopes.leave_inside("epoch")

    def on_train_end(self, logs: Any = None) -> None:
        if _BACKEND in _WITHOUT_STEPS and self._has_trained:
            look_if_due(_BACKEND, "step")
        self._ended("fit")

    def on_test_begin(self, logs: Any = None) -> None:
        self._scopes.leave_inside("epoch")
        self._begin(self._test)
        self._loop_begins()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._batch_begins(self._test, batch)

    def on_test_end(self, logs: Any = None) -> None:
        self._ended(self._test)

    @property
    def _test(self) -> str:
        return "validation" if "fit" in self._scopes else "evaluate"

    def on_predict_begin(self, logs: Any = None) -> None:
        self._begin("predict")
        self._loop_begins()

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._batch_begins("predict", batch)

    def on_predict_end(self, logs: Any = None) -> None:
        self._ended("predict")


class _FitCalls(threading.local):
    """The calls of `fit` and the like on this thread's stack, each with the phases that callbacks have begun in it."""

    def __init__(self) -> None:
        self.running: list[list[tuple[PhaseCallback, str]]] = []

    def note(self, callback: PhaseCallback, root: str) -> None:
        if self.running:
            self.running[-1].append((callback, root))

    def forget(self, callback: PhaseCallback, root: str) -> None:
        if self.running and (callback, root) in self.running[-1]:
            self.running[-1].remove((callback, root))

    def has_begun(self, callback: PhaseCallback) -> bool:
        return any(callback is begun for call in self.running for begun, _ in call)


_calls = _FitCalls()


def is_in_a_call() -> bool:
    """Return whether this thread is in a call of `fit` and the like, whether its callbacks have begun or not."""
    return bool(_calls.running)


def _noticed(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method of a model; phases that callbacks have begun in it end with the exception that leaves it."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        begun: list[tuple[PhaseCallback, str]] = []
        _calls.running.append(begun)
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            for callback, root in reversed(begun):
                with contextlib.suppress(Exception):
                    callback._end(root, error)
            step_out(error)
            raise
        finally:
            _calls.running.pop()

    call.phasescope = True  # type: ignore[attr-defined]
    return call


for _name in _CALLS:
    if not hasattr(getattr(keras.Model, _name), "phasescope"):
        setattr(keras.Model, _name, _noticed(getattr(keras.Model, _name)))
