"""`phasescope record`, in real second processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import attach, cli
from support.recordings import steps, write
from support.waiting import CEILING_S

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
    said, _ = training.communicate("go\n", timeout=CEILING_S)
    report, _ = recorder.communicate(timeout=CEILING_S)
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
    recorder.communicate(timeout=CEILING_S)
    assert recorder.returncode == 0
    with attach(path) as reader:
        assert reader.state == "unknown"
        assert [event["event_type"] for event in reader.events(last=None)][:1] == ["start"]
        assert reader.damaged == 0
    training.communicate("go\n", timeout=CEILING_S)
    assert training.returncode == 0


def test_a_training_that_is_killed_is_dead_in_its_recording(tmp_path: Path, started: Started) -> None:
    path = tmp_path / "run.jsonl"
    training = started.training(60, 1000)
    recorder = started.recorder(training.pid, path)
    training.kill()
    training.communicate()
    recorder.communicate(timeout=CEILING_S)
    with attach(path) as reader:
        assert reader.state == "dead"


def test_record_ends_after_the_time_it_was_given(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"]) as session:
        began = time.monotonic()
        assert cli.main(["record", str(session.pid), "-o", str(tmp_path / "run.jsonl"), "--seconds", "0.2"]) == 0
        assert time.monotonic() - began < CEILING_S / 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["record", "-o", "run.parquet"], 2, "writes JSONL"),
        (["record", "-o", "run.csv"], 2, "record writes .jsonl"),
        (["record", "-o", "run.jsonl", "--max-bytes", "12"], 2, "is not a size"),
        (["record", "-o", "run.jsonl", "--seconds", "-1"], 2, "is not a number of seconds"),
        (["record", "-o", "run.jsonl"], 1, "no session"),
        (["convert", "missing.jsonl", "run.parquet"], 1, "missing.jsonl"),
        (["convert", "a.jsonl", "run.csv"], 2, "unknown file extension"),
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
