"""The share of a core that the sampler takes while the training does nothing: ten samples a second of the host."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import ours, peers
from benchmarks.measure import Series, Subject, combined, in_fresh_process, interleave, scaled, series_from
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW_S = 2.5
SETTLE_S = 0.3
"""After the start, before the window: what starting costs is not the sampler's."""


def run(rounds: int) -> Result:
    """Return the rows about the sampler. Each figure is processor time of the whole process, user and system."""
    series = series_from(in_fresh_process("benchmarks.sampler", "windows", rounds))

    def above_idle(name: str) -> Series:
        percent = [scaled(series[part], 1e-7 / WINDOW_S, "%") for part in (name, "idle")]
        return combined(name, "% of a core", lambda value, idle: value - idle, *percent)

    return Result(
        [
            Row("sampler at 10 Hz, `cpu`", above_idle("phasescope"), 0.2, 0.12),
            Row("a thread that wakes ten times a second and does nothing", above_idle("waking")),
            Row("Stormlog's CPU tracker at 10 Hz, no sink", above_idle("Stormlog")),
            Row("Stormlog's CPU tracker at 10 Hz with its sink", above_idle("Stormlog, sink")),
        ]
    )


def windows(rounds: int) -> dict[str, Any]:
    """In a fresh process, without torch, measure the processor time of windows with and without a sampler, ns."""
    subjects = [
        Subject("idle", "", 1, _nothing),
        Subject("waking", "", 1, _waking),
        Subject("phasescope", "", 1, partial(ours.session, "cpu")),
        Subject("Stormlog", "", 1, partial(peers.stormlog, "cpu", sink=False)),
        Subject("Stormlog, sink", "", 1, partial(peers.stormlog, "cpu", sink=True)),
    ]
    return dict(interleave(subjects, rounds, _window))


def _window(subject: Subject) -> float:
    with subject.opened():
        time.sleep(SETTLE_S)
        started = time.process_time_ns()
        time.sleep(WINDOW_S)
        return time.process_time_ns() - started


@contextlib.contextmanager
def _waking() -> Iterator[dict[str, Any]]:
    ended = threading.Event()

    def wake() -> None:
        while not ended.wait(0.1):
            pass

    thread = threading.Thread(target=wake, daemon=True)
    thread.start()
    try:
        yield {}
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _nothing() -> Iterator[dict[str, Any]]:
    yield {}
