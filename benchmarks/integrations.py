"""The cost of the integrations on a training step of about 5 ms, as ratios to the same step without.

Here the rows, and plain torch in blocks of steps; frameworks with a trainer are run by `benchmarks.trainers`.
TraceML patches torch for good, so it has processes of its own.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

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

STEP_NS = 5_000_000
NEAR = 0.05
"""How near to STEP_NS the bare step is brought, as a share of it."""

STEPS = 40
"""Steps in a block of the plain loop, after a tenth as many that are not timed."""

MUST, AIM = 1.02, 1.01


class _Integration(NamedTuple):
    """One integration: where its blocks and those of its peers are run, each in a fresh process."""

    what: str
    process: str
    peers: dict[str, str]
    """Their names, by what the process calls them; those in the same process as ours."""
    traceml: tuple[str, str] | None
    """TraceML's name for its row, and its process."""
    rounds: int
    """The number of rounds for each round of the topic: blocks of steps are cheap, runs of a trainer are not."""


_INTEGRATIONS = [
    _Integration(
        "plain torch, instrument()",
        "integrations.torch_process",
        {},
        ("TraceML, one trace_step around the step", "integrations.torch_traceml"),
        6,
    ),
    _Integration(
        "Lightning's PhaseCallback",
        "trainers.lightning_process",
        {"DeviceStatsMonitor": "Lightning's DeviceStatsMonitor"},
        ("TraceML's callback for Lightning", "trainers.lightning_traceml"),
        2,
    ),
    _Integration(
        "Hugging Face's PhaseCallback",
        "trainers.transformers_process",
        {},
        ("TraceML's callback for Hugging Face", "trainers.transformers_traceml"),
        2,
    ),
    _Integration("Keras's PhaseCallback, TensorFlow", "trainers.keras_tensorflow_process", {}, None, 2),
    _Integration("Keras's PhaseCallback, torch", "trainers.keras_torch_process", {}, None, 2),
]


def run(rounds: int) -> Result:
    """Return the rows about the frameworks."""
    rows = [row for integration in _INTEGRATIONS for row in _rows(integration, rounds * integration.rounds)]
    return Result(
        rows,
        [
            "The step of the integrations is an MLP of 3 layers, width 128, one torch thread, about 5 ms without the "
            "trainer's own work. No peer has a callback for Keras."
        ],
    )


def _rows(integration: _Integration, rounds: int) -> list[Row]:
    what = integration.what
    measured = _measured(integration.process, ("phasescope", *integration.peers, *_OF_ALL), rounds)
    rows = [Row(f"{what}: a step of 5 ms with it, to one without", measured["phasescope"], MUST, AIM)]
    rows += [Row(f"{name}, the same", measured[peer]) for peer, name in integration.peers.items()]
    if integration.traceml is not None:
        name, process = integration.traceml
        theirs = _measured(process, ("TraceML",), max(2, rounds // 2))
        rows.append(Row(f"{name}, the same", theirs["TraceML"]))
    rows.append(Row(f"{what}: added to a step", measured["added"]))
    rows.append(Row(f"{what}: the noise, one bare block to those around it", measured["noise"]))
    rows.append(Row(f"{what}: the bare step", measured["step"]))
    return rows


_OF_ALL = ("added", "noise", "step")


def _measured(process: str, names: tuple[str, ...], rounds: int) -> dict[str, Series]:
    module, function = process.split(".")
    try:
        return series_from(in_fresh_process(f"benchmarks.{module}", function, rounds))
    except RuntimeError as error:
        return all_missing(names, "x", reason(error))


def ratios(subjects: list[Subject], rounds: int, block: Callable[[Subject], float]) -> dict[str, Series]:
    """Return each subject's ratios to the bare blocks before and after it.

    The order is bare, the first, bare, the second, bare ... Further series are the first's addition to a step, the
    noise, and the bare step.
    """
    bare = [Subject(f"bare {number}", "", 1, subjects[0].opened) for number in range(len(subjects) + 1)]
    order = [bare[0]]
    for subject, after in zip(subjects[1:], bare[1:], strict=False):
        order += [subject, after]
    order.append(bare[-1])
    times = interleave(order, rounds, block)
    series = {
        subject.name: combined(
            subject.name, "x", lambda a, b, c: b / ((a + c) / 2), *_around(times, f"bare {number}", subject.name)
        )
        for number, subject in enumerate(subjects[1:])
    }
    first = subjects[1].name
    series["added"] = combined("added", "µs", lambda a, b, c: (b - (a + c) / 2) / 1e3, *_around(times, "bare 0", first))
    around = [times[f"bare {number}"] for number in range(len(subjects) - 1, len(subjects) + 1)]
    series["noise"] = combined("noise", "x", lambda a, b: b / a, *around)
    series["step"] = scaled(times["bare 0"], 1e-6, "ms")
    return series


def _around(times: dict[str, Series], before: str, name: str) -> list[Series]:
    number = int(before.removeprefix("bare "))
    return [times[before], times[name], times[f"bare {number + 1}"]]


# Plain torch


def five_milliseconds() -> tuple[Training, int]:
    """Return a training whose step takes STEP_NS on this machine, as near as its noise allows, and its batch size."""
    import torch

    torch.set_num_threads(1)
    batch, batches_tried = 1024, 6
    time_steps(make_training(batch).step)  # the first steps of a process are slow ones
    for _ in range(batches_tried):
        training = make_training(batch)
        off = min(time_steps(training.step) for _ in range(3)) / STEP_NS
        if abs(off - 1) < NEAR:
            break
        batch = max(32, round(batch / off / 32) * 32)
    return training, batch


def time_steps(step: Callable[[], None]) -> float:
    """Return the median time of a step in one block, ns."""
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
    """In a fresh process, time bare steps, and the same under `instrument`."""
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
    """In a fresh process, time bare steps outside TraceML's trace_step, and traced ones."""
    training, _ = five_milliseconds()
    with peers.traceml_run() as traceml:
        traced = peers.traceml_step(traceml, training)
        subjects = [Subject("bare", "", 1, with_names(step=training.step))]
        return ratios([*subjects, Subject("TraceML", "", 1, with_names(step=traced))], rounds, _time_block)
