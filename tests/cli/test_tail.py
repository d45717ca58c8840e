"""`phasescope tail`, against real sessions in real second processes."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.cli import (
    tail,
)
from phasescope.readers.ring_reader import RingReader
from support.commands import Training, needs_files, outcome, second_process
from support.events import MadeSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@needs_files
def test_tail_shows_the_last_events_and_how_the_session_ended(
    training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    training.do("checkpoint")
    training.stop()
    exit_code, out, err = run("tail", str(training.pid), "--types", "phase_enter,phase_exit", "-n", "4")
    first, *lines, last = out.splitlines()
    assert (exit_code, err) == (0, "")
    assert first.startswith(f"-- pid {training.pid}: ")
    assert [line.split()[1:3] for line in lines] == [
        ["phase_enter", "epoch/validation/checkpoint"],
        ["phase_exit", "epoch/validation/checkpoint"],
        ["phase_exit", "epoch/validation"],
        ["phase_exit", "epoch"],
    ]
    assert last.startswith("-- the session has stopped; last event shown ")


@needs_files
def test_tail_as_json_is_one_valid_event_a_line(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    training.kill()
    exit_code, out, err = run("tail", str(training.pid), "--json", "--all")
    events = [json.loads(line) for line in out.splitlines()]
    assert exit_code == 0
    for event in events:
        phasescope.validate_event(event)
    assert events[0]["event_type"] == "start"
    first_phase = next(event for event in events if event["event_type"] == "phase_enter")
    assert first_phase["metadata"]["phase_scope"]["attributes"] == {"n": 3}
    with phasescope.attach(training.pid, directory=training.directory) as reader:
        assert events == reader.events()
    assert err.startswith(f"-- killed or crashed: process {training.pid} ended without stopping the session")


@needs_files
def test_tail_without_follow_ends_while_the_session_runs(
    training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    exit_code, out, _ = run("tail", "--no-follow", "--types", "phase_enter", "-n", "2")
    assert exit_code == 0
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["epoch/data", "epoch/validation"]
    exit_code, out, _ = run("tail", "--no-follow", "--all", "--types", "phase_enter")
    assert out.splitlines()[1].endswith(" n=3")


@needs_files
def test_tail_names_a_type_that_no_event_has(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, _, err = run("tail", "--no-follow", "--types", "bogus,phase_enter")
    assert exit_code == 0
    assert err.startswith("phasescope: there is no event type bogus; known are start, ")
    assert err.count("\n") == 1


@needs_files
def test_tail_follows_a_live_session_line_by_line_until_it_is_killed(training: Training) -> None:
    follower = second_process("tail", str(training.pid), "--dir", str(training.directory), "--types", "phase_exit")
    assert follower.stdout is not None
    assert follower.stdout.readline().startswith(f"-- pid {training.pid}: ")
    for name in ("first", "second"):
        training.do(name)
        while f"epoch/validation/{name} " not in follower.stdout.readline():
            pass  # each is read while both processes live: nothing waits in a buffer
    assert follower.poll() is None
    training.kill()
    exit_code, out, err = outcome(follower)
    assert (exit_code, err) == (0, "")
    assert out.startswith("-- killed or crashed: ")


@needs_files
@pytest.mark.parametrize("last", [1, 5, 50])
def test_tail_shows_no_event_twice_and_leaves_none_out(last: int, directory: Path) -> None:
    """Events that are written while it turns from the last ones to the new ones are the delicate ones."""

    class Busy(RingReader):
        def events(self, last: int | None = None) -> list[dict[str, Any]]:
            for _ in range(10):
                with phasescope.phase("meanwhile"):
                    pass
            return super().events(last)

    with phasescope.start(directory=directory, interval_ms=3_600_000, backends=["cpu"]) as session:
        for _ in range(30):
            with phasescope.phase("before"):
                pass
        arguments = argparse.Namespace(no_follow=False, all=False, types=None, last=last)
        with Busy.open(str(session.path)) as reader:
            shown = tail._events(reader, arguments, tail._JsonPrinter())
            seen = [next(shown)]
            with phasescope.phase("after"):
                pass
            session.stop()
            seen += list(shown)
        everything = session.events()
    assert seen == everything[-len(seen) :]
    assert len(seen) >= last


@needs_files
def test_tail_says_what_it_missed(
    directory: Path, run: Callable[..., tuple[int, str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with phasescope.start(directory=directory, capacity_bytes=64 * 1024, backends=["cpu"]) as session:
        for _ in range(2000):
            with phasescope.phase("step"):
                pass
    for options in (["--no-follow"], []):
        _, out, err = run("tail", "--all", "--json", *options)
        missed = session.written - len(out.splitlines())
        assert missed > 1000
        assert f"-- {missed:,} events overwritten before they could be read --" in err
    assert f"{missed:,} older events overwritten" in run("summary")[1]
    assert "overwritten" not in run("tail", "-n", "5")[1]


@pytest.mark.neutral
def test_an_event_on_one_line() -> None:
    session = MadeSession()
    session.allocated = 3 * 2**20
    entered = session.enter("epoch", "forward")
    entered.boundary("phase_enter", attributes={"n": 3, "note\n": "x"})
    session.allocated += 2**20
    entered.exit(status="error", error_type="OutOfMemoryError", duration_ns=1_234_567)
    session.sample(entered, context="a\x1bb", allocator_change_bytes=-512)
    lines = [tail.event_line(event, 16)[13:] for event in session.events[1:]]
    assert lines == [
        r"phase_enter epoch/forward              3.00 MiB            n=3 note\n=x",
        "phase_exit  epoch/forward     1.23 ms  4.00 MiB  +1.00 MiB error: OutOfMemoryError",
        r"sample      epoch/forward              4.00 MiB     -512 B cuda:0 a\x1bb",
    ]


@pytest.mark.neutral
def test_an_event_of_no_known_memory_shows_a_dash() -> None:
    session = MadeSession()
    unknown = {"unavailable": ["allocator_allocated_bytes", "allocator_change_bytes"]}
    line = tail.event_line(session.event("sample", metadata=unknown), 16)
    assert line.split()[1:] == ["sample", "–", "cuda:0"]
