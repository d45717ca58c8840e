"""Phases in what the garbage collector calls: callbacks, finalizers, generators that it closes.

Before Python 3.12 it may run in the middle of a context variable's `set()`, and a `set()` in there crashes the
interpreter: so there are no phases. From 3.12 on there are.
"""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.capture import gc_guard, phase_context
from phasescope.testing import FakeBackend
from support.assertions import paths
from support.fakes.processes import in_new_python
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

in_the_middle = pytest.mark.skipif(not gc_guard.IS_NEEDED, reason="this Python's collector waits for a safe point")

OFTEN = """
import contextvars, gc, sys
import phasescope
from phasescope import phase

variables = [contextvars.ContextVar(str(number)) for number in range(40)]
for variable in variables:  # several levels of the tree that a context is
    variable.set(object())

def callback(stage, info):
    with phase("callback"):
        pass

class Finalized:
    def __init__(self):
        self.me = self
    def __del__(self):
        with phase("finalizer"):
            pass

def generator():
    with phase("generator"):
        yield

@phase("decorated")
def decorated():
    yield

def left_open(function):
    cycle = [function()]
    next(cycle[0])
    cycle.append(cycle)

gc.callbacks.append(callback)
with phasescope.start(backends=["cpu"]) as session:
    gc.callbacks.append(callback)
    gc.set_threshold(3, 2, 2)
    for number in range(15_000):
        with phase("step"):
            for variable in variables[:5]:
                variable.set((number,))
            Finalized()
            left_open(decorated)
            if number % 3 == 0:
                left_open(generator)
    gc.set_threshold(700, 10, 10)
    del gc.callbacks[:]
    print("steps:", sum(row.count for row in session.summary().rows if row.path[-1] == "step"), session.dropped)
"""


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()], interval_ms=10_000) as session:
        yield session


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = list(gc.callbacks)
    yield
    assert gc.callbacks == before
    current = phase_context.get_current()
    assert current is None or not current.is_open


def test_the_interpreter_survives_phases_in_all_that_the_collector_calls() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", OFTEN],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
    )
    assert done.returncode == 0, done.stderr
    said, steps, dropped = done.stdout.split()
    assert (said, int(steps) > 0) == ("steps:", True)
    if gc_guard.IS_NEEDED:  # else the phases that were never left are more than are kept
        assert int(dropped) == 0


@in_the_middle
def test_a_phase_in_a_collection_is_none_wherever_its_callback_stands(session: Session) -> None:
    seen = []

    def callback(stage: str, _info: object) -> None:
        seen.append(stage)
        with phase("callback"), phase("inner"):
            pass

    gc.callbacks.append(callback)
    gc.callbacks.insert(0, callback)
    gc.collect()  # sees that there are others, and goes around them
    seen.clear()
    before = session.written
    with phase("step"):
        gc.collect()
    gc.callbacks.remove(callback)
    gc.callbacks.remove(callback)
    with phase("after"):
        pass
    assert seen == ["start", "start", "stop", "stop"]
    assert paths(session)[-2:] == ["step", "after"]
    assert session.written == before + 4
    assert (session.dropped, session._writer.irregular) == (0, 0)


@in_the_middle
def test_one_that_is_open_already_stays_open(session: Session) -> None:
    shared = phase("shared")

    def callback(_stage: str, _info: object) -> None:
        with shared, shared:
            pass

    gc.callbacks.append(callback)
    with shared:
        gc.collect()
        with phase("inside"):
            pass
    gc.callbacks.remove(callback)
    assert paths(session) == ["shared/inside", "shared"]


def test_a_generator_that_the_collector_closes_ends_its_phase(session: Session) -> None:
    @phase("generator")
    def generator() -> Iterator[int]:
        yield 1
        yield 2

    with phase("outer"):
        cycle: list[Any] = [generator()]
        assert next(cycle[0]) == 1
        cycle.append(cycle)
        del cycle
        gc.collect()
        with phase("inner"):
            pass
    assert paths(session) == ["outer/generator", "outer/inner", "outer"]


@in_the_middle
def test_other_threads_go_on_during_a_collection(session: Session) -> None:
    def work() -> None:
        with phase("thread"), phase("inner"):
            pass

    def callback(stage: str, _info: object) -> None:
        if stage == "start":
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    gc.callbacks.append(callback)
    gc.collect()
    gc.callbacks.remove(callback)
    assert paths(session) == ["thread/inner", "thread"]


@in_the_middle
def test_a_session_that_ends_in_a_collection_leaves_nothing() -> None:
    session = phasescope.start(backends=[FakeBackend()])

    def callback(_stage: str, _info: object) -> None:
        session.stop()

    gc.callbacks.append(callback)
    with phase("step"):
        gc.collect()
    gc.callbacks.remove(callback)
    assert phase_context.get_current is not phase_context._get_while_collecting
    with phasescope.start(backends=[FakeBackend()]) as other:
        with phase("step"):
            pass
        assert paths(other) == ["step"]


ALARMS = """
import gc, signal, time
import phasescope
from phasescope.testing import FakeBackend

class Alarm(Exception):
    pass

def ring(*_):
    raise Alarm

def work(end):  # a function: Python 3.13 itself lets an alarm past the `try` around such a loop
    while time.monotonic() < end:
        cycle = []
        cycle.append(cycle)

phasescope.start(backends=[FakeBackend()])
signal.signal(signal.SIGALRM, ring)
gc.set_threshold(5)
lost = 0
for _ in range(100):
    end = time.monotonic() + 2
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        work(end)
        lost += 1
    except Alarm:
        pass
print(lost)
phasescope.stop()
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer that sends a signal here")
@pytest.mark.skipif(
    gc_guard.IS_NEEDED and not _native.has_phases,
    reason="before Python 3.12 only the compiled core learns of collections without a line of Python (docs/limits.md)",
)
def test_no_ctrl_c_is_lost_where_collections_begin() -> None:
    """Python throws away what a signal handler raises within a collector's callback."""
    assert in_new_python(ALARMS).strip() == "0"
