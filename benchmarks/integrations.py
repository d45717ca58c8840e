"""What the integrations add to a training step of about 5 ms, as ratios to the same step without, beside their peers.

Plain torch in blocks of steps; Lightning and Hugging Face in short runs of the whole trainer, of which the time between
the first step's begin and the last one's end counts. TraceML patches torch for good, so it has processes of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import statistics
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

from benchmarks import ours, peers
from benchmarks.measure import (
    Series,
    Subject,
    all_missing,
    combined,
    in_fresh_process,
    interleave,
    reason,
    scaled,
    series_from,
    with_names,
)
from benchmarks.report import Result, Row
from benchmarks.training_step import Training, make_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., float]
    """Trains with these callbacks, and returns the mean time of a step, ns."""

STEP_NS = 5_000_000
BATCHES = (512, 1024, 2048, 3072, 4096, 6144, 8192, 12288)
STEPS = 40
"""Steps in a block of the plain loop, after a tenth as many that are not timed."""

RUN_STEPS = 60
"""Steps of one run of a trainer."""

MUST = 1.02


def run(rounds: int) -> Result:
    """The rows about the three frameworks."""
    rows = _rows("plain torch, instrument()", "torch", rounds, "TraceML, one trace_step around the step")
    rows += _rows("Lightning's PhaseCallback", "lightning", rounds, "TraceML's callback for Lightning")
    rows += _rows("Hugging Face's PhaseCallback", "transformers", rounds, "TraceML's callback for Hugging Face")
    return Result(
        rows, ["The step of the integrations is an MLP of 3 layers, width 128, one torch thread, about 5 ms."]
    )


def _rows(what: str, framework: str, rounds: int, traceml: str) -> list[Row]:
    with_peers = ("DeviceStatsMonitor",) if framework == "lightning" else ()
    found = _measured(f"{framework}_process", ("phasescope", *with_peers, "noise", "step"), rounds)
    theirs = _measured(f"{framework}_traceml", ("TraceML",), max(2, rounds // 2))
    rows = [Row(f"{what}: a step of 5 ms with it, to one without", found["phasescope"], MUST)]
    rows += [Row("Lightning's DeviceStatsMonitor, the same", found[name]) for name in with_peers]
    rows.append(Row(f"{traceml}, the same", theirs["TraceML"]))
    rows.append(Row(f"{what}: the noise, one bare block to those around it", found["noise"]))
    rows.append(Row(f"{what}: the bare step", found["step"]))
    return rows


def _measured(function: str, names: tuple[str, ...], rounds: int) -> dict[str, Series]:
    try:
        return series_from(in_fresh_process("benchmarks.integrations", function, rounds))
    except RuntimeError as error:
        return all_missing(names, "x", reason(error))


def ratios(subjects: list[Subject], rounds: int, block: Callable[[Subject], float]) -> dict[str, Series]:
    """Each subject to the bare blocks before and after it: bare, the first, bare, the second, bare ..."""
    bare = [Subject(f"bare {number}", "", 1, subjects[0].opened) for number in range(len(subjects) + 1)]
    order = [bare[0]]
    for subject, after in zip(subjects[1:], bare[1:], strict=False):
        order += [subject, after]
    order.append(bare[-1])
    times = interleave(order, rounds, block)
    found = {
        subject.name: combined(
            subject.name, "x", lambda a, b, c: b / ((a + c) / 2), *_around(times, f"bare {number}", subject.name)
        )
        for number, subject in enumerate(subjects[1:])
    }
    around = [times[f"bare {number}"] for number in range(len(subjects) - 1, len(subjects) + 1)]
    found["noise"] = combined("noise", "x", lambda a, b: b / a, *around)
    found["step"] = scaled(times["bare 0"], 1e-6, "ms")
    return found


def _around(times: dict[str, Series], before: str, name: str) -> list[Series]:
    number = int(before.removeprefix("bare "))
    return [times[before], times[name], times[f"bare {number + 1}"]]


# Plain torch


def five_milliseconds() -> tuple[Training, int]:
    """The training whose step comes nearest to STEP_NS on this machine, and its batch size."""
    import torch

    torch.set_num_threads(1)
    time_steps(make_training(BATCHES[0]).step)
    found = []
    for batch in BATCHES:
        training = make_training(batch)
        step_ns = time_steps(training.step)
        found.append((abs(step_ns - STEP_NS), batch, training))
        if step_ns > 1.5 * STEP_NS:
            break
    _, batch, training = min(found, key=lambda entry: entry[0])
    return training, batch


def time_steps(step: Callable[[], None]) -> float:
    """The median time of a step in one block, ns."""
    times = []
    for _ in range(STEPS + STEPS // 10):
        started = time.perf_counter_ns()
        step()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times[STEPS // 10 :])


def _time_block(subject: Subject) -> float:
    with subject.opened() as names:
        return time_steps(names["step"])


def torch_process(rounds: int) -> dict[str, Any]:
    """In a fresh process: bare steps, and the same under `instrument`."""
    training, _ = five_milliseconds()
    subjects = [Subject("bare", "", 1, with_names(step=training.step))]
    subjects.append(Subject("phasescope", "", 1, functools.partial(_instrumented, training)))
    return ratios(subjects, rounds, _time_block)


@contextlib.contextmanager
def _instrumented(training: Training) -> Iterator[dict[str, Any]]:
    from phasescope.integrations.torch import instrument

    with ours.session("cpu"), instrument(training.model, training.optimizer, training.batches) as marked:
        step = training._replace(batches=iter(marked.loader or ())).step
        yield {"step": step}


def torch_traceml(rounds: int) -> dict[str, Any]:
    """In a fresh process: bare steps outside TraceML's trace_step, and traced ones."""
    training, _ = five_milliseconds()
    with peers.traceml_run() as traceml:

        def traced() -> None:
            with traceml.trace_step(training.model):
                training.step()

        subjects = [Subject("bare", "", 1, with_names(step=training.step))]
        return ratios([*subjects, Subject("TraceML", "", 1, with_names(step=traced))], rounds, _time_block)


# Trainers


def _data(batch: int, steps: int) -> Any:
    """As many batches as a run has steps; each of them is all there is of the data."""
    import torch

    inputs, labels = torch.randn(batch, 128), torch.randint(0, 10, (batch,))
    return [{"inputs": inputs, "labels": labels} for _ in range(steps)]


def _compared(run: Run, callbacks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Runs without a callback, and with each; ours within a session of its own."""

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
    """In a fresh process: fits without a callback, with ours, with Lightning's own."""
    fit = _lightning_run()
    from lightning.pytorch.callbacks import DeviceStatsMonitor
    from phasescope.integrations.lightning import PhaseCallback

    callbacks = {"phasescope": PhaseCallback, "DeviceStatsMonitor": lambda: DeviceStatsMonitor(cpu_stats=True)}
    return _compared(fit, callbacks, rounds)


def lightning_traceml(rounds: int) -> dict[str, Any]:
    """In a fresh process: fits without a callback, and with TraceML's."""
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
    """In a fresh process: trainings without a callback, and with ours."""
    train = _transformers_run()
    from phasescope.integrations.transformers import PhaseCallback

    return _compared(train, {"phasescope": PhaseCallback}, rounds)


def transformers_traceml(rounds: int) -> dict[str, Any]:
    """In a fresh process: trainings without a callback, and with TraceML's."""
    with peers.traceml_run(mode="selective", patch_dataloader=True, patch_h2d=True):
        train = _transformers_run()
        from traceml_ai.integrations.huggingface import TraceMLTrainerCallback

        return _compared(train, {"TraceML": TraceMLTrainerCallback}, rounds)
