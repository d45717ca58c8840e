"""The timing of all benchmarks: in blocks, interleaved, and compared round by round.

A machine that others share runs faster and slower by the second. So the subjects of a comparison take turns in short
blocks (A B C, C B A, A B C ...), each round gives one ratio, and the result is the median of the rounds' ratios
with the lowest and the highest beside it.

The garbage collector is on, as it is in a training. It has run before each block, and the imported modules are frozen
out of its sight: no subject pays for the heap of another.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import timeit
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

UNROLL = 10
"""How often a statement stands in its loop: the loop's own cost is spread over that many."""

WORKER_TIMEOUT_S = 300


class Series(NamedTuple):
    """One figure per round, all in `unit`; or none, and `missing` says why."""

    name: str
    unit: str
    values: list[float]
    missing: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Subject(NamedTuple):
    """A statement to be timed, `number` operations in a block.

    `opened()` is entered before the block and left after it, both untimed, and gives the names that the statement
    uses. One run of the statement counts as `operations` operations.
    """

    name: str
    statement: str
    number: int
    opened: Callable[[], AbstractContextManager[dict[str, Any]]]
    operations: int = 1


def with_names(**names: Any) -> Callable[[], AbstractContextManager[dict[str, Any]]]:
    """Return the context of a subject that has nothing to open."""
    return lambda: contextlib.nullcontext(names)


def time_block(subject: Subject) -> float:
    """Return the mean time of one operation in one block, ns."""
    with subject.opened() as names:
        statement = "\n".join([subject.statement] * UNROLL)
        # timeit switches the collector off; its setup runs after that.
        timer = timeit.Timer(statement, setup="gc.enable()", globals={**names, "gc": gc})
        loops = max(1, subject.number // (UNROLL * subject.operations))
        timer.timeit(max(1, loops // 10))  # warm caches, and let the interpreter specialise the code
        gc.collect()
        return timer.timeit(loops) / (loops * UNROLL * subject.operations) * 1e9


def interleave(
    subjects: Sequence[Subject], rounds: int, block: Callable[[Subject], float] = time_block
) -> dict[str, Series]:
    """Time the subjects in turns. One that raises is left out from then on, and its series says why."""
    series = {subject.name: Series(subject.name, "ns", []) for subject in subjects}
    for number in range(-1, rounds):  # the first round is thrown away: imports, files, branch predictors
        for subject in subjects if number % 2 == 0 else list(reversed(subjects)):
            measured = series[subject.name]
            if measured.missing is not None:
                continue
            try:
                value = block(subject)
            except Exception as error:
                series[subject.name] = Series(subject.name, "ns", [], reason(error))
                continue
            if number >= 0:
                measured.values.append(value)
        if number < 0:
            gc.collect()
            gc.freeze()
    gc.unfreeze()
    return series


def ratio(ours: Series, theirs: Series, unit: str = "x") -> Series:
    """Divide ours by theirs, round by round."""
    return combined(f"{ours.name} / {theirs.name}", unit, lambda a, b: a / b, ours, theirs)


def combined(name: str, unit: str, function: Callable[..., float], *parts: Series) -> Series:
    """Combine the parts by `function`, round by round; a value is missing if one of them is."""
    for part in parts:
        if part.missing is not None:
            return Series(name, unit, [], f"{part.name}: {part.missing}")
    return Series(name, unit, [function(*values) for values in zip(*(p.values for p in parts), strict=True)])


def scaled(series: Series, factor: float, unit: str) -> Series:
    """Return the same figures in another unit."""
    return series._replace(unit=unit, values=[value * factor for value in series.values])


def reason(error: BaseException) -> str:
    """Say in one line why something could not be measured."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


@contextlib.contextmanager
def scratch_directory() -> Iterator[str]:
    """Make a directory of our own, in memory if the system has such a place: ring and sink get the same."""
    shared_memory = Path("/dev/shm")
    parent = str(shared_memory) if shared_memory.is_dir() else None
    path = tempfile.mkdtemp(prefix="phasescope-bench-", dir=parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def in_fresh_process(module: str, function: str, *arguments: Any, **environment: str) -> Any:
    """Return the function's result (JSON) from a new interpreter.

    Raises RuntimeError with the last line of its stderr.
    """
    with tempfile.TemporaryDirectory() as directory:
        answer, log = Path(directory) / "answer.json", Path(directory) / "stderr"
        command = [sys.executable, "-m", "benchmarks.worker", module, function, str(answer), json.dumps(arguments)]
        with log.open("wb") as stderr:
            done = subprocess.run(
                command,
                stdout=stderr,
                stderr=stderr,
                timeout=WORKER_TIMEOUT_S,
                check=False,
                env={**os.environ, **environment},
            )
        if done.returncode != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
            raise RuntimeError(lines[-1])
        return json.loads(answer.read_text())


@contextlib.contextmanager
def plain_interpreter() -> Iterator[Callable[[Sequence[str]], subprocess.CompletedProcess[str]]]:
    """Yield a function that runs `python ARGUMENTS` as if phasescope had been installed from a wheel.

    The `.pth` files of an installation run at every start (those of a development install load modules) and would count
    as part of the bare interpreter: so this is a new, empty virtual environment with the packages on its path. `run`
    raises RuntimeError with the last line of stderr if Python fails.
    """
    package = importlib.util.find_spec("phasescope")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'phasescope'")
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "phasescope").symlink_to(Path(package.submodule_search_locations[0]).resolve())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = os.pathsep.join([directory, sysconfig.get_path("purelib")])
        venv.create(Path(directory) / "empty", symlinks=os.name != "nt")
        scripts = "Scripts" if os.name == "nt" else "bin"
        executable = str(Path(directory) / "empty" / scripts / Path(sys.executable).name)

        def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
            command = [executable, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            return done

        yield run


def series_from(answer: dict[str, list[Any]]) -> dict[str, Series]:
    """Return the series of a worker's answer."""
    return {name: Series(*fields) for name, fields in answer.items()}


def all_missing(names: Iterable[str], unit: str, why: str) -> dict[str, Series]:
    """Return a series for each name, none of them measured."""
    return {name: Series(name, unit, [], why) for name in names}
