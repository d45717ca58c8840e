"""What every test has: a place of its own for rings, nobody's rank, and a look afterwards at what it left running.

`--without=macos` and `--without=windows` take the calls away that those systems lack, before phasescope is imported;
what is marked `neutral` must pass all the same.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import gc
import importlib
import importlib.util
import io
import itertools
import logging.handlers
import multiprocessing.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope.testing import FakeClock

# Imported above only so that they have the calls that are taken away below: they are not what is being tested.
_SYSTEMS_OWN = (asyncio, concurrent.futures, logging.handlers, multiprocessing.util, random, subprocess, psutil)

LACKING = {
    "macos": ("posix_fallocate", "posix_fadvise"),
    "windows": (
        *("posix_fallocate", "posix_fadvise", "pread", "pwrite", "getuid", "geteuid", "fork", "register_at_fork"),
        *("statvfs", "fchmod", "sysconf", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"),
    ),
}
"""Names in `os`. Windows has no `fcntl` either, and neither system has what `_LINUX_ONLY` names."""

_LINUX_ONLY = ("/proc", "/sys", "/dev/shm")
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "TF_CONFIG", "XDG_RUNTIME_DIR")
_LAUNCHERS = (
    *("OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "PMI_", "PMIX_", "MPI_LOCAL", "PALS_", "HOROVOD_", "FLUX_", "SLURM_"),
    *("MASTER_", "PBS_JOBID", "LSB_JOBID"),
)
_GRACE_S = 30.0
_RECORDED_WITHIN_S = 300.0
_TESTS = Path(__file__).parent
_LONGEST_FIRST = ("programs", "integrations", "end_to_end", "project", "cli", "native", "views")

_listdir, _readlink = os.listdir, os.readlink


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without", choices=sorted(LACKING), help="take away the calls that this system lacks")
    parser.addoption("--every", type=int, default=1, metavar="N", help="run the first test of each file, and each N-th")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a test for other systems: to import their frameworks takes longer than those tests."""
    if config.getoption("--without") is None or collection_path.suffix != ".py":
        return None
    return "mark.neutral" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, so that two processes end together, and leave a sample, if one is asked for.

    A slow machine has no time for all tests on each Python.
    """
    items.sort(key=_place)
    every: int = config.getoption("--every")
    numbers = {path: itertools.count() for path in {item.path for item in items}}
    left_out = [item for item in items if next(numbers[item.path]) % every]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        out = set(left_out)
        items[:] = [item for item in items if item not in out]


def _place(item: pytest.Item) -> int:
    """Return where a test stands by its room: each of the first has files that take minutes, the rest none."""
    (room, *_) = item.path.relative_to(_TESTS).parts
    return _LONGEST_FIRST.index(room) if room in _LONGEST_FIRST else len(_LONGEST_FIRST)


# A machine that is busy with other work is no failure: no example is timed.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background (`nohup make test &`) the tests ignore Ctrl-C by inheritance, and so would their
        # children. A process with a handler of Python's gives its children the default.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    system = config.getoption("--without")
    if system is None:
        return
    assert "phasescope" not in sys.modules, "phasescope was imported before the calls were taken away"
    assert importlib.util.find_spec("phasescope") is not None
    if config.option.basetemp is None:  # pytest's own choice asks for the user's id
        folder = tempfile.mkdtemp(prefix="tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.option.basetemp = Path(folder) / "base"
    _take_away(system)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table of tests/programs: a row came with the report of each, from whichever process."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows = [value for report in reports for name, value in report.user_properties if name == "program"]
    if rows:
        from programs.table import lines

        terminalreporter.section("programs, alone and under run")
        for line in lines(rows):
            terminalreporter.write_line(line)


def _take_away(system: str) -> None:
    if importlib.util.find_spec("torch") is not None:
        # Those for Linux cannot be imported afterwards.
        importlib.import_module("torch")
    for name in LACKING[system]:
        if hasattr(os, name):
            delattr(os, name)
    if system == "windows":
        sys.modules["fcntl"] = None  # type: ignore[assignment]
    for module, name in (
        *((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "lstat")),
        *((os, "listdir"), (os, "scandir"), (os, "readlink"), (os, "access")),
    ):
        setattr(module, name, _only_elsewhere(getattr(module, name)))


def _only_elsewhere(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function without the places that only Linux has; psutil has its own ways on each system."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        target = args[0] if args else "."
        path = os.fsdecode(target) if isinstance(target, (str, bytes, os.PathLike)) else ""
        if path.startswith(_LINUX_ONLY) and not sys._getframe(1).f_globals["__name__"].startswith("psutil"):
            raise FileNotFoundError(2, "taken away", path)
        return function(*args, **kwargs)

    return guarded


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each test its own directory for rings, and fail it if it leaves a session, thread or open ring behind."""
    monkeypatch.setenv("PHASESCOPE_DIR", str(tmp_path / "phasescope"))
    for name in list(os.environ):
        if name in _LAUNCHER or name.startswith(_LAUNCHERS):
            monkeypatch.delenv(name)
    # A training does not wait long for its recording; on a busy machine a test would find half of it.
    monkeypatch.setattr("phasescope.capture.optional_parts._RECORDING_SECONDS", _RECORDED_WITHIN_S)
    threads = set(threading.enumerate())
    files = _open_files(tmp_path)
    yield
    request.node.funcargs.clear()  # what the fixtures gave is over: a session keeps its own reader until it is gone
    session = sys.modules.get("phasescope.capture.running")
    left = []
    if session is not None and session.current() is not None:
        left.append(f"a session: {session.current()}")
        session.stop()
    left += _left(lambda: [f"a thread: {thread.name}" for thread in set(threading.enumerate()) - threads])
    left += _left(lambda: [f"an open file: {file}" for file in _open_files(tmp_path) - files])
    assert not left, "the test left " + ", ".join(left)


def _left(look: Callable[[], list[str]]) -> list[str]:
    """Return what is still there after a while: a thread that was asked to end may be about to.

    The young objects are collected first, for what a test leaves is young: all of them with a framework loaded take a
    sixth of a second.
    """
    left = look()
    generations = itertools.chain((0, 1), itertools.repeat(2))
    deadline = time.monotonic() + _GRACE_S
    while left and time.monotonic() < deadline:
        generation = next(generations)
        gc.collect(generation)
        if generation:
            time.sleep(0.01)
        left = look()
    return left


def _open_files(folder: Path) -> set[str]:
    """Return the files of this test and of the kernel that are open here; nothing if the system does not say."""
    found: set[str] = set()
    try:
        numbers = _listdir("/proc/self/fd")
    except OSError:
        return found
    for number in numbers:
        try:
            target = _readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the listing's own
        if ".ring" in target or target.startswith((f"{folder}/", "/proc/self", f"/proc/{os.getpid()}/", "/sys/")):
            found.add(f"{number} {target}")
    return found


@pytest.fixture
def clock() -> FakeClock:
    """Make a clock that stands still until the test moves it."""
    from phasescope.testing import FakeClock

    return FakeClock()


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    """Make a directory for rings."""
    path = tmp_path / "rings"
    path.mkdir(mode=0o700)
    return path
