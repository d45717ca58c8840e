"""The cost of looking to a training: its step time with views of its session open, against none, in one run.

A view stays open and is stopped (SIGSTOP) for every other block of steps, so that the blocks are short and alternate.
Once with the views on a core of their own, and once on the cores that the training has too. Beside the time on the
clock stands the processor's time of a step: waiting for a core is not in it, so it says on a busy machine, too, whether
the training itself does more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import psutil

from benchmarks import ours
from benchmarks.measure import Series, in_fresh_process, reason, series_from
from benchmarks.report import Result, Row
from benchmarks.training_step import make_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_NS = 10_000_000
BATCHES = (1024, 2048, 4096, 8192, 16_384)
STEPS = 20
"""In a block: short ones, so that a slow second of the machine meets both sides."""

PAIRS = 8
"""Blocks with a view for each of the topic's rounds."""

CATCH_UP_S = 0.15
"""For a view that goes on, to read what it has missed."""

READERS = 8
SETTLE_S = 3.5
"""From the start of a view until it is looking and no longer starting."""

APART, TOGETHER = "apart", "together"

_TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"
_READER = "import sys, phasescope\nfor event in phasescope.attach(sys.argv[1]).follow(): pass"
_PAGE = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
with urllib.request.urlopen(request) as answer:
    while answer.readline():
        pass
"""


def run(rounds: int) -> Result:
    """Return the rows about looking."""
    rows: list[Row] = []
    for placement in (APART, TOGETHER):
        rows += _rows(placement, rounds)
    cores = os.cpu_count() or 1
    return Result(
        rows,
        [
            "Looking: an MLP step of about 10 ms with 4 phases, one torch thread; a view is stopped every other block.",
            f"A core of its own: of {cores} cores the training has the first, the views have the last.",
        ],
    )


def _rows(placement: str, rounds: int) -> list[Row]:
    names = ("top", "web", f"{READERS} readers")
    where = "a core of its own" if placement == APART else "shared cores"
    try:
        measured = series_from(in_fresh_process("benchmarks.looking", "looked_at", rounds, placement))
    except RuntimeError as error:
        return [Row(f"step with {name}, {where}", Series(name, "x", [], reason(error))) for name in names]
    must = 1.01 if placement == APART else None
    rows = []
    for name in (*names, "noise"):
        what = f"step with {name} / without, {where}" if name in names else f"the noise: without / without, {where}"
        rows.append(Row(what, measured[name], must if name in names else None))
        rows.append(Row(f"{what}: processor time", measured[f"{name}, processor"]))
    return [*rows, Row(f"the step without a view, {where}", measured["step"])]


def looked_at(rounds: int, placement: str) -> dict[str, Any]:
    """In a fresh process, time blocks of steps under each view in turn, while it is stopped and while it goes on."""
    cores = sorted(os.sched_getaffinity(0))
    theirs = {cores[-1]} if placement == APART else set(cores)
    if placement == APART:
        os.sched_setaffinity(0, {cores[0]})
    training = _training()
    series: dict[str, Series] = {}
    stopped: list[_Block] = []
    with ours.session("cpu") as names:
        step = partial(training.step_in_phases, names["phase"])
        path, directory = names["session"].path, names["directory"]
        views: dict[str, Callable[[], contextlib.AbstractContextManager[list[int]]]] = {
            "top": partial(_top, directory, theirs),
            "web": partial(_web, directory, theirs),
            f"{READERS} readers": partial(_readers, path, theirs),
        }
        for name, opened in views.items():
            with opened() as pids:
                without, looking = _in_turns(step, pids, rounds * PAIRS)
            series |= _ratios(name, without, looking)
            stopped += without
    series |= _ratios("noise", stopped[::2], stopped[1::2])
    series["step"] = Series("step", "ms", [block.clock_ns / 1e6 for block in stopped])
    return dict(series)


class _Block(NamedTuple):
    """The median time of a step in one block: by the clock, and of the processor."""

    clock_ns: float
    processor_ns: float


def _in_turns(step: Callable[[], None], pids: list[int], pairs: int) -> tuple[list[_Block], list[_Block]]:
    """Time blocks while these processes are stopped, one more than there are blocks while they run."""
    processes = [process for pid in pids for process in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    without, looking = [], []
    for _ in range(pairs):
        _signal(processes, signal.SIGSTOP)
        without.append(_time_steps(step))
        _signal(processes, signal.SIGCONT)
        time.sleep(CATCH_UP_S)
        looking.append(_time_steps(step))
    _signal(processes, signal.SIGSTOP)
    without.append(_time_steps(step))
    _signal(processes, signal.SIGCONT)
    return without, looking


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


def _ratios(name: str, without: list[_Block], looking: list[_Block]) -> dict[str, Series]:
    """Return the ratios of each block with, to those right before and after it."""
    around = zip(without, looking, without[1:], strict=False)
    pairs = [(between, before, after) for before, between, after in around]
    clock = [2 * a.clock_ns / (b.clock_ns + c.clock_ns) for a, b, c in pairs]
    processor = [2 * a.processor_ns / (b.processor_ns + c.processor_ns) for a, b, c in pairs]
    return {name: Series(name, "x", clock), f"{name}, processor": Series(name, "x", processor)}


def _time_steps(step: Callable[[], None]) -> _Block:
    clock, processor = [], []
    for _ in range(STEPS):
        started, started_processor = time.perf_counter_ns(), time.thread_time_ns()
        step()
        processor.append(time.thread_time_ns() - started_processor)
        clock.append(time.perf_counter_ns() - started)
    return _Block(statistics.median(clock), statistics.median(processor))


def _training() -> Any:
    import torch

    torch.set_num_threads(1)
    made = [make_training(batch) for batch in BATCHES]
    return min(made, key=lambda training: abs(_step_ns(training.step) - STEP_NS))


def _step_ns(step: Callable[[], None]) -> float:
    times = []
    for _ in range(5):
        started = time.thread_time_ns()
        step()
        times.append(time.thread_time_ns() - started)
    return min(times)


@contextlib.contextmanager
def _processes(cores: set[int], *commands: list[str], settle_s: float = SETTLE_S) -> Iterator[list[int]]:
    quiet: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = []
    try:
        for command in commands:
            running.append(subprocess.Popen([sys.executable, *command], **quiet, env={**os.environ, "TERM": "xterm"}))
            os.sched_setaffinity(running[-1].pid, cores)
        time.sleep(settle_s)
        assert all(process.poll() is None for process in running), "a view ended by itself"
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()


def _top(directory: str, cores: set[int]) -> contextlib.AbstractContextManager[list[int]]:
    """Open the terminal view in a terminal of which nobody sees the other end."""
    return _processes(cores, ["-c", _TERMINAL, sys.executable, "-m", "phasescope", "top", "--dir", directory])


@contextlib.contextmanager
def _web(directory: str, cores: set[int]) -> Iterator[list[int]]:
    """Open the page's server, and one reader of the page."""
    command = [sys.executable, "-m", "phasescope", "web", "--port", "0", "--dir", directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            os.sched_setaffinity(server.pid, cores)
            assert server.stdout is not None
            address = urlsplit(server.stdout.readline().strip())
            token = parse_qs(address.fragment)["token"][0]
            with _processes(cores, ["-c", _PAGE, f"http://127.0.0.1:{address.port}/api/events", token]) as looking:
                yield [server.pid, *looking]
        finally:
            server.kill()


def _readers(path: str, cores: set[int]) -> contextlib.AbstractContextManager[list[int]]:
    """Start processes that each take every event."""
    return _processes(cores, *[["-c", _READER, path]] * READERS)
