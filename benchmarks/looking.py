"""What looking costs a training: its step time with views of its session open, against none, in one run.

Once with the views on a core of their own, and once on the cores that the training has too. Beside the time on the
clock stands the processor's time of a step: waiting for a core is not in it, so it says on a busy machine, too, whether
the training itself does more.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from benchmarks import ours
from benchmarks.measure import (
    Series,
    Subject,
    combined,
    in_fresh_process,
    interleave,
    reason,
    scaled,
    series_from,
    with_names,
)
from benchmarks.report import Result, Row
from benchmarks.training_step import make_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_NS = 10_000_000
BATCHES = (1024, 2048, 4096, 8192, 16_384)
STEPS = 60
READERS = 8
SETTLE_S = 3.5
"""From the start of a view until it is looking and no longer starting."""

APART, TOGETHER = "apart", "together"
_NONE = "none"

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
    """The rows about looking."""
    rows: list[Row] = []
    for placement in (APART, TOGETHER):
        rows += _rows(placement, rounds)
    cores = os.cpu_count() or 1
    return Result(
        rows,
        [
            "Looking: an MLP step of about 10 ms with 4 phases, one torch thread; blocks with a view, and without.",
            f"A core of its own: of {cores} cores the training has the first, the views have the last.",
        ],
    )


def _rows(placement: str, rounds: int) -> list[Row]:
    names = ("top", "web", f"{READERS} readers")
    where = "a core of its own" if placement == APART else "shared cores"
    try:
        found = series_from(in_fresh_process("benchmarks.looking", "looked_at", rounds, placement))
    except RuntimeError as error:
        return [Row(f"step with {name}, {where}", Series(name, "x", [], reason(error))) for name in names]
    must = 1.01 if placement == APART else None
    rows = []
    for name in (*names, "noise"):
        what = f"step with {name} / without, {where}" if name in names else f"the noise: without / without, {where}"
        rows.append(Row(what, found[name], must if name in names else None))
        rows.append(Row(f"{what}: processor time", found[f"{name}, processor"]))
    return [*rows, Row(f"the step without a view, {where}", found["step"])]


def looked_at(rounds: int, placement: str) -> dict[str, Any]:
    """In a fresh process: steps without a view, with top, without, with the page, without, with readers, without."""
    cores = sorted(os.sched_getaffinity(0))
    theirs = {cores[-1]} if placement == APART else set(cores)
    if placement == APART:
        os.sched_setaffinity(0, {cores[0]})
    training = _training()
    with ours.session("cpu") as names:
        step = partial(training.step_in_phases, names["phase"])
        path, directory = names["session"].path, names["directory"]
        views: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
            "top": partial(_top, directory, theirs),
            "web": partial(_web, directory, theirs),
            f"{READERS} readers": partial(_readers, path, theirs),
        }
        subjects = [Subject(f"{_NONE} 0", "", STEPS, with_names())]
        for number, name in enumerate(list(views), 1):
            subjects += [Subject(name, "", STEPS, with_names()), Subject(f"{_NONE} {number}", "", STEPS, with_names())]
        spent: dict[str, list[float]] = {subject.name: [] for subject in subjects}

        def block(subject: Subject) -> float:
            with views.get(subject.name, contextlib.nullcontext)():
                return _time_steps(step, spent[subject.name])

        clock = interleave(subjects, rounds, block)
    # The first round is thrown away, there as here.
    processor = {name: series._replace(values=spent[name][1:]) for name, series in clock.items()}
    found = {**_ratios(clock, list(views), ""), **_ratios(processor, list(views), ", processor")}
    found["step"] = scaled(clock[f"{_NONE} 0"], 1e-6, "ms")
    return dict(found)


def _ratios(blocks: dict[str, Series], names: list[str], suffix: str) -> dict[str, Series]:
    around = [blocks[f"{_NONE} {number}"] for number in range(len(names) + 1)]
    found = {
        name + suffix: _against(name, around[number], blocks[name], around[number + 1])
        for number, name in enumerate(names)
    }
    found[f"noise{suffix}"] = _against("noise", *around[:3])
    return found


def _time_steps(step: Callable[[], None], spent: list[float]) -> float:
    """The median time of a step by the clock, ns; its median processor time goes to `spent`."""
    clock, processor = [], []
    for _ in range(STEPS):
        started, started_processor = time.perf_counter_ns(), time.thread_time_ns()
        step()
        processor.append(time.thread_time_ns() - started_processor)
        clock.append(time.perf_counter_ns() - started)
    spent.append(statistics.median(processor))
    return statistics.median(clock)


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


def _against(name: str, before: Series, with_it: Series, after: Series) -> Series:
    return combined(name, "x", lambda a, b, c: b / ((a + c) / 2), before, with_it, after)


@contextlib.contextmanager
def _processes(cores: set[int], *commands: list[str], settle_s: float = SETTLE_S) -> Iterator[None]:
    quiet: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = []
    try:
        for command in commands:
            running.append(subprocess.Popen([sys.executable, *command], **quiet, env={**os.environ, "TERM": "xterm"}))
            os.sched_setaffinity(running[-1].pid, cores)
        time.sleep(settle_s)
        assert all(process.poll() is None for process in running), "a view ended by itself"
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def _top(directory: str, cores: set[int]) -> contextlib.AbstractContextManager[None]:
    """The terminal view in a terminal of which nobody sees the other end."""
    return _processes(cores, ["-c", _TERMINAL, sys.executable, "-m", "phasescope", "top", "--dir", directory])


@contextlib.contextmanager
def _web(directory: str, cores: set[int]) -> Iterator[None]:
    """The page's server, and one who has the page open."""
    command = [sys.executable, "-m", "phasescope", "web", "--port", "0", "--dir", directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            os.sched_setaffinity(server.pid, cores)
            assert server.stdout is not None
            address = urlsplit(server.stdout.readline().strip())
            token = parse_qs(address.query)["token"][0]
            with _processes(cores, ["-c", _PAGE, f"http://127.0.0.1:{address.port}/api/events", token]):
                yield
        finally:
            server.kill()


def _readers(path: str, cores: set[int]) -> contextlib.AbstractContextManager[None]:
    """Processes that each take every event."""
    return _processes(cores, *[["-c", _READER, path]] * READERS)
