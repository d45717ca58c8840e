"""A fork finds our threads at rest, and Python says nothing of them; of all others it says what it says without us."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phasescope import _forks
from phasescope._forks import WorkingThread
from support.fakes.processes import in_forked_child, new_python
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
on_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the kernel does not list threads here")

FORK = """
import os, subprocess, sys, threading, warnings
import phasescope
from phasescope import _fork_warning, _forks
from phasescope.testing import FakeBackend

def fork():
    "Fork. Before Python 3.12, which began to warn of threads, warn as that does."
    pid = os.fork()
    if pid == 0:
        os._exit(len(os.listdir("/proc/self/task")) - 1 + any(is_ours(each) for each in warnings.filters))
    if sys.version_info < (3, 12) and len(os.listdir("/proc/self/task")) > 1:
        text = f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
    assert os.waitpid(pid, 0)[1] == 0

def is_ours(entry):
    return type(entry[1]).__module__.startswith("phasescope")

def begin():
    "Begin a session that never finds time to tidy up by itself."
    return phasescope.start(backends=[FakeBackend()], interval_ms=3_600_000)

_fork_warning._WARNS = True
"""
WARNING = "is multi-threaded, use of fork() may lead to deadlocks in the child."


def said_by(code: str, *options: str) -> str:
    """Return what a new Python says while it runs a program that forks."""
    done = new_python(f"{FORK}\n{code}", *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


# --- what Python says ------------------------------------------------------------------------------------------------


@on_linux
def test_nothing_is_said_of_our_threads_and_nothing_is_left_behind(tmp_path: Path) -> None:
    said = said_by(
        f"""
session = phasescope.start(backends=[FakeBackend()], interval_ms=1, record={str(tmp_path / "r.jsonl")!r})
filters = warnings.filters[:]
for _ in range(30):
    fork()
session.stop()
fork()  # the kernel may count a thread for a while after it was joined
assert warnings.filters == filters
assert "__warningregistry__" not in globals()
assert session.dropped == 0
"""
    )
    assert said == ""


@on_linux
def test_where_warnings_are_errors_or_caught_nothing_is_said_either() -> None:
    said = said_by(
        """
begin()
fork()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    fork()
assert not caught, caught[0]
""",
        "-Werror::DeprecationWarning",
    )
    assert said == ""


@on_linux
@pytest.mark.parametrize("begin", ["", "begin()"], ids=["alone", "session"])
def test_of_other_threads_it_says_what_it_says_without_us(begin: str) -> None:
    said = said_by(
        f"""
{begin}
event = threading.Event()
other = threading.Thread(target=event.wait)
other.start()
fork()
event.set()
other.join()
forking = threading.Thread(target=fork)
forking.start()
forking.join()
""",
        "-Walways",
    )
    assert said.count(WARNING) == 2


@on_linux
def test_of_a_thread_that_a_hook_starts_it_says_what_it_says_without_us() -> None:
    """Python counts before that hook or after it, by its version; what it then says meets all filters, each in turn."""
    alone, beside_us = (
        said_by(
            f"""
{begin}
event = threading.Event()
other = threading.Thread(target=event.wait)
os.register_at_fork(after_in_parent=other.start)
warnings.simplefilter("ignore")
warnings.filterwarnings("always", "This process")
fork()
event.set()
"""
        ).count(WARNING)
        for begin in ("", "begin()")
    )
    assert beside_us == alone


@on_linux
def test_another_warning_during_a_fork_is_shown() -> None:
    said = said_by(
        """
begin()
os.register_at_fork(after_in_parent=lambda: warnings.warn("of the training", DeprecationWarning))
fork()
"""
    )
    assert "DeprecationWarning: of the training" in said
    assert WARNING not in said


@on_linux
def test_a_fork_that_python_does_not_warn_of_leaves_nothing_for_long() -> None:
    """The next fork, or the next piece of work, takes back what no warning has met. Until then it can be sent along."""
    said_by(
        """
import pickle
_fork_warning._WITHIN_S = 0.0
session = begin()
filters = warnings.filters[:]
for _ in range(3):
    subprocess.run([sys.executable, "-S", "-c", ""], preexec_fn=int)
assert len(warnings.filters) == len(filters) + 1, warnings.filters
assert pickle.loads(pickle.dumps(warnings.filters[0][1])).match("anything") is None
with session._sampler._thread.work:
    assert warnings.filters == filters
"""
    )


# --- how long a fork waits -------------------------------------------------------------------------------------------


class Worker:
    """A thread of ours in the middle of a piece of work."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.began = threading.Event()
        self._work = work
        self.thread = WorkingThread(self._run, "phasescope-test")
        self.thread.start()
        assert self.began.wait(CEILING_S)

    def _run(self) -> None:
        with self.thread.work:
            self.began.set()
            self._work()


def test_a_fork_waits_for_the_piece_of_work_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_forks, "_PATIENCE_S", CEILING_S)
    done: list[str] = []

    def work() -> None:
        forks.wait(CEILING_S)
        threading.Event().wait(0.05)  # long enough for a fork that would not wait
        done.append("work")

    forks = threading.Event()
    worker = Worker(work)
    forks.set()
    assert in_forked_child(lambda: done) == ["work"]
    worker.thread.join(CEILING_S)


def test_no_piece_of_work_begins_while_it_forks() -> None:
    thread = WorkingThread(lambda: None, "phasescope-test")
    thread.start()
    try:
        assert thread.work.pause(0.0)
        begun = threading.Event()

        def work() -> None:
            with thread.work:
                begun.set()

        other = threading.Thread(target=work)
        other.start()
        assert not begun.wait(0.02)
    finally:
        thread.work.go_on()
    assert begun.wait(CEILING_S)
    other.join(CEILING_S)


def test_a_fork_does_not_wait_for_ever_and_not_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver holds the thread: the fork goes on without, and hundreds of workers do not pay for it each."""
    let_go = threading.Event()
    worker = Worker(lambda: let_go.wait(CEILING_S))
    try:
        assert in_forked_child(lambda: 1) == 1
        monkeypatch.setattr(_forks, "_PATIENCE_S", 2 * CEILING_S)
        assert in_forked_child(lambda: 2) == 2
        assert not let_go.is_set()
    finally:
        let_go.set()
        worker.thread.join(CEILING_S)
    assert worker.thread.work.pause(0.0)  # nobody holds it
    worker.thread.work.go_on()


@on_linux
def test_of_a_thread_of_ours_in_the_middle_of_its_work_the_warning_is_true() -> None:
    said = said_by(
        """
began, let_go = threading.Event(), threading.Event()

def run():
    with thread.work:
        began.set()
        let_go.wait()

thread = _forks.WorkingThread(run, "phasescope-test")
thread.start()
began.wait()
fork()
let_go.set()
"""
    )
    assert said.count(WARNING) == 1


def test_where_a_fork_was_half_prepared_the_work_goes_on() -> None:
    """What the hook of another raises, or a host that calls only some of the hooks, keeps no thread of ours waiting."""
    thread = WorkingThread(lambda: None, "phasescope-test")
    thread.start()
    thread.work.go_on()  # never paused
    assert thread.work.pause(0.0)
    thread.work.go_on()
