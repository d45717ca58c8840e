"""What a reader answers of its session's end and memory, of a ring and of a recording of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.readers.diagnosis import ending, summary_and_ending
from phasescope.testing import FakeBackend
from support.fakes.made_rings import made_ring

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a ring is read here while it is written")


def test_a_ring_and_its_recording_end_alike(tmp_path: Path) -> None:
    recorded = tmp_path / "run.jsonl"
    with pytest.raises(KeyError), phasescope.start(backends=[FakeBackend()], record=str(recorded)) as session:
        path = str(session.path)
        with phase("step"):
            raise KeyError("lost")
    for target in (path, str(recorded)):
        with phasescope.attach(target) as reader:
            ended = reader.ending()
            assert (ended.kind, ended.error_type, ended.path) == ("exception", "KeyError", ("step",))
            assert ended.text in str(reader.explain())
            assert summary_and_ending(reader) == (reader.summary(), ended)


def test_the_last_events_are_enough_for_an_end(tmp_path: Path) -> None:
    with made_ring(tmp_path) as ring:
        for _ in range(50):
            ring.run(["step"], 1)
        ring.enter(["step"])
        ring.die()
        with phasescope.attach(ring.path) as reader:
            assert ending(reader).kind == ending(reader, 8).kind == "killed"
            assert ending(reader, 8).open_phases == ending(reader).open_phases


def test_one_that_runs_says_so_of_itself() -> None:
    with phasescope.start(backends=[FakeBackend()]) as session:
        with phase("step"):
            pass
        assert session.reader().ending().kind == "running"
        assert session.explain().cause.kind == "none"
