"""Phases of a Hugging Face `Trainer`, and of trainers built on it (TRL), by a callback.

    from phasescope.integrations.transformers import PhaseCallback

    trainer = Trainer(model, args, train_dataset=data, callbacks=[PhaseCallback()])

Tested with transformers 5.24 and accelerate 1.15 on the CPU.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

from phasescope import PhasescopeWarning

from ._figures import figures
from ._frameworks import framework
from ._hf_parts import Parts
from ._scopes import FitSession, Scopes, UnseenError, logger
from ._tracebacks import step_out

if TYPE_CHECKING:
    import transformers

    import phasescope
else:
    transformers = framework("transformers", "transformers", pip="'transformers[torch]'")

from ._torch_looks import looks

__all__ = ["PhaseCallback"]

_TELLS_STEPS = hasattr(transformers.TrainerCallback, "on_pre_optimizer_step") and hasattr(
    transformers.TrainerCallback, "on_optimizer_step"
)
_LOGGED = ("data", "forward", "backward", "forward_backward", "optimizer", "step", "evaluate", "save")


class PhaseCallback(transformers.TrainerCallback):  # type: ignore[misc]
    """A callback that marks the phases of train, evaluate and predict. The tree is in docs/integrations.md.

    It writes to the running session. If there is none, it starts one for the duration of the call and stops it
    afterwards. `session` is that session, also after the call: `print(callback.session.summary())`.

    The Trainer does not report exceptions to its callbacks, nor that an evaluation begins. So importing this module
    wraps `Trainer.train`, `evaluate` and `predict`; the wrapper calls the trainer's PhaseCallback, if it has one.

    Args:
        log_figures: add to what the Trainer logs, of the last entry of each phase:
            `phasescope/peak_allocated_bytes/<phase>` and `phasescope/duration_ms/<phase>`. Off by default.

    Raises TypeError naming the argument.
    """

    def __init__(self, *, log_figures: bool = False) -> None:
        if not isinstance(log_figures, bool):
            raise TypeError(f"log_figures must be True or False, not a {type(log_figures).__name__}")
        self._log_figures = log_figures
        self._scopes = Scopes()
        self._parts = Parts(self._scopes)
        self._fit = FitSession()

    @property
    def session(self) -> phasescope.Session | None:
        """The session of the last call, which may be over."""
        return self._fit.session

    def begin(self, trainer: Any, name: str) -> None:
        """Note that the Trainer's method of that name was called. Done by itself."""
        if name == "train":
            _put_before_reports(self, trainer)
            self._parts.begin(trainer, transformers.Trainer.training_step)
        self._fit.begin()
        self._scopes.enter(name)
        if name == "train":
            self._scopes.enter("setup")

    def end(self, trainer: Any, name: str, error: BaseException | None) -> None:
        """Note that the call is over, maybe by an exception. Done by itself."""
        self._scopes.leave(name, error)
        self._fit.end()
        if name == "train":
            self._parts.end()
        if error is None and name == "evaluate":
            self._go_on(trainer.state, trainer.control)

    # The events of a training

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not args.skip_memory_metrics:
            _warn_once("skip_memory_metrics=False resets torch's peaks and empties its cache: peaks here are too low")
        self._scopes.leave("setup")
        self._scopes.leave_inside("train", UnseenError())  # with a batch size that was too large
        self._parts.stand_before()
        _know(kwargs.get("model"), kwargs.get("optimizer"))
        if not _TELLS_STEPS:
            self._parts.hook_steps(kwargs.get("optimizer"))

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._scopes.leave("epoch")
        self._scopes.enter("epoch", int(state.epoch or 0))
        self._scopes.enter("data")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._scopes.leave("data")
        self._scopes.enter("step", state.global_step)
        self._parts.batch()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._scopes.leave_inside("step")
        self._parts.batch()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._parts.optimizer_begins()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._parts.optimizer_ended()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._scopes.leave("step")
        self._go_on(state, control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self._log_figures and isinstance(logs, dict) and "loss" in logs:
            logs.update(figures(self.session, _LOGGED))
        self._go_on(state, control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._scopes.leave("save")
        self._go_on(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._scopes.leave_inside("epoch")
        self._go_on(state, control)

    def _go_on(self, state: Any, control: Any) -> None:
        """Begin the phase between two steps, after the logging and the evaluation that may still be to come."""
        if self._scopes.innermost != "epoch" or control.should_log or control.should_evaluate:
            return
        if control.should_save:
            self._scopes.enter("save")
        elif not (control.should_epoch_stop or control.should_training_stop or _is_at_epoch_end(state)):
            self._scopes.enter("data")


def _know(model: Any, optimizer: Any) -> None:
    """Have the memory of the model and of the optimizer counted, which may have accelerate's around it."""
    if model is not None:
        looks.know_model(model)
    inner = getattr(optimizer, "optimizer", optimizer)
    if inner is not None:
        looks.know_optimizer(inner)


def _is_at_epoch_end(state: Any) -> bool:
    """Return whether the epoch has no further step: a figure this close to a whole number of epochs is that number."""
    return bool(state.global_step >= state.max_steps or abs(state.epoch - round(state.epoch)) < 1e-6)


def _notice(cls: Any, name: str) -> None:
    """Tell a trainer's PhaseCallback when this method of it begins and ends; other trainers' go on as they are."""
    method = getattr(cls, name)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        ours = [callback for callback in self.callback_handler.callbacks if isinstance(callback, PhaseCallback)]
        for callback in ours:
            callback.begin(self, name)
        try:
            result = method(self, *args, **kwargs)
        except BaseException as error:
            for callback in reversed(ours):
                callback.end(self, name, error)
            step_out(error)
            raise
        for callback in reversed(ours):
            callback.end(self, name, None)
        return result

    setattr(cls, name, call)


def _put_before_reports(callback: PhaseCallback, trainer: Any) -> None:
    """Put the callback after the one that decides when to log, evaluate and save, and before those that report."""
    callbacks = trainer.callback_handler.callbacks
    if callback in callbacks[1:]:
        callbacks.remove(callback)
        callbacks.insert(1, callback)


def _warn_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        try:
            warnings.warn(text, PhasescopeWarning, stacklevel=4)
        except PhasescopeWarning:  # warnings are errors here: that must not end the training
            logger.warning(text)


_said: set[str] = set()

for _name in ("train", "evaluate", "predict"):
    _notice(transformers.Trainer, _name)
