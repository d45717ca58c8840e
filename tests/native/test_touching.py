"""Boundaries of a thread that touch share one reading of the resident set, where nothing of a phase can get lost by it.

How near two boundaries come is the machine's matter, so here they may be a minute apart: a file stands for the
kernel's, and is written again between them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.backends.cpu import TOUCHING_NS, Cpu
from phasescope.testing import sample
from support.assertions import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from phasescope import Session

pytestmark = pytest.mark.skipif(not _native.has_phases, reason=f"no compiled phases here: {_native.why_not}")

MINUTE_NS = 60_000_000_000


class Kernel:
    """The file that stands for /proc/self/statm."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(1)

    def set(self, pages: int) -> None:
        self.path.write_text(f"1000 {pages} 1 1 0 1 0\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "statm")


@pytest.fixture
def session(kernel: Kernel) -> Iterator[Session]:
    with running(kernel, MINUTE_NS) as session:
        yield session


@contextlib.contextmanager
def running(kernel: Kernel, touching_ns: int) -> Iterator[Session]:
    backend = Cpu(statm=kernel.path, touching_ns=touching_ns)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        for name in ("outer", "a", "b", "there"):  # a name's first phase goes the Python way
            with phase(name), phase("inner"):
                pass
        yield session


def pages_of(session: Session, event_type: str, name: str) -> int:
    event = [e for e in events_of(session, event_type) if e["metadata"]["phase_scope"]["name"] == name][-1]
    return int(event["allocator_allocated_bytes"] // os.sysconf("SC_PAGE_SIZE"))


def test_the_beginning_of_a_phase_shares_the_reading_of_the_end_before(session: Session, kernel: Kernel) -> None:
    kernel.set(3)
    with phase("a"):
        pass
    kernel.set(5)
    with phase("b"):
        pass
    assert pages_of(session, "phase_exit", "a") == 3
    assert pages_of(session, "phase_enter", "b") == 3
    assert pages_of(session, "phase_exit", "b") == 5


def test_a_phase_never_ends_with_the_reading_that_it_began_with(session: Session, kernel: Kernel) -> None:
    with phase("outer"), phase("inner"):
        kernel.set(7)
    assert pages_of(session, "phase_enter", "inner") == 1
    assert pages_of(session, "phase_exit", "inner") == 7
    kernel.set(9)
    with phase("b"):
        kernel.set(11)
    assert pages_of(session, "phase_enter", "b") == 7
    assert pages_of(session, "phase_exit", "b") == 11


def test_the_end_of_a_phase_shares_the_reading_of_one_that_ended_in_it(session: Session, kernel: Kernel) -> None:
    with phase("outer"):
        with phase("inner"):
            kernel.set(7)
        kernel.set(8)
    assert pages_of(session, "phase_exit", "inner") == 7
    assert pages_of(session, "phase_exit", "outer") == 7


def test_another_thread_reads_anew(session: Session, kernel: Kernel) -> None:
    with phase("a"):
        pass
    kernel.set(4)

    def work() -> None:
        with phase("there"):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert pages_of(session, "phase_enter", "there") == 4


def test_later_ones_read_anew(kernel: Kernel) -> None:
    with running(kernel, TOUCHING_NS) as session:
        with phase("a"):
            pass
        kernel.set(5)
        time.sleep(20 * TOUCHING_NS / 1e9)
        with phase("b"):
            pass
        assert pages_of(session, "phase_enter", "b") == 5


def test_the_sampler_always_reads(session: Session, kernel: Kernel) -> None:
    with phase("a"):
        pass
    kernel.set(6)
    sample(session)
    assert events_of(session, "sample")[-1]["allocator_allocated_bytes"] == 6 * os.sysconf("SC_PAGE_SIZE")
