"""The cost of profiling to a small training step of about half a millisecond: four phases, the sampler running."""

from __future__ import annotations

import contextlib
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import ours, peers
from benchmarks.least import least_phase
from benchmarks.measure import (
    Series,
    Subject,
    all_missing,
    combined,
    in_fresh_process,
    interleave,
    ratio,
    reason,
    scaled,
    series_from,
    with_names,
)
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_NS = 500_000
STEPS = 150
"""Steps in a block, after a tenth as many that are not timed."""

WIDTH = 128
BATCHES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768)
BARE = "bare"
COLD_BATCH = 1024
"""Its forward pass goes through more memory than the caches near the core hold."""


class Training(NamedTuple):
    """A multi-layer perceptron and the parts of one step; `batches` is endless."""

    model: Any
    optimizer: Any
    loss: Any
    batches: Iterator[tuple[Any, Any]]

    def step(self) -> None:
        """Make one step, without any profiler."""
        inputs, targets = next(self.batches)
        loss = self.loss(self.model(inputs), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def step_in_phases(self, phase: Callable[[str], contextlib.AbstractContextManager[Any]]) -> None:
        """Make the same step in four phases."""
        with phase("data"):
            inputs, targets = next(self.batches)
        with phase("forward"):
            loss = self.loss(self.model(inputs), targets)
        with phase("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with phase("optimizer"):
            self.optimizer.step()


def make_training(batch: int) -> Training:
    import itertools

    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, 10))
    data = [(torch.randn(batch, WIDTH), torch.randint(0, 10, (batch,))) for _ in range(16)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return Training(model, optimizer, torch.nn.CrossEntropyLoss(), itertools.cycle(data))


def half_a_millisecond() -> tuple[Training, int]:
    """Return the training whose step comes nearest to STEP_NS on this machine, and its batch size."""
    import torch

    torch.set_num_threads(1)  # the other core is left to the background threads of those that have one
    time_steps(make_training(BATCHES[0]).step)  # the first steps of a process are slow ones
    candidates = []
    for batch in BATCHES:
        training = make_training(batch)
        step_ns = min(time_steps(training.step) for _ in range(3))  # the least disturbed of three
        candidates.append((abs(step_ns - STEP_NS), batch, training))
        if step_ns > 1.5 * STEP_NS:
            break
    _, batch, training = min(candidates, key=lambda entry: entry[0])
    return training, batch


def time_steps(step: Callable[[], None], means: list[float] | None = None) -> float:
    """Return the median time of a step in one block, ns; the mean goes to `means`."""
    for _ in range(STEPS // 10):
        step()
    times = []
    for _ in range(STEPS):
        started = time.perf_counter_ns()
        step()
        times.append(time.perf_counter_ns() - started)
    if means is not None:
        means.append(statistics.fmean(times))
    return statistics.median(times)


def run(rounds: int) -> Result:
    """Return the rows about the training step."""
    shared = series_from(in_fresh_process("benchmarks.training_step", "shared_process", rounds))
    try:
        traceml = series_from(in_fresh_process("benchmarks.training_step", "traceml_process", rounds // 2))
    except RuntimeError as error:
        names = ("TraceML", "TraceML, mean", "batch")
        traceml = all_missing(names, "+%", reason(error))
    cold = series_from(in_fresh_process("benchmarks.training_step", "cold_process", rounds // 4))
    step, batch = shared["step"], shared["batch"].values[0]
    return Result(
        [
            Row("training step with 4 phases, `cpu`, sampler on", shared["phasescope"], 8, 4),
            Row("the same, mean of a block instead of its median", shared["phasescope, mean"]),
            Row("the least phase that does what ours promises, no sampler", shared["least"]),
            Row("the same, mean", shared["least, mean"]),
            Row("Stormlog's CPU tracker, no sink", shared["Stormlog"]),
            Row("the same, mean", shared["Stormlog, mean"]),
            Row("Stormlog's CPU tracker with its sink", shared["Stormlog, sink"]),
            Row("the same, mean", shared["Stormlog, sink, mean"]),
            Row("TraceML, one trace_step around the step", traceml["TraceML"]),
            Row("the same, mean", traceml["TraceML, mean"]),
            Row("the noise: one bare block against the bare blocks around it", shared["noise"]),
            Row("the bare step", step),
            Row(
                "phase on `cpu`, cold caches / the least Python phase that does what it promises",
                ratio(cold["phasescope"], cold["least"]),
                0.4,
                0.3,
                cold["phasescope"],
                cold["least"],
            ),
            Row("a phase on `cpu`, each end right after a forward pass of 1,024 samples", cold["phasescope"]),
            Row("the same: the least phase that does what ours promises", cold["least"]),
        ],
        [f"The step is an MLP of 3 layers, width {WIDTH}, batch {batch:.0f}, SGD with momentum, one torch thread."],
    )


def shared_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time bare, ours, bare, the least, bare, Stormlog, bare ...; and again, backwards."""
    training, batch = half_a_millisecond()
    phased: dict[str, Any] = {
        "phasescope": partial(ours.session, "cpu"),
        "least": least_phase,
        "Stormlog": partial(peers.stormlog, "cpu", sink=False),
        "Stormlog, sink": partial(peers.stormlog, "cpu", sink=True),
    }
    subjects = [Subject(f"{BARE} 0", "", STEPS, with_names(step=training.step))]
    for number, (name, opened) in enumerate(phased.items(), 1):
        subjects.append(Subject(name, "", STEPS, partial(_phased, training, opened)))
        subjects.append(Subject(f"{BARE} {number}", "", STEPS, with_names(step=training.step)))
    medians, means = _interleave_steps(subjects, rounds)
    series: dict[str, Series] = {}
    for number, name in enumerate(phased):
        series |= _overheads(name, medians, means, number)
    around = [medians[f"{BARE} {number}"] for number in (0, 1, 2)]
    series["noise"] = combined("noise", "+%", lambda a, b, c: _percent(b, a, c), *around)
    series["step"] = scaled(medians[f"{BARE} 0"], 1e-6, "ms")
    series["batch"] = Series("batch", "", [batch])
    return series


def traceml_process(rounds: int) -> dict[str, Any]:
    """In a fresh process (TraceML patches torch for good), time bare steps outside its trace_step, and traced ones."""
    training, _ = half_a_millisecond()
    with peers.traceml_run() as traceml:
        traced = peers.traceml_step(traceml, training)
        bare, step = with_names(step=training.step), with_names(step=traced)
        subjects = [Subject(f"{BARE} 0", "", STEPS, bare), Subject("TraceML", "", STEPS, step)]
        medians, means = _interleave_steps([*subjects, Subject(f"{BARE} 1", "", STEPS, bare)], rounds)
    return _overheads("TraceML", medians, means, 0)


def cold_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time a phase, both ends together, after work between has filled the caches."""
    import torch

    torch.set_num_threads(1)
    model, inputs = make_training(COLD_BATCH).model, torch.randn(COLD_BATCH, WIDTH)
    now = time.perf_counter_ns

    def block(subject: Subject) -> float:
        entering, leaving = [], []
        with subject.opened() as names, torch.no_grad():
            for _ in range(STEPS):
                model(inputs)
                began = now()
                scope = names["phase"]("forward")
                scope.__enter__()
                entering.append(now() - began)
                model(inputs)
                began = now()
                scope.__exit__(None, None, None)
                leaving.append(now() - began)
        return statistics.median(entering) + statistics.median(leaving)

    subjects = [Subject("phasescope", "", STEPS, partial(ours.session, "cpu"))]
    return dict(interleave([*subjects, Subject("least", "", STEPS, least_phase)], rounds, block))


@contextlib.contextmanager
def _phased(training: Training, opened: Any) -> Iterator[dict[str, Any]]:
    with opened() as names:
        phase = names["phase"] if "phase" in names else names["tracker"].phase
        yield {"step": partial(training.step_in_phases, phase)}


def _interleave_steps(subjects: list[Subject], rounds: int) -> tuple[dict[str, Series], dict[str, Series]]:
    """Return the block medians and the block means of each subject, ns."""
    blocks: dict[str, list[float]] = {subject.name: [] for subject in subjects}

    def block(subject: Subject) -> float:
        with subject.opened() as names:
            return time_steps(names["step"], blocks[subject.name])

    medians = interleave(subjects, rounds, block)
    means = {  # the first round is thrown away, there as here
        name: series._replace(values=blocks[name][1:] if series.missing is None else [])
        for name, series in medians.items()
    }
    return medians, means


def _overheads(name: str, medians: dict[str, Series], means: dict[str, Series], bare: int) -> dict[str, Series]:
    """Return the subject's addition to the bare blocks before and after it, percent, by medians and by means."""
    added = {}
    for label, series in ((name, medians), (f"{name}, mean", means)):
        before, after = series[f"{BARE} {bare}"], series[f"{BARE} {bare + 1}"]
        added[label] = combined(label, "+%", lambda a, b, c: _percent(b, a, c), before, series[name], after)
    return added


def _percent(value: float, before: float, after: float) -> float:
    return (value / ((before + after) / 2) - 1) * 100
