"""The session that a command speaks of: found, or said not to be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope.cli import (
    _session_args,
)
from support.commands import Training, needs_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@needs_files
@pytest.mark.parametrize("command", ["explain", "summary"])
def test_without_a_target_a_file_that_is_no_ring_is_passed_over(
    command: str, training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (directory / f"node-1-{2**50}.ring").write_bytes(b"cut off")
    exit_code, out, err = run(command)
    assert (exit_code, err) == run(command, str(training.pid))[::2]
    assert f"pid {training.pid}" in out


@needs_files
def test_a_session_without_a_beat_for_five_seconds_is_not_yet_silent(training: Training, directory: Path) -> None:
    with phasescope.attach(training.pid, directory=directory) as reader:
        beat_ns = reader.heartbeat_ns
        assert _session_args.health(reader, beat_ns + 4_900_000_000).silent_ns is None
        assert _session_args.state_text(_session_args.health(reader, beat_ns + 42_000_000_000)).startswith("silent 4")


@needs_files
@pytest.mark.parametrize("name", ["99999999", "no-such-id", "/no/such.ring"])
def test_a_session_that_is_not_there_exits_with_1(
    name: str, training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    for command in ("tail", "summary"):
        exit_code, out, err = run(command, name)
        assert (exit_code, out) == (1, "")
        assert err.startswith("phasescope: ")
        assert name in err
        assert err.count("\n") == 1


@needs_files
@pytest.mark.parametrize("named", ["4711", "run-5b0e", "run-5b0e66f1"])
def test_a_job_where_a_session_is_wanted_is_answered_with_its_sessions(
    named: str, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    job_id = named if named.isdecimal() else "run-5b0e66f1"
    for rank in range(2):
        phasescope.start(directory=directory, backends=["cpu"], job_id=job_id, rank=rank, world_size=2).stop()
    exit_code, out, err = run("summary", named)
    pids = f"{os.getpid()}, {os.getpid()}"
    assert (exit_code, out) == (1, "")
    way_out = f"its sessions: pid {pids}; `phasescope ranks --job {named}` compares them"
    assert err == f'phasescope: "{named}" is a job, not a session; {way_out}\n'
    assert run("ranks", "--job", named)[0] == 0
