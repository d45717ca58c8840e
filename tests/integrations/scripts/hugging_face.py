"""Scenarios of the Hugging Face callback, with a tiny model that is made from a configuration."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import signal
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import Any

import torch
from phasescope.integrations.transformers import PhaseCallback
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments, set_seed

import phasescope
from phasescope import phase
from support.scenarios import forget_models, made_of, notes, phases, scenario, tell_all

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
torch.set_num_threads(1)

DATA = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(8)]


class Failing(TrainerCallback):  # type: ignore[misc]
    """Raises at the end of the second micro-batch, as the training itself might."""

    def __init__(self, error: BaseException | None, interrupt: bool = False) -> None:
        self.error = error
        self.interrupt = interrupt

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1 and self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        if state.global_step == 1 and self.error is not None:
            raise self.error


class Reported(TrainerCallback):  # type: ignore[misc]
    """Stands for what reports to TensorBoard and the like."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append(dict(logs))


def trainer(*callbacks: Any, kind: Any = Trainer, **options: Any) -> Any:
    set_seed(0)
    config = GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
    }
    arguments = TrainingArguments(tempfile.mkdtemp(dir="."), **(settings | options))
    return kind(
        GPT2LMHeadModel(config), arguments, train_dataset=DATA, eval_dataset=DATA[:2], callbacks=list(callbacks)
    )


def train(of: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        of.train()


@scenario
def two_epochs_with_validation() -> Any:
    callback = PhaseCallback()
    train(trainer(callback, num_train_epochs=2, eval_strategy="epoch", save_strategy="epoch", logging_strategy="epoch"))
    assert callback.session is not None
    return phases(callback.session), notes(callback.session)


@scenario
def gradient_accumulation() -> Any:
    callback = PhaseCallback()
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    train(trainer(callback, logging_strategy="steps", logging_steps=1, **options))
    assert callback.session is not None
    return phases(callback.session)


@scenario
def evaluation_between_steps() -> Any:
    callback = PhaseCallback()
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    train(trainer(callback, logging_strategy="steps", logging_steps=1, **options))
    assert callback.session is not None
    return phases(callback.session)


@scenario
def an_exception_in_a_step_and_then_a_second_training() -> Any:
    callback, failing = PhaseCallback(), Failing(ValueError("in the step"))
    with phasescope.start() as session, phase("mine"):
        one = trainer(callback, failing)
        with contextlib.suppress(ValueError):
            train(one)
        failing.error = None
        with phase("second"):
            train(one)
        return phases(session), notes(session), phasescope.current() is session is callback.session


@scenario
def keyboard_interrupt() -> Any:
    callback = PhaseCallback()
    with contextlib.suppress(KeyboardInterrupt):
        train(trainer(callback, Failing(None, interrupt=True)))
    assert callback.session is not None
    return phases(callback.session)


@scenario
def added_later() -> Any:
    callback = PhaseCallback()
    one = trainer()
    one.add_callback(callback)
    one.add_callback(Failing(ValueError("in the step")))
    with contextlib.suppress(ValueError):
        train(one)
    assert callback.session is not None
    return phases(callback.session)


@scenario
def two_models() -> Any:
    with phasescope.start() as session:
        train(trainer(PhaseCallback()))
        train(trainer(PhaseCallback()))
        return phases(session)


@scenario
def evaluate_and_predict() -> Any:
    callback = PhaseCallback()
    one = trainer(callback)
    with phasescope.start() as session, contextlib.redirect_stdout(io.StringIO()):
        one.evaluate()
        one.predict(DATA[:2])
        return phases(session), one.train.__name__, one.train.__doc__ == type(one).train.__doc__


@scenario
def weights() -> Any:
    def final(*callbacks: Any) -> Any:
        one = trainer(*callbacks, num_train_epochs=2)
        train(one)
        return [[value.hex() for value in parameter.flatten().tolist()] for parameter in one.model.parameters()]

    return final(), final(PhaseCallback(log_figures=True))


@scenario
def categories() -> Any:
    forget_models()
    callback = PhaseCallback()
    trained = trainer(callback, per_device_train_batch_size=2)
    train(trained)
    assert callback.session is not None
    own = {
        "parameters": sum(parameter.nbytes for parameter in trained.model.parameters()),
        "optimizer_state": sum(
            value.nbytes for state in trained.optimizer.optimizer.state.values() for value in state.values()
        ),
    }
    return made_of(callback.session), own


@scenario
def logged() -> Any:
    told = []
    for asked in (True, False):
        reported = Reported()
        train(trainer(reported, PhaseCallback(log_figures=asked), logging_strategy="steps", logging_steps=1))
        told.append([sorted(key for key in logs if "phasescope" in key) for logs in reported.logs])
    return told


@scenario
def spoiled_peaks() -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            train(trainer(PhaseCallback(), skip_memory_metrics=False))
    return [str(warning.message) for warning in caught if warning.category is phasescope.PhasescopeWarning]


@scenario
def kept_alive() -> Any:
    """Whether a trainer and its model are gone at once, and not only when the collector runs."""
    gc.collect()
    gc.disable()
    one = trainer(PhaseCallback())
    train(one)
    references = weakref.ref(one), weakref.ref(one.model)
    del one
    gone = [reference() is None for reference in references]
    gc.enable()
    return gone


class WithLoss(Trainer):  # type: ignore[misc]
    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)


class WithStep(Trainer):  # type: ignore[misc]
    def training_step(self, model: Any, inputs: Any, *_: Any) -> Any:
        loss = model(**self._prepare_inputs(inputs)).loss
        self.accelerator.backward(loss)
        return loss.detach()


class WithStepOfTorchAlone(Trainer):  # type: ignore[misc]
    def training_step(self, model: Any, inputs: Any, *_: Any) -> Any:
        loss = model(**self._prepare_inputs(inputs)).loss
        torch.autograd.backward([loss])
        return loss.detach()


@scenario
def own_loss() -> Any:
    callback = PhaseCallback()
    one = trainer(callback, kind=WithLoss, eval_strategy="epoch")
    train(one)
    assert callback.session is not None
    return phases(callback.session), "compute_loss" not in vars(one) and "backward" not in vars(one.accelerator)


@scenario
def own_steps() -> Any:
    found = []
    for kind in (WithStep, WithStepOfTorchAlone):
        callback = PhaseCallback()
        train(trainer(callback, kind=kind))
        assert callback.session is not None
        found.append(phases(callback.session))
    return found


@scenario
def steps_not_told() -> Any:
    from phasescope.integrations import transformers as integration

    class Old(PhaseCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            pass

        def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            pass

    integration._TELLS_STEPS = False
    try:
        callback = Old()
        one = trainer(callback)
        train(one)
    finally:
        integration._TELLS_STEPS = True
    assert callback.session is not None
    return phases(callback.session), len(one.optimizer.optimizer._optimizer_step_pre_hooks)


class Saving(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.trainer: Any = None
        self.told: list[Any] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if not self.told:
            self.told.append("compute_loss" in vars(self.trainer))
            self.trainer.save_model("saved")
            self.told.append([path.name for path in Path("saved").iterdir() if b"phasescope" in path.read_bytes()])


@scenario
def saved_meanwhile() -> Any:
    saving = Saving()
    one = saving.trainer = trainer(PhaseCallback(), saving)
    train(one)
    saving.trainer = None
    return saving.told


@scenario
def unmarked() -> Any:
    with phasescope.start() as session:
        train(trainer())
        return phases(session)


tell_all()
