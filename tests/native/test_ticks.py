"""The sampler's ticks in the compiled core: the rings that Python's make, and what ends them."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.capture.sampler import Sampler
from phasescope.testing import sample
from support.assertions import events_of
from support.both_cores import printed_and_ring
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = [
    pytest.mark.skipif(not _native.has_phases, reason=f"no compiled phases here: {_native.why_not}"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the core reads /proc"),
]

SCRIPT = Path(__file__).parent / "scripts" / "same_ticks.py"
TICKS = 400


def told(pure: bool, directory: Path, seed: int) -> tuple[int, list[str], bytes, bytes]:
    """Return how many ticks the core did, the counts that the script prints, and of the ring positions and records."""
    (in_core, *counts), positions, records = printed_and_ring(SCRIPT, pure, directory, seed, TICKS)
    return int(in_core), counts, positions, records


@pytest.mark.parametrize("seed", range(6))
def test_the_same_ticks_give_the_same_ring(seed: int, tmp_path: Path) -> None:
    """On a disk, where the kernel makes each store."""
    in_core, *compiled = told(False, tmp_path / "compiled", seed)
    in_python, *pure = told(True, tmp_path / "pure", seed)
    assert compiled == pure
    assert in_core > TICKS // 8
    assert in_python == 0


def test_they_do_on_a_tmpfs_too() -> None:
    """Where they store into the pages; for root they ask for those first."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        in_core, *compiled = told(False, Path(folder) / "compiled", 11)
        _, *pure = told(True, Path(folder) / "pure", 11)
    assert compiled == pure
    assert in_core > TICKS // 8


class Counted:
    """How many ticks of a session were the core's, and how many were not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = self.left = 0
        tick_in_core = Sampler._tick_in_core

        def counted(sampler: Sampler, late_ns: int) -> bool:
            is_done = tick_in_core(sampler, late_ns)
            self.done += is_done
            self.left += not is_done
            return is_done

        monkeypatch.setattr(Sampler, "_tick_in_core", counted)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def session(counted: Counted, tmp_path: Path) -> Iterator[Session]:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000, directory=str(directory)) as session:
        yield session


def samples(session: Session) -> list[dict[str, Any]]:
    return events_of(session, "sample")


def test_the_host_alone_is_sampled_by_the_core(session: Session, counted: Counted) -> None:
    with phase("work"):
        for _ in range(5):
            sample(session)
    assert (counted.done, counted.left) == (5, 0)
    assert [event["metadata"]["phase_scope"]["name"] for event in samples(session)[1:]] == ["work"] * 5


def test_a_file_that_is_shortened_is_left_at_the_next_tick(session: Session, counted: Counted) -> None:
    assert session.path is not None
    sample(session)
    os.truncate(session.path, 8192)
    sample(session)
    sample(session)
    assert (counted.done, counted.left) == (1, 2), "in memory it is Python's to come back"
    assert samples(session)
    assert session.dropped == 0


def test_a_phase_that_could_not_be_closed_is_closed_by_python(session: Session, counted: Counted) -> None:
    left = phase("left")
    left.__enter__()
    sample(session)
    left.is_open = False
    sample(session)
    assert (counted.done, counted.left) == (1, 1)
    assert events_of(session, "phase_exit")[0]["metadata"]["phase_scope"]["status"] == "abandoned"


def test_somebody_who_asks_what_is_over_is_asked_at_each_tick(session: Session) -> None:
    asked = []

    def ask(_stacks_of: object) -> list[Any]:
        asked.append(len(samples(session)))
        return []

    session.ask_what_is_over(ask)
    for _ in range(3):
        sample(session)
    assert asked == [1, 2, 3]


def test_another_threshold_is_seen_though_the_core_ticks(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("9 1 1 0 0 0 0\n")
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000, warning_bytes=1, critical_bytes=None) as session:
        sample(session)
    assert len(events_of(session, "warning")) == 1


def test_the_thread_itself_ticks_in_the_core(counted: Counted) -> None:
    """By the system's clock it does not come back to Python for a tick in which nothing happens."""
    begin = time.perf_counter()
    with phasescope.start(backends=["cpu"], interval_ms=5) as session:
        until(lambda: len(samples(session)) > 40)
        python_ticks = counted.done + counted.left
    seconds = time.perf_counter() - begin
    assert python_ticks <= 3 * seconds + 5
    taken = [event["timestamp_ns"] for event in samples(session)]
    assert taken == sorted(taken)
    assert all(event["metadata"]["sampling_late_ns"] >= 0 for event in samples(session))
