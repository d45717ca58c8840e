"""Phases of a Lightning training, by a callback. Both `lightning.pytorch` and `pytorch_lightning` take it.

    from phasescope.integrations.lightning import PhaseCallback

    trainer = Trainer(callbacks=[PhaseCallback()])

Tested with lightning 2.6.6 and pytorch-lightning 2.6.6 on the CPU.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

from ._figures import figures
from ._frameworks import framework
from ._scopes import FitSession, Scopes, checked_interval, logger
from ._tracebacks import step_out

if TYPE_CHECKING:
    import lightning.pytorch as pl

    import phasescope
else:
    # Of the two packages, the one that the training imported: the other would cost it seconds.
    _modules = sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules)
    pl = framework("lightning", *_modules, pip="lightning")

from ._torch_looks import looks

__all__ = ["PhaseCallback"]

_ROOTS = {"fit": "fit", "validate": "validation", "test": "test", "predict": "predict"}
_LOGGED = ("data", "forward", "backward", "optimizer", "batch")


class PhaseCallback(pl.Callback):  # type: ignore[misc]
    """A callback that marks the phases of fit, validate, test and predict. The tree is in docs/integrations.md.

    It writes to the running session. If there is none, it starts one for the duration of the call and stops it
    afterwards. `session` is that session, also after the call: `print(callback.session.summary())`.

    Args:
        log_every_n_batches: pass a few figures to the trainer's loggers, once in this number of training batches:
            `phasescope/peak_allocated_bytes/<phase>` and `phasescope/duration_ms/<phase>` for data, forward, backward,
            optimizer and batch. None (the default): never.

    Raises TypeError or ValueError naming the argument.
    """

    def __init__(self, *, log_every_n_batches: int | None = None) -> None:
        super().__init__()
        self._log_every = checked_interval("log_every_n_batches", log_every_n_batches)
        self._scopes = Scopes()
        self._fit = FitSession()
        self._step = _StepEnd(self._scopes)

    @property
    def session(self) -> phasescope.Session | None:
        """The session of the last call, which may be over."""
        return self._fit.session

    # The call as a whole

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._end_all(trainer, None)  # of a call that ended without a word
        self._fit.begin()
        self._scopes.enter(_ROOTS.get(stage, stage))
        self._scopes.enter("setup")
        _wrap_save_checkpoint(trainer, self._scopes)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._end_all(trainer, None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._end_all(trainer, exception)

    def _end_all(self, trainer: Any, error: BaseException | None) -> None:
        self._step.forget()
        self._scopes.leave_all(error)
        _unwrap_save_checkpoint(trainer)
        self._fit.end_all()

    # Training

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("setup")
        _know(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("epoch")
        self._scopes.enter("epoch", trainer.current_epoch)
        self._scopes.enter("data")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        scopes = self._scopes
        scopes.leave("data")
        scopes.enter("batch", batch_idx)
        if looks.is_watching:
            looks.forward_begins((batch,))
        scopes.enter("forward")

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._leave_forward()

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self._leave_forward()
        if looks.is_watching:
            looks.backward_begins()
        self._scopes.enter("backward")

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("backward")

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        scopes = self._scopes
        scopes.leave_inside("batch")
        scopes.enter("optimizer")
        self._step.begins(optimizer, not pl_module.automatic_optimization)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._step.is_running = False
        self._scopes.leave("batch")
        if self._log_every is not None and (batch_idx + 1) % self._log_every == 0:
            self._log(trainer)
        if _trains_on(trainer, batch_idx):
            self._scopes.enter("data")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("epoch")

    def _leave_forward(self) -> None:
        if looks.is_watching and self._scopes.innermost == "forward":
            looks.forward_ended()
        self._scopes.leave_inside("batch")

    def _log(self, trainer: Any) -> None:
        values = figures(self.session, _LOGGED)
        for to in trainer.loggers if values else ():
            try:
                to.log_metrics(values, step=trainer.global_step)
            except Exception as error:
                logger.warning("%s took no figures (%s); no more are given", type(to).__name__, type(error).__name__)
                self._log_every = None

    # Sanity check and validation, within a fit or alone; test; predict

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("setup")
        self._scopes.enter("sanity_check")

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("sanity_check")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("setup")
        if "epoch" in self._scopes:
            self._scopes.leave_inside("epoch")
            self._scopes.enter("validation")
        self._scopes.enter("data")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if "epoch" not in self._scopes:
            self._scopes.leave("data")
            return
        self._scopes.leave("validation")
        if not trainer.is_last_batch:
            self._scopes.enter("data")

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._fetched()

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        counts = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        self._forwarded(counts, batch_idx, dataloader_idx)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("setup")
        self._scopes.enter("data")

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._fetched()

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._forwarded(trainer.num_test_batches, batch_idx, dataloader_idx)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("data")

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("setup")
        self._scopes.enter("data")

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._fetched()

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._forwarded(trainer.num_predict_batches, batch_idx, dataloader_idx)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        self._scopes.leave("data")

    def _fetched(self) -> None:
        self._scopes.leave("data")
        self._scopes.enter("forward")

    def _forwarded(self, counts: Any, batch_idx: int, dataloader_idx: int) -> None:
        self._scopes.leave("forward")
        if dataloader_idx + 1 < len(counts) or batch_idx + 1 < counts[dataloader_idx]:
            self._scopes.enter("data")


class _StepEnd:
    """The end of an optimizer's step, for which Lightning has no hook: the optimizer's own stays for the whole fit."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._optimizer: weakref.ref[Any] | None = None  # of several that take turns, the one that stepped last
        self._handle: Any = None
        self._goes_on_forward = False
        self.is_running = False

    def begins(self, optimizer: Any, goes_on_forward: bool) -> None:
        """Note that Lightning is about to step; afterwards the forward may go on in the same batch."""
        if self._optimizer is None or self._optimizer() is not optimizer:
            self.forget()
            self._handle = optimizer.register_step_post_hook(self._ended)
            self._optimizer = weakref.ref(optimizer)
        self._goes_on_forward = goes_on_forward
        self.is_running = True

    def _ended(self, optimizer: Any, *_arguments: Any) -> None:
        if not self.is_running:  # a step that Lightning did not announce
            return
        self.is_running = False
        self._scopes.leave("optimizer")
        looks.step_ended(id(optimizer))
        if self._goes_on_forward and self._scopes.innermost == "batch":
            self._scopes.enter("forward")

    def forget(self) -> None:
        """Take the hook away."""
        handle, self._handle, self._optimizer = self._handle, None, None
        self.is_running = False
        if handle is not None:
            handle.remove()

    def __reduce__(self) -> tuple[type[_StepEnd], tuple[Scopes]]:
        return (_StepEnd, (self._scopes,))


