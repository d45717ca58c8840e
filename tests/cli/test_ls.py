"""`phasescope ls`, against real sessions: live, stopped, killed, silent, and files that are none."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.analysis import liveness
from support.commands import Training, needs_files
from support.fakes.made_rings import MS, START_NS, made_ring
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@needs_files
def test_ls_shows_a_live_session(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, err = run("ls")
    title, line = out.splitlines()
    assert (exit_code, err) == (0, "")
    assert title.split() == ["pid", "session", "state", "age", "rank", "phase", "allocated", "reserved", "command"]
    pid, begin_of_id, state = line.split()[:3]
    assert (pid, state) == (str(training.pid), "running")
    assert run("summary", begin_of_id)[0] == 0
    assert " 1/4 " in line
    assert " epoch/validation " in line
    assert " MiB " in line
    assert "import phasescope" in line, "the command, without the interpreter"


@needs_files
def test_ls_says_why_it_did_not_look_into_a_directory(
    directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (directory / "node-1-1.ring").touch()
    directory.chmod(0o755)
    exit_code, _, err = run("ls")
    assert exit_code == 1
    assert f"not looked into: {directory} is open to others (mode 0755)" in err


@needs_files
def test_ls_as_json(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, _ = run("ls", "--json")
    (session,) = json.loads(out)
    assert exit_code == 0
    assert (session["pid"], session["state"], session["silent_ns"]) == (training.pid, "running", None)
    assert (session["rank"], session["world_size"], session["phase"]) == (1, 4, ["epoch", "validation"])
    assert (session["device"], session["allocated_bytes"] > 1_000_000) == ("host", True)
    assert session["age_ns"] > 0
    assert session["events_written"] >= 15
    assert session["command"][1] == "-c"
    assert Path(session["path"]).parent == training.directory


@needs_files
def test_ls_tells_the_stopped_from_the_killed(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    other = Training(directory)
    other.close()
    training.stop()
    ring_files = {session["pid"]: session for session in json.loads(run("ls", "--json")[1])}
    assert (ring_files[training.pid]["state"], ring_files[training.pid]["phase"]) == ("stopped", None)
    assert (ring_files[other.pid]["state"], ring_files[other.pid]["phase"]) == ("dead", ["epoch", "validation"])


@needs_files
def test_ls_says_how_a_session_ended(directory: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    with ExitStack() as kept:
        rings = [kept.enter_context(made_ring(directory, pid=pid)) for pid in (11, 12, 13, 14, 15)]
        finished, ran_out, failed, interrupted, killed = rings
        for ring in rings:
            ring.event("start")
            ring.run(["step"], 5)
        words = {"error_type": "OutOfMemoryError", "out_of_memory": True}
        ran_out.event("error", context="CUDA out of memory.", extra=words)
        finished.stop()
        ran_out.stop("the interpreter exited after OutOfMemoryError")
        failed.stop("the interpreter exited after ValueError")
        interrupted.stop("the interpreter exited after KeyboardInterrupt")
        killed.enter(["step"])
        killed.die()
        told = {session["pid"]: session["ending"] for session in json.loads(run("ls", "--json")[1])}
        out = run("ls")[1]
    assert told == {11: "finished", 12: "device_out_of_memory", 13: "exception", 14: "exception", 15: "killed"}
    states = {line.split()[0]: re.split(r" {2,}", line.strip())[2] for line in out.splitlines()[1:]}
    assert states == {"11": "finished", "12": "out of memory", "13": "failed", "14": "interrupted", "15": "killed"}


@needs_files
def test_ranks_stand_under_their_job(directory: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    with ExitStack() as kept:
        for at, (pid, rank, job) in enumerate([(1, 1, "a"), (2, None, None), (3, 0, "a"), (4, 0, "b"), (5, 1, "b")]):
            of_job = {} if job is None else {"rank": rank, "world_size": 2, "job_id": job}
            kept.enter_context(made_ring(directory, pid=pid, started_ns=START_NS + at * 1000 * MS, **of_job))
        pids = [line.split()[0] for line in run("ls")[1].splitlines()[1:]]
    assert pids == ["4", "5", "2", "3", "1"]


@needs_files
def test_the_beginning_of_several_ids_is_refused_with_their_names(
    directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    with made_ring(directory, pid=1, session_id="ab12"), made_ring(directory, pid=2, session_id="ab34"):
        exit_code, out, err = run("summary", "ab")
        assert (exit_code, out) == (1, "")
        assert '"ab" begins the ids of 2 sessions: ' in err
        assert "ab12 (pid 1)" in err
        assert "ab34 (pid 2)" in err
        assert run("summary", "ab3")[0] == 0


@needs_files
def test_a_session_that_is_not_heard_of_is_silent(
    training: Training, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_SILENT_NS", 0)
    os.kill(training.pid, signal.SIGSTOP)

    def listed() -> dict[str, Any]:
        (session,) = json.loads(run("ls", "--json")[1])
        return dict(session)

    until(lambda: (listed()["silent_ns"] or 0) > 100_000_000)
    assert listed()["state"] == "running"
    assert "  silent " in run("ls")[1]
    assert "running, but silent for " in run("summary")[1]


@needs_files
def test_files_that_are_no_rings_are_named_and_harm_nothing(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (directory / "foreign.ring").write_bytes(b"not a ring at all" * 100)
    (directory / "empty.ring").write_bytes(b"")
    (directory / "folder.ring").mkdir()
    (directory / "link.ring").symlink_to(directory / "nowhere")
    whole = next(path for path in directory.iterdir() if str(training.pid) in path.name)
    (directory / "cut.ring").write_bytes(whole.read_bytes()[:5000])
    exit_code, out, err = run("ls")
    assert (exit_code, err) == (0, "")
    lines = out.splitlines()
    for name in ("foreign", "empty", "folder", "link", "cut"):
        assert sum(f"{name}.ring: " in line for line in lines) == 1
    assert "foreign.ring: not a phasescope ring" in out
    assert str(training.pid) in lines[1]
    assert run("tail", str(directory / "cut.ring"))[0] == 1
    assert run("summary", str(directory / "foreign.ring"))[2].count("\n") == 1
