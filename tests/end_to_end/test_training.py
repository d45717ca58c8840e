"""The main job as a user does it: a real training, looked at from a second process, killed, and read again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

import phasescope
from support.waiting import CEILING_S

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[2] / "examples"

TRAINING = """
import sys
import torch
import phasescope
from phasescope import phase

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = [(torch.randn(16, 32), torch.randint(0, 2, (16,))) for _ in range(10)]
phasescope.start()
print("ready", flush=True)
epoch = 0
while True:
    with phase("epoch", n=epoch):
        for inputs, targets in phasescope.track(loader, name="data"):
            with phase("forward"):
                loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            with phase("backward"):
                optimizer.zero_grad()
                loss.backward()
            with phase("optimizer"):
                optimizer.step()
    epoch += 1
"""


def phasescope_command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "phasescope", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def lines_until(stream: IO[str], wanted: str, most: int = 5000) -> list[str]:
    lines: list[str] = []
    for _ in range(most):
        line = stream.readline()
        lines.append(line)
        if not line or wanted in line:
            break
    return lines


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PHASESCOPE_DIR", str(tmp_path / "rings"))
    process = subprocess.Popen([sys.executable, "-c", TRAINING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_follows_it_live_and_reads_it_after_it_was_killed(training: subprocess.Popen[str]) -> None:
    pid = str(training.pid)
    with phasescope_command("tail", pid, "--json", "-n", "0") as tail:
        assert tail.stdout is not None
        events = [json.loads(tail.stdout.readline()) for _ in range(40)]
        for event in events:
            phasescope.validate_event(event)
        paths = {"/".join(event["metadata"]["phase_scope"]["path"]) for event in events}
        assert {"epoch/data", "epoch/forward", "epoch/backward", "epoch/optimizer"} <= paths
        assert training.poll() is None, "it was followed while it ran"

        os.kill(training.pid, signal.SIGKILL)
        training.wait()
        rest = tail.stdout.read()  # not `communicate`, which would leave out what `readline` has buffered
        _, remarks = tail.communicate(timeout=CEILING_S)
        assert tail.returncode == 0
        assert all(json.loads(line)["pid"] == training.pid for line in rest.splitlines())
        assert "killed or crashed" in remarks

    with phasescope_command("summary", pid) as summary:
        text, _ = summary.communicate(timeout=CEILING_S)
    assert summary.returncode == 0
    assert "killed or crashed" in text
    for name in ("epoch", "data", "forward", "backward", "optimizer"):
        assert re.search(rf"^ *{name} +\d", text, re.MULTILINE), text

    with phasescope.attach(training.pid) as reader:
        assert reader.state == "dead"
        rows = {row.path: row for row in reader.summary().rows}
        forwards, backwards = rows["epoch", "forward"].count, rows["epoch", "backward"].count
        assert forwards - backwards in (0, 1), "each was written before the next began"


def test_ls_names_it_alive_and_dead(training: subprocess.Popen[str]) -> None:
    def listed() -> dict[str, Any]:
        with phasescope_command("ls", "--json") as ls:
            text, _ = ls.communicate(timeout=CEILING_S)
        sessions: list[dict[str, Any]] = json.loads(text)
        assert [session["pid"] for session in sessions] == [training.pid]
        return sessions[0]

    alive = listed()
    for _ in range(20):  # between two epochs no phase is open
        alive = alive if alive["phase"] is not None else listed()
    assert alive["state"] == "running"
    assert alive["phase"] is not None
    assert alive["phase"][0] == "epoch"
    assert alive["allocated_bytes"] > 50 * 2**20, "torch alone takes more"
    training.kill()
    training.wait()
    assert listed()["state"] == "dead"


def test_the_plain_torch_example_runs_and_prints_its_table(tmp_path: Path) -> None:
    environment = {**os.environ, "PHASESCOPE_DIR": str(tmp_path / "rings")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "plain_torch.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=CEILING_S,
        check=True,
    )
    assert done.stderr == ""
    # 3 epochs of 4,096 samples in batches of 64
    assert re.search(r"^epoch +3 ", done.stdout, re.MULTILINE)
    for name in ("data", "forward", "backward", "optimizer"):
        assert re.search(rf"^  {name} +192 ", done.stdout, re.MULTILINE), done.stdout
