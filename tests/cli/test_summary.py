"""`phasescope summary`, against real sessions and recordings of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import phasescope
from phasescope import cli
from phasescope.testing import FakeBackend, FakeClock
from support.commands import Training, needs_files
from support.recordings import steps, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


@needs_files
def test_summary_of_a_live_session(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, err = run("summary", str(training.pid))
    assert (exit_code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].startswith("running for ")
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(("epoch", "  "))}
    assert (rows["epoch"][1], rows["data"][1], rows["forward"][1]) == ("0", "3", "3")
    assert "still open: epoch for " in out
    assert "rank 1 of 4" in out
    assert any(line.startswith("host ") for line in lines)


@needs_files
def test_summary_of_a_killed_session_says_so(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    training.kill()
    _, out, _ = run("summary", str(training.pid))
    assert f"killed or crashed: process {training.pid} ended without stopping the session; last event 2" in out
    assert "epoch/validation" in out


@needs_files
def test_summary_as_json(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    training.stop()
    with phasescope.attach(training.pid, directory=training.directory) as reader:
        session_id = reader.constants["session_id"]
    data = json.loads(run("summary", session_id[:13], "--json")[1])
    assert (data["state"], data["session_id"], data["events_dropped"]) == ("stopped", session_id, 0)
    assert [row["path"] for row in data["phases"]][:2] == [["epoch"], ["epoch", "data"]]
    data_row = data["phases"][1]
    assert (data_row["count"], data_row["exhausted"], data_row["open"]) == (3, 1, 0)
    assert data["backends"] == ["cpu"]


def test_summary_tail_and_their_json_read_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "run.jsonl", steps(3))
    path.write_bytes(path.read_bytes() + b"{}\n")
    assert cli.main(["summary", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("train\nstopped")
    assert "step" in said
    assert "run.jsonl: line 9: schema_version is missing" in said
    assert cli.main(["summary", str(path), "--json"]) == 0
    summed = json.loads(capsys.readouterr().out)
    assert (summed["state"], summed["events"], summed["damaged"]) == ("stopped", 6, 1)
    assert summed["problems"] == ["run.jsonl: line 9: schema_version is missing; it must be the int 3"]
    assert cli.main(["tail", str(path), "--all", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == steps(3)
    assert cli.main(["tail", str(path), "-n", "2", "--no-follow", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == steps(3)[-2:]


def test_a_recording_that_breaks_off_is_not_said_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in steps(3)))
    assert cli.main(["summary", str(path)]) == 0
    said = capsys.readouterr().out
    assert "how the session ended is not in it" in said
    assert "running" not in said


def test_a_summary_shows_the_phases_that_were_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend, clock = FakeBackend(), FakeClock()
    path = tmp_path / "run.jsonl"
    with phasescope.start(backends=[backend], clock=clock, record=path):
        for _ in range(2):
            with phasescope.phase("step"):
                for block, mib in (("small", 1), ("large", 300)):
                    with phasescope.phase(block), phasescope.phase("attention"):
                        backend.allocate(mib * 2**20)
                        clock.advance(ms=5)
                    backend.allocate(-mib * 2**20)

    def table(*options: str) -> tuple[list[str], str]:
        assert cli.main(["summary", str(path), *options]) == 0
        said = capsys.readouterr().out
        lines = said.partition("phase ")[2].splitlines()[1:]
        return [line.partition("  ")[0] if line[0] != " " else line.split()[0] for line in lines if "ms" in line], said

    names, said = table()
    assert names == ["step", "small", "attention", "large", "attention"]
    assert "phases shown" not in said
    assert table("--depth", "2")[0] == ["step", "small", "large"]
    names, said = table("--sort", "peak", "--limit", "3")
    assert set(names) == {"step", "step/large", "step/large/attention"}
    assert "3 of 5 phases shown" in said
    assert cli.main(["summary", str(path), "--json", "--limit", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)["phases"]) == 5
    for wrong in (["--depth", "0"], ["--limit", "x"], ["--sort", "name"]):
        assert cli.main(["summary", str(path), *wrong]) == 2
    assert "'0' is not a whole number from 1" in capsys.readouterr().err
