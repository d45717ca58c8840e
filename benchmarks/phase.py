"""The cost of one phase, entered and left, beside the peers' counterparts."""

from __future__ import annotations

import contextlib
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import ours, peers
from benchmarks.least import least_phase
from benchmarks.measure import (
    Subject,
    all_missing,
    in_fresh_process,
    interleave,
    ratio,
    reason,
    series_from,
    with_names,
)
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "with phase('forward'): pass"
STORMLOG = "with tracker.phase('forward'): pass"
SPAN = "with tracer.start_as_current_span('forward'): pass"

TRACEML_STEPS = 100
"""A block of TraceML's. Its queue holds 2048 steps and is emptied every 2 s: steps beyond it measure its log."""

TAILS = ("phase", "phase, cpu", "Stormlog", "Stormlog, sink")


class Empty:
    """The least that a context manager written as a class can be."""

    def __enter__(self) -> Empty:
        return self

    def __exit__(self, a: object, b: object, c: object) -> None:
        return None


class Named:
    """The least that one can be that takes a name, as a phase does."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Named:
        return self

    def __exit__(self, a: object, b: object, c: object) -> None:
        return None


def run(rounds: int) -> Result:
    """Return the rows about single phases."""
    subjects = _subjects()
    series = interleave(subjects, rounds) | _beside_traceml(min(rounds, 9)) | _without_core(min(rounds, 9))
    tails = interleave([s for s in subjects if s.name in TAILS], max(2, rounds // 3), _tail)

    def beside(
        what: str, mine: str, other: str, must: float | None = None, aim: float | None = None, unit: str = "1/x"
    ) -> Row:
        return Row(what, ratio(series[mine], series[other], unit), must, aim, series[mine], series[other])

    return Result(
        [
            beside("phase, free counters, ring file / Stormlog, no sink", "phase", "Stormlog", 1 / 40, 1 / 80),
            beside("the same / Stormlog with its sink", "phase", "Stormlog, sink", 1 / 200, 1 / 400),
            beside("the same / torch's inactive record_function", "phase", "record_function", 0.15, 0.08, "x"),
            beside("phase on `cpu` / Stormlog's CPU tracker", "phase, cpu", "Stormlog CPU", 1 / 25, 1 / 40),
            beside("phase, no session / empty context manager", "no session", "empty class", unit="x"),
            beside("phase, free counters / an empty class that takes the name", "phase", "named class", 2, 1.3, "x"),
            beside(
                "phase, no session / an empty class that takes the name", "no session", "named class", 0.6, 0.3, "x"
            ),
            beside(
                "without the compiled core: phase, free counters / such a class",
                "phase (p)",
                "named class (p)",
                unit="x",
            ),
            beside(
                "without the compiled core: phase on `cpu` / such a class",
                "phase, cpu (p)",
                "named class (p)",
                unit="x",
            ),
            beside("phase on `cpu` / Stormlog's CPU tracker, sink", "phase, cpu", "Stormlog CPU, sink"),
            beside("phase, free counters / OpenTelemetry SDK span", "phase", "OTel span", unit="x"),
            beside("phase, no session / OpenTelemetry no-op span", "no session", "OTel no-op", unit="x"),
            beside("phase, free counters / TraceML trace_step", "phase (b)", "trace_step", unit="x"),
            beside("phase on `cpu` / the least phase that does what it promises", "phase, cpu", "least", unit="x"),
            Row("phase, free counters, nested in another", series["nested"]),
            Row("phase, free counters, with one attribute", series["one attribute"]),
            *(Row(f"99th percentile of single ones: {name}", tail) for name, tail in tails.items()),
        ]
    )


def _subjects() -> list[Subject]:
    return [
        Subject("phase", OURS, 5000, ours.session),
        Subject("Stormlog", STORMLOG, 2000, partial(peers.stormlog, "free", sink=False)),
        Subject("Stormlog, sink", STORMLOG, 500, partial(peers.stormlog, "free", sink=True)),
        Subject("record_function", "with record_function('forward'): pass", 10_000, _record_function),
        Subject("phase, cpu", OURS, 3000, partial(ours.session, "cpu")),
        Subject("least", OURS, 5000, least_phase),
        Subject("Stormlog CPU", STORMLOG, 1000, partial(peers.stormlog, "cpu", sink=False)),
        Subject("Stormlog CPU, sink", STORMLOG, 300, partial(peers.stormlog, "cpu", sink=True)),
        Subject("no session", OURS, 100_000, ours.no_session),
        Subject("empty class", "with Empty(): pass", 100_000, with_names(Empty=Empty)),
        _named_class("named class"),
        Subject("OTel span", SPAN, 2000, peers.opentelemetry_span),
        Subject("OTel no-op", SPAN, 10_000, peers.opentelemetry_nothing),
        Subject("nested", OURS, 5000, _inside_a_phase),
        Subject("one attribute", "with phase('forward', step=1): pass", 5000, ours.session),
    ]


def _named_class(name: str) -> Subject:
    return Subject(name, "with Named('forward'): pass", 100_000, with_names(Named=Named))


def _without_core(rounds: int) -> dict[str, Any]:
    """Time the Python twin, which serves if there was no compiler, in a process that is forced to use it."""
    try:
        measured = in_fresh_process("benchmarks.phase", "twin", rounds, PHASESCOPE_PURE_PYTHON="1")
    except RuntimeError as error:
        return all_missing(("phase (p)", "phase, cpu (p)", "named class (p)"), "ns", reason(error))
    return series_from(measured)


def twin(rounds: int) -> dict[str, Any]:
    """In a fresh process, time phases beside the least class that takes a name."""
    subjects = [
        Subject("phase (p)", OURS, 5000, ours.session),
        Subject("phase, cpu (p)", OURS, 3000, partial(ours.session, "cpu")),
        _named_class("named class (p)"),
    ]
    return dict(interleave(subjects, rounds))


def _tail(subject: Subject) -> float:
    """Return the 99th percentile of a block's phases, each timed alone, ns."""
    times = []
    with subject.opened() as names:
        phase = names["phase"] if "phase" in names else names["tracker"].phase
        for _ in range(subject.number):
            started = time.perf_counter_ns()
            with phase("forward"):
                pass
            times.append(time.perf_counter_ns() - started)
    return statistics.quantiles(times, n=100)[-1]


@contextlib.contextmanager
def _record_function() -> Iterator[dict[str, Any]]:
    from torch.profiler import record_function

    yield {"record_function": record_function}


@contextlib.contextmanager
def _inside_a_phase() -> Iterator[dict[str, Any]]:
    with ours.session() as names, names["phase"]("step"):
        yield names


def _beside_traceml(rounds: int) -> dict[str, Any]:
    """Measure the pair with TraceML in a process of its own: it stays in the process that it was started in."""
    try:
        return series_from(in_fresh_process("benchmarks.phase", "traceml_pair", rounds))
    except RuntimeError as error:
        return all_missing(("phase (b)", "trace_step"), "ns", reason(error))


def traceml_pair(rounds: int) -> dict[str, Any]:
    """In a fresh process, time an empty TraceML step and a phase of ours, in turns."""
    import torch

    model = torch.nn.Linear(4, 4)
    with peers.traceml_run() as traceml:
        step = Subject(
            "trace_step",
            "with traceml.trace_step(model): pass",
            TRACEML_STEPS,
            with_names(traceml=traceml, model=model),
        )
        return dict(interleave([Subject("phase (b)", OURS, 5000, ours.session), step], rounds))
