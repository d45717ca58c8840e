"""One fast pass over a ring or a recording says the same as its events one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.analysis.diagnosis.evidence import EvidenceFold, evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.cli import main
from phasescope.recordings import session_pass
from phasescope.recordings.event_parser import parse
from support.fakes.made_rings import MIB, MadeRing, made_ring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from phasescope.readers.reader import Reader

MAIN, LOADER = [1, "MainThread"], [2, "loader"]


def by_events(reader: Reader) -> dict[str, Any]:
    """The slow way."""
    return explain(
        evidence(reader.iter_events(), reader.state, missed=lambda: (reader.missed, reader.damaged))
    ).to_dict()


def by_fold(reader: Reader) -> dict[str, Any]:
    """The fast way."""
    state, watch = reader.state, EvidenceFold()
    fold = reader.fold(watch)
    return explain(watch.evidence(fold, state, missed=(reader.missed, reader.damaged))).to_dict()


def steps(ring: MadeRing, count: int, *, grows: int = 0) -> None:
    for _ in range(count):
        began_ns, step = ring.now_ns, ring.enter(["step"])
        ring.allocated += grows
        ring.run(["step", "forward"], 3.0, step)
        ring.run(["step", "backward"], 5.0, step)
        ring.leave(step, ["step"], None, ring.now_ns - began_ns)
        ring.event("sample")


def healthy(ring: MadeRing) -> None:
    steps(ring, 100)
    ring.stop()


def growing(ring: MadeRing) -> None:
    steps(ring, 104, grows=2 * MIB)
    ring.die()


def dead_in_the_middle(ring: MadeRing) -> None:
    steps(ring, 60)
    ring.run(["step", "forward"], 1.0, ring.enter(["step"]))
    ring.die()


def out_of_memory(ring: MadeRing) -> None:
    steps(ring, 60, grows=MIB)
    step = ring.enter(["step"])
    inner = ring.enter(["step", "forward"], step)
    ring.leave(inner, ["step", "forward"], step, 5, "error")
    told = {"out_of_memory": True, "error_type": "OutOfMemoryError", "requested_bytes": 512 * MIB}
    ring.event("error", 9001, inner, step, MAIN, ["step", "forward"], context="CUDA out of memory", extra=told)
    ring.leave(step, ["step"], None, 9, "error")
    ring.stop("stopped by the interpreter's exit, after OutOfMemoryError")


def an_error_that_was_handled(ring: MadeRing) -> None:
    steps(ring, 60)
    ring.leave(ring.enter(["step"]), ["step"], None, 5, "error")
    steps(ring, 60)
    ring.stop()


def a_thread_that_died_long_ago(ring: MadeRing) -> None:
    """Its exception is on its way for ever: the others' phases are no end of it."""
    ring.event("phase_enter", 9001, None, None, LOADER, ["load"])
    ring.event("phase_exit", 9002, 9001, None, LOADER, ["load"], None, 5, "error", "ValueError")
    steps(ring, 60)
    ring.stop()


def abandoned(ring: MadeRing) -> None:
    steps(ring, 60)
    ring.leave(ring.enter(["step"]), ["step"], None, 5, "abandoned")
    ring.stop()


STORIES = [
    healthy,
    growing,
    dead_in_the_middle,
    out_of_memory,
    an_error_that_was_handled,
    a_thread_that_died_long_ago,
    abandoned,
]


@pytest.mark.parametrize("story", STORIES)
def test_the_fast_pass_explains_as_the_events_do(
    story: Callable[[MadeRing], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with made_ring(tmp_path / "rings") as ring:
        ring.event("start")
        story(ring)
        recorded = tmp_path / "run.jsonl"
        assert main(["convert", ring.path, str(recorded)]) == 0
        capsys.readouterr()
        for path in (ring.path, str(recorded)):
            with phasescope.attach(path) as reader:
                expected = by_events(reader)
                assert by_fold(reader) == expected
                json.dumps(expected)


def test_lines_of_plain_boundaries_are_not_made_events_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with made_ring(tmp_path / "rings") as ring:
        ring.event("start")
        for _ in range(500):
            ring.run(["step"], 1.0)
        assert main(["convert", ring.path, str(tmp_path / "run.jsonl")]) == 0
        capsys.readouterr()
    parsed = []

    def counted(line: bytes) -> dict[str, Any]:
        parsed.append(line)
        return parse(line)

    monkeypatch.setattr(session_pass, "parse", counted)
    with phasescope.attach(str(tmp_path / "run.jsonl")) as reader:
        assert reader.summary().rows[0].count == 500
    assert len(parsed) < 20
