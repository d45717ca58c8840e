"""The time that an import adds to the start of a bare interpreter."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Series, Subject, combined, interleave, plain_interpreter, scaled, with_names
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_TORCH = "import sys; sys.modules['torch'] = None"
"""Stormlog imports torch if it is installed; that is not its own cost."""

STATEMENTS = {
    "bare": "pass",
    "phasescope": "import phasescope",
    "phasescope, in use": "from phasescope import phase, start, stop",
    "Stormlog": "import stormlog",
    "Stormlog's CPU tracker": f"{_NO_TORCH}; from stormlog import CPUMemoryTracker",
    "TraceML": "import traceml_ai",
    "OpenTelemetry SDK": "from opentelemetry.sdk.trace import TracerProvider",
}


def run(rounds: int) -> Result:
    """Return the rows about imports.

    Every figure is the wall time of a process, less a bare one's of the same round.
    """
    subjects = [Subject(name, code, 1, with_names()) for name, code in STATEMENTS.items()]
    with plain_interpreter() as python:
        measured = interleave(subjects, rounds, partial(_process, python))
    series = {name: scaled(times, 1e-6, "ms") for name, times in measured.items()}

    def above_bare(name: str) -> Series:
        return combined(name, "ms", lambda value, bare: value - bare, series[name], series["bare"])

    row = partial(Row, must=30, aim=15)
    informing = [name for name in STATEMENTS if name != "bare" and not name.startswith("phasescope")]
    return Result(
        [
            row("`import phasescope`", above_bare("phasescope")),
            row("`from phasescope import phase, start, stop`", above_bare("phasescope, in use")),
            *(Row(_said(name), above_bare(name)) for name in informing),
            Row("the bare interpreter", series["bare"]),
        ]
    )


def _said(name: str) -> str:
    before, _, code = STATEMENTS[name].rpartition("; ")
    return f"`{code}`{' (without torch)' if before else ''}"


def _process(python: Callable[[list[str]], Any], subject: Subject) -> float:
    started = time.perf_counter_ns()
    python(["-c", subject.statement])
    return time.perf_counter_ns() - started
