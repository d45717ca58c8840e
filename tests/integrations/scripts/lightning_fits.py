"""Scenarios of the Lightning callback.

The arguments: the package, `lightning.pytorch` or `pytorch_lightning`; then those to run, or none for all.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import importlib
import io
import logging
import os
import pickle
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

import phasescope
from phasescope import phase
from support.scenarios import forget_models, made_of, notes, phases, scenario, tell_all

warnings.simplefilter("ignore")
logging.disable(logging.INFO)
torch.set_num_threads(1)
pl: Any = importlib.import_module(sys.argv[1])
from phasescope.integrations.lightning import PhaseCallback  # noqa: E402 - after the package that it is to find


class Net(pl.LightningModule):  # type: ignore[misc]
    fail: BaseException | None = None
    interrupt = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)

    def loss(self, batch: Any) -> Any:
        return self.layer(batch).pow(2).sum()

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self.loss(batch)
        if index == 1 and self.fail is not None:
            raise self.fail
        if index == 1 and self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("validation_loss", self.loss(batch))

    def test_step(self, batch: Any, index: int) -> None:
        self.loss(batch)

    def predict_step(self, batch: Any, index: int) -> Any:
        return self.layer(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


class Manual(Net):
    """Two optimizers, stepped by hand, as a GAN does."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, index: int) -> None:
        for layer, optimizer in zip((self.layer, self.other), self.optimizers(), strict=True):
            loss = layer(batch).sum()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.layer, self.other)]


def loader(batches: int) -> Any:
    data: Any = torch.ones(2 * batches, 4)
    return torch.utils.data.DataLoader(data, batch_size=2)


def trainer(*callbacks: Any, **options: Any) -> Any:
    settings = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tempfile.mkdtemp(dir="."),
    }
    return pl.Trainer(callbacks=list(callbacks), **(settings | options))


def quietly(call: Any, *arguments: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        call(*arguments)


@scenario
def two_epochs_with_validation() -> Any:
    callback = PhaseCallback()
    fit = trainer(callback, enable_checkpointing=True)
    fit.fit(Net(), loader(2), loader(1))
    assert callback.session is not None
    return phases(callback.session), notes(callback.session), "save_checkpoint" in vars(fit)


@scenario
def gradient_accumulation() -> Any:
    callback = PhaseCallback()
    trainer(callback, max_epochs=1, accumulate_grad_batches=2).fit(Net(), loader(2))
    assert callback.session is not None
    return phases(callback.session)


@scenario
def manual_optimisation() -> Any:
    callback = PhaseCallback()
    fit = trainer(callback, max_epochs=1)
    model = Manual()
    fit.fit(model, loader(1))
    assert callback.session is not None
    hooks = [len(optimizer._optimizer_step_post_hooks) for optimizer in fit.optimizers]
    return phases(callback.session), hooks


@scenario
def an_exception_in_a_batch_and_then_a_second_fit() -> Any:
    callback = PhaseCallback()
    model = Net()
    with phasescope.start() as session, phase("mine"):
        model.fail = ValueError("in the batch")
        fit = trainer(callback, max_epochs=1)
        with contextlib.suppress(ValueError):
            fit.fit(model, loader(2))
        wrapped = "save_checkpoint" in vars(fit)
        model.fail = None
        with phase("second"):
            trainer(callback, max_epochs=1).fit(model, loader(1))
        running = phasescope.current() is session is callback.session
    return phases(session), notes(session), running, wrapped


@scenario
def keyboard_interrupt() -> Any:
    callback = PhaseCallback()
    model = Net()
    model.interrupt = True
    before = signal.getsignal(signal.SIGINT)
    with contextlib.suppress(SystemExit):
        trainer(callback, max_epochs=1).fit(model, loader(2))
    signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on
    assert callback.session is not None
    return phases(callback.session)


@scenario
def two_models() -> Any:
    callback = PhaseCallback()
    with phasescope.start() as session:
        trainer(callback, max_epochs=1).fit(Net(), loader(1))
        trainer(PhaseCallback(), max_epochs=1).fit(Net(), loader(1))
        return phases(session)


@scenario
def validate_test_predict() -> Any:
    callback = PhaseCallback()
    told = []
    for name in ("validate", "test", "predict"):
        quietly(getattr(trainer(callback), name), Net(), loader(2))
        assert callback.session is not None
        told.append(phases(callback.session))
    return told


@scenario
def validation_within_the_epoch() -> Any:
    callback = PhaseCallback()
    fit = trainer(callback, max_epochs=1, val_check_interval=2, num_sanity_val_steps=0)
    fit.fit(Net(), loader(4), loader(1))
    assert callback.session is not None
    return phases(callback.session)


@scenario
def checkpoints_between_batches() -> Any:
    callback = PhaseCallback()
    saving = pl.callbacks.ModelCheckpoint(dirpath=tempfile.mkdtemp(dir="."), every_n_train_steps=1)
    trainer(callback, saving, max_steps=2, enable_checkpointing=True).fit(Net(), loader(4))
    assert callback.session is not None
    return phases(callback.session)


@scenario
def weights() -> Any:
    def final(*callbacks: Any) -> Any:
        model = Net()
        pl.seed_everything(1, verbose=False)
        trainer(*callbacks).fit(model, loader(3), loader(1))
        return [[value.hex() for value in parameter.flatten().tolist()] for parameter in model.parameters()]

    return final(), final(PhaseCallback())


@scenario
def logged() -> Any:
    log = pl.loggers.CSVLogger(tempfile.mkdtemp(dir="."))
    trainer(PhaseCallback(log_every_n_batches=2), max_epochs=1, logger=log).fit(Net(), loader(4))
    log.save()
    with Path(log.log_dir, "metrics.csv").open() as file:
        with_figures = list(csv.DictReader(file))
    log = pl.loggers.CSVLogger(tempfile.mkdtemp(dir="."))
    trainer(PhaseCallback(), max_epochs=1, logger=log).fit(Net(), loader(4))
    return with_figures, sorted(log.experiment.metrics_keys)


@scenario
def categories() -> Any:
    forget_models()
    callback, model = PhaseCallback(), Net()
    fit = trainer(callback, max_epochs=1)
    fit.fit(model, loader(4))
    assert callback.session is not None
    return made_of(callback.session), sum(parameter.nbytes for parameter in model.parameters())


@scenario
def copies() -> Any:
    callback = PhaseCallback(log_every_n_batches=1)
    trainer(callback, max_epochs=1).fit(Net(), loader(1))
    for copied in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        trainer(copied, max_epochs=1).fit(Net(), loader(1))
        assert copied.session is not None
        assert copied.session is not callback.session
    return True


tell_all(*sys.argv[2:])