def _know(trainer: Any, pl_module: Any) -> None:
    """Have the memory of the module and its optimizers counted, and of whatever the strategy has put around it."""
    looks.know_model(pl_module)
    wrapped = trainer.strategy.model
    if wrapped is not None:
        looks.know_model(wrapped)
    for optimizer in trainer.optimizers:
        looks.know_optimizer(optimizer)


def _trains_on(trainer: Any, batch_idx: int) -> bool:
    """Return whether the epoch fetches a further batch after this one."""
    return not (
        trainer.is_last_batch
        or batch_idx + 1 >= trainer.num_training_batches
        or trainer.should_stop
        or 0 <= trainer.max_steps <= trainer.global_step
    )


def _wrap_save_checkpoint(trainer: Any, scopes: Scopes) -> None:
    """Put the trainer's own attribute before its method for the time of the call: no hook says when it is done."""
    save = trainer.save_checkpoint

    def save_checkpoint(*args: Any, **kwargs: Any) -> Any:
        fetching = scopes.innermost == "data"
        if fetching:
            scopes.leave("data")
        scopes.enter("checkpoint")
        try:
            return save(*args, **kwargs)
        except BaseException as error:
            scopes.leave("checkpoint", error)
            step_out(error)
            raise
        finally:
            scopes.leave("checkpoint")
            if fetching:
                scopes.enter("data")

    save_checkpoint.phasescope = True  # type: ignore[attr-defined]
    trainer.save_checkpoint = save_checkpoint


def _unwrap_save_checkpoint(trainer: Any) -> None:
    if getattr(vars(trainer).get("save_checkpoint"), "phasescope", False):
        del trainer.save_checkpoint
