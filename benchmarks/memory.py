"""The memory that a long run leaves: the resident set above the figure right after the import."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Subject, interleave, plain_interpreter, scaled, scratch_directory, with_names
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = 1_000_000
STORMLOG_EVENTS = 100_000
"""Its buffer holds 10,000 events by default: it is full long before, and a million would take a minute."""


def run(rounds: int) -> Result:
    """Return the rows about memory."""
    subjects = [
        Subject("phasescope", "", EVENTS, with_names()),
        Subject("Stormlog", "", STORMLOG_EVENTS, with_names()),
    ]
    with plain_interpreter() as python:
        series = interleave(subjects, rounds, partial(_grown_bytes, python))
    grown = {name: scaled(figures, 2**-20, "MiB") for name, figures in series.items()}
    return Result(
        [
            Row(f"memory after {EVENTS:,} events, 16 MiB ring in a file", grown["phasescope"], 24, 18),
            Row(f"Stormlog's CPU tracker after {STORMLOG_EVENTS:,} events, no sink", grown["Stormlog"]),
        ]
    )


def _grown_bytes(python: Callable[[list[str]], Any], subject: Subject) -> float:
    with scratch_directory() as directory:
        arguments = ["-m", "benchmarks.memory_probe", subject.name, str(subject.number), directory]
        return float(python(arguments).stdout.strip().splitlines()[-1])
