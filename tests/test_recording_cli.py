"""`phasescope record` and `convert`, and the other commands over recordings: in real second processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import phasescope
from made_recordings import steps, write
from phasescope import attach, cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY = """
import sys, time
import phasescope
from phasescope import phase

seconds, per_second = float(sys.argv[1]), int(sys.argv[2])
session = phasescope.start(backends=["cpu"])
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
count = 0
while (passed := time.perf_counter() - began) < seconds:
    while count < passed * per_second / 2:
        with phase("step"):
            count += 1
    time.sleep(0.005)
session.stop()
print(session.written, session.dropped, flush=True)
"""


class Started:
    """Starts processes that do not outlive the test."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def training(self, seconds: float, per_second: int) -> subprocess.Popen[str]:
        """One that has said it is ready."""
        process, line = self._start("-c", BUSY, str(seconds), str(per_second))
        assert line == "ready\n"
        return process

    def recorder(self, pid: int, path: Path) -> subprocess.Popen[str]:
        """`phasescope record`, once it has begun."""
        process, line = self._start("-m", "phasescope", "record", str(pid), "-o", str(path))
        assert line.startswith("recording session")
        return process

    def _start(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline()


@pytest.fixture
def started() -> Iterator[Started]:
    started = Started()
    yield started
    for process in started.processes:
        process.kill()
        process.communicate()


def test_a_busy_training_is_recorded_from_outside_without_a_loss(tmp_path: Path, started: Started) -> None:
    path = tmp_path / "run.jsonl"
    training = started.training(3, 10_000)
    recorder = started.recorder(training.pid, path)
    said, _ = training.communicate("go\n", timeout=60)
    report, _ = recorder.communicate(timeout=60)
    written, dropped = map(int, said.split())
    assert recorder.returncode == 0
    assert written > 20_000
    assert dropped == 0
    with attach(path) as reader:
        assert len(reader.events()) == written
        assert (reader.missed, reader.damaged, reader.state) == (0, 0, "stopped")
    assert f"{written:,} events recorded" in report


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_ends_the_recording_well_and_leaves_the_training_alone(
    tmp_path: Path, started: Started, number: int
) -> None:
    path = tmp_path / "run.jsonl.gz"
    training = started.training(0.5, 1000)
    recorder = started.recorder(training.pid, path)
    recorder.send_signal(number)
    recorder.communicate(timeout=30)
    assert recorder.returncode == 0
    with attach(path) as reader:
        assert reader.state == "unknown"
        assert [event["event_type"] for event in reader.events(last=None)][:1] == ["start"]
        assert reader.damaged == 0
    training.communicate("go\n", timeout=30)
    assert training.returncode == 0


def test_a_training_that_is_killed_is_dead_in_its_recording(tmp_path: Path, started: Started) -> None:
    path = tmp_path / "run.jsonl"
    training = started.training(60, 1000)
    recorder = started.recorder(training.pid, path)
    training.kill()
    training.communicate()
    recorder.communicate(timeout=30)
    with attach(path) as reader:
        assert reader.state == "dead"


def test_record_ends_after_the_time_it_was_given(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"]) as session:
        began = time.monotonic()
        assert cli.main(["record", str(session.pid), "-o", str(tmp_path / "run.jsonl"), "--seconds", "0.2"]) == 0
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["record", "-o", "run.parquet"], 2, "writes JSONL"),
        (["record", "-o", "run.csv"], 2, "record writes .jsonl"),
        (["record", "-o", "run.jsonl", "--max-bytes", "12"], 2, "is no size"),
        (["record", "-o", "run.jsonl", "--seconds", "-1"], 2, "is no number of seconds"),
        (["record", "-o", "run.jsonl"], 1, "no session"),
        (["convert", "missing.jsonl", "run.parquet"], 1, "missing.jsonl"),
        (["convert", "a.jsonl", "run.csv"], 2, "says no format"),
        (["convert", "a.jsonl", "a.jsonl"], 2, "exists"),
        (["convert", "a.jsonl", "a.jsonl", "b.parquet"], 2, "one session"),
        (["convert", "config.jsonl", "b.parquet"], 1, "no event in config.jsonl"),
        (["convert", "a.jsonl", "nowhere/b.parquet"], 1, "nowhere/b.parquet: there is no folder"),
        (["record", "a.jsonl", "-o", "config.jsonl"], 2, "holds no recording"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", steps(2))
    (tmp_path / "config.jsonl").write_text('{"lr": 1}\n')
    assert cli.main(arguments) == code
    assert text in capsys.readouterr().err.splitlines()[-1]


def test_a_package_that_is_missing_is_named_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write(tmp_path / "a.jsonl", steps(2)))
    packed = str(write(tmp_path / "a.jsonl.zst", steps(2)))
    for module in ("pyarrow", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    for arguments, extra in (
        (["convert", source, str(tmp_path / "b.parquet")], "parquet"),
        (["convert", source, str(tmp_path / "b.jsonl.zst")], "zstd"),
        (["summary", packed], "zstd"),
    ):
        assert cli.main(arguments) == 3
        assert f"pip install 'phasescope[{extra}]'" in capsys.readouterr().err


def test_convert_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", steps(2))
    other = steps(1)[0] | {"session_id": "other"}
    path.write_bytes(json.dumps(other).encode() + b"\n{}\n" + path.read_bytes())
    assert cli.main(["convert", str(path), str(tmp_path / "b.jsonl.gz")]) == 0
    said = capsys.readouterr().out
    assert "4 events in" in said
    assert "1 damaged place left out" in said
    assert "a.jsonl: line 2: schema_version is missing" in said
    assert f"1 event of session other left out; {path}#other names it" in said


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
