"""The cost of the callbacks to the trainers that take them: short runs of each with and without, as ratios.

Of a run counts the time from the first step's begin to the last one's end.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

from benchmarks import ours, peers
from benchmarks.integrations import five_milliseconds, ratios
from benchmarks.measure import Subject
from benchmarks.training_step import WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., float]
    """Trains with these callbacks, and returns the mean time of a step, ns."""

RUN_STEPS = 60
"""Steps of one run of a trainer."""


def _data(batch: int, steps: int) -> Any:
    """Return as many batches as a run has steps; each of them is all there is of the data."""
    import torch

    inputs, labels = torch.randn(batch, WIDTH), torch.randint(0, 10, (batch,))
    return [{"inputs": inputs, "labels": labels} for _ in range(steps)]


def _compared(run: Run, callbacks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Time runs without a callback, and with each; ours within a session of its own."""

    @contextlib.contextmanager
    def opened(make: Callable[[], Any] | None) -> Iterator[dict[str, Any]]:
        session: Any = ours.session("cpu") if make is callbacks.get("phasescope") else contextlib.nullcontext()
        with session:
            yield {"callbacks": [] if make is None else [make()]}

    def block(subject: Subject) -> float:
        with subject.opened() as names:
            return run(*names["callbacks"])

    subjects = [Subject("bare", "", 1, functools.partial(opened, None))]
    subjects += [Subject(name, "", 1, functools.partial(opened, make)) for name, make in callbacks.items()]
    return ratios(subjects, rounds, block)


def _lightning_run() -> Run:
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    import lightning.pytorch as pl
    import torch

    training, batch = five_milliseconds()

    class Net(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = training.model

        def training_step(self, batch: Any, index: int) -> Any:
            return training.loss(self.model(batch["inputs"]), batch["labels"])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

        def on_train_start(self) -> None:
            self.began_ns = time.perf_counter_ns()

        def on_train_end(self) -> None:
            self.took_ns = time.perf_counter_ns() - self.began_ns

    data = torch.utils.data.DataLoader(_data(batch, RUN_STEPS), batch_size=None)

    def run(*callbacks: Any) -> float:
        with tempfile.TemporaryDirectory() as folder:
            net = Net()
            trainer = pl.Trainer(
                accelerator="cpu",
                max_epochs=1,
                callbacks=list(callbacks),
                logger=pl.loggers.CSVLogger(folder),  # DeviceStatsMonitor needs one, so all have it
                default_root_dir=folder,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(net, data)
            return net.took_ns / RUN_STEPS

    return run


def lightning_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time fits without a callback, with ours, with Lightning's own."""
    fit = _lightning_run()
    from lightning.pytorch.callbacks import DeviceStatsMonitor
    from phasescope.integrations.lightning import PhaseCallback

    callbacks = {"phasescope": PhaseCallback, "DeviceStatsMonitor": lambda: DeviceStatsMonitor(cpu_stats=True)}
    return _compared(fit, callbacks, rounds)


def lightning_traceml(rounds: int) -> dict[str, Any]:
    """In a fresh process, time fits without a callback, and with TraceML's."""
    fit = _lightning_run()
    with peers.traceml_run(mode="selective", patch_dataloader=True, patch_h2d=True):
        from traceml_ai.integrations.lightning import TraceMLCallback

        return _compared(fit, {"TraceML": TraceMLCallback}, rounds)


def _transformers_run() -> Run:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    training, batch = five_milliseconds()

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = training.model

        def forward(self, inputs: Any, labels: Any) -> Any:
            return {"loss": training.loss(self.model(inputs), labels)}

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_arguments: Any, **_more: Any) -> None:
            self.began_ns = time.perf_counter_ns()

        def on_train_end(self, *_arguments: Any, **_more: Any) -> None:
            self.took_ns = time.perf_counter_ns() - self.began_ns

    data = _data(batch, RUN_STEPS)

    def run(*callbacks: Any) -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            clock = Clock()
            arguments = TrainingArguments(
                folder,
                per_device_train_batch_size=1,
                num_train_epochs=1,
                use_cpu=True,
                report_to=[],
                disable_tqdm=True,
                save_strategy="no",
                logging_strategy="no",
                remove_unused_columns=False,
            )
            Trainer(
                Net(),
                arguments,
                train_dataset=data,
                data_collator=lambda given: given[0],
                callbacks=[clock, *callbacks],
            ).train()
            return clock.took_ns / RUN_STEPS

    return run


def transformers_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time trainings without a callback, and with ours."""
    train = _transformers_run()
    from phasescope.integrations.transformers import PhaseCallback

    return _compared(train, {"phasescope": PhaseCallback}, rounds)


def transformers_traceml(rounds: int) -> dict[str, Any]:
    """In a fresh process, time trainings without a callback, and with TraceML's."""
    with peers.traceml_run(mode="selective", patch_dataloader=True, patch_h2d=True):
        train = _transformers_run()
        from traceml_ai.integrations.huggingface import TraceMLTrainerCallback

        return _compared(train, {"TraceML": TraceMLTrainerCallback}, rounds)


def keras_tensorflow_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time fits on TensorFlow without a callback of ours, and with."""
    return _keras("tensorflow", rounds)


def keras_torch_process(rounds: int) -> dict[str, Any]:
    """Time the same on torch, where forward, backward and optimizer are phases too."""
    return _keras("torch", rounds)


def _keras(backend: str, rounds: int) -> dict[str, Any]:
    os.environ |= {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import keras
    import numpy
    from phasescope.integrations.keras import PhaseCallback

    _, batch = five_milliseconds()
    if backend == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    layers = [keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((WIDTH,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=False)
    inputs = numpy.random.default_rng(0).normal(size=(batch * RUN_STEPS, WIDTH)).astype("float32")
    labels: Any = numpy.zeros(batch * RUN_STEPS, "int32")

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            self.began_ns = time.perf_counter_ns()

        def on_train_end(self, logs: Any = None) -> None:
            self.took_ns = time.perf_counter_ns() - self.began_ns

    def run(*callbacks: Any) -> float:
        clock = Clock()
        model.fit(inputs, labels, batch, verbose=0, shuffle=False, callbacks=[clock, *callbacks])
        return clock.took_ns / RUN_STEPS

    return _compared(run, {"phasescope": PhaseCallback}, rounds)
