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
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "XDG_RUNTIME_DIR")
_LAUNCHERS = ("OMPI_COMM_WORLD_", "SLURM_")
_GRACE_S = 3.0

_listdir, _readlink = os.listdir, os.readlink


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without", choices=sorted(LACKING), help="take away the calls that this system lacks")


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
        # Those for Linux can not be imported afterwards.
        importlib.import_module("torch")
        importlib.import_module("torch._dynamo")
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
    """The function, for which the places that only Linux has do not exist; psutil has its own ways on each system."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        target = args[0] if args else "."
        path = os.fsdecode(target) if isinstance(target, (str, bytes, os.PathLike)) else ""
        if path.startswith(_LINUX_ONLY) and not sys._getframe(1).f_globals["__name__"].startswith("psutil"):
            raise FileNotFoundError(2, "taken away", path)
        return function(*args, **kwargs)

    return guarded


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """A test has its own directory for rings, and leaves no session, thread or open ring behind."""
    monkeypatch.setenv("PHASESCOPE_DIR", str(tmp_path / "phasescope"))
    for name in list(os.environ):
        if name in _LAUNCHER or name.startswith(_LAUNCHERS):
            monkeypatch.delenv(name)
    threads = set(threading.enumerate())
    files = _open_files(tmp_path)
    yield
    request.node.funcargs.clear()  # what the fixtures gave is over: a session keeps its own reader until it is gone
    session = sys.modules.get("phasescope.capture.session")
    left = []
    if session is not None and session.current() is not None:
        left.append(f"a session: {session.current()}")
        session.stop()
    left += _left(lambda: [f"a thread: {thread.name}" for thread in set(threading.enumerate()) - threads])
    left += _left(lambda: [f"an open file: {file}" for file in _open_files(tmp_path) - files])
    assert not left, "the test left " + ", ".join(left)


def _left(look: Callable[[], list[str]]) -> list[str]:
    """What is still there after a moment: a thread that was told to end may be about to."""
    left = look()
    deadline = time.monotonic() + _GRACE_S
    while left and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
        left = look()
    return left


def _open_files(folder: Path) -> set[str]:
    """The files of this test and of the kernel that are open here; empty where the system does not say."""
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
    """A clock that stands still until the test moves it."""
    from phasescope.testing import FakeClock

    return FakeClock()


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    """A directory where rings may lie."""
    path = tmp_path / "rings"
    path.mkdir(mode=0o700)
    return path
