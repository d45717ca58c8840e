"""A real torchrun over two hosts, each with rings of its own and a clock of its own, recorded into one dataset."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from phasescope.cli import main
from support import hosts
from support.waiting import CEILING_S

_WHY_NOT = hosts.why_not()
pytestmark = [
    pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT)),
    *(
        pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")
        for name in ("torch", "duckdb", "pyarrow")
    ),
]

SCRIPT = Path(__file__).parent / "scripts" / "two_hosts_ddp.py"
STEPS, SLOW, AHEAD_S = 24, 3, 90
PORT = "29500"
RECORD = """
import pathlib, sys
from phasescope.cli import main
for ring in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    assert main(["record", str(ring), "--dataset", sys.argv[2]]) == 0
"""


class Job(NamedTuple):
    job_id: str
    dataset: Path
    rings: tuple[Path, Path]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return a job of two hosts with two ranks each, that is over."""
    folder = tmp_path_factory.mktemp("job")
    rings = folder / "rings-1", folder / "rings-2"
    with hosts.two_hosts() as both:
        nodes = [
            subprocess.Popen(
                host.command(
                    *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"),
                    *(f"--node-rank={number}", f"--master-addr={both[0].address}", f"--master-port={PORT}"),
                    *(str(SCRIPT), str(SLOW), str(number + 1), str(AHEAD_S)),
                ),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "PHASESCOPE_DIR": str(rings[number]),
                    "GLOO_SOCKET_IFNAME": hosts.DEVICE,
                    "OMP_NUM_THREADS": "1",
                },
            )
            for number, host in enumerate(both)
        ]
        try:
            for node in nodes:
                _, err = node.communicate(timeout=CEILING_S)
                assert node.returncode == 0, err
        finally:
            for node in nodes:
                node.kill()
                node.wait()
        for number, host in enumerate(both):
            command = host.command(sys.executable, "-c", RECORD, str(rings[number]), str(folder / "fleet"))
            subprocess.run(command, check=True, timeout=CEILING_S, capture_output=True)
    return Job(f"{both[0].address}:{PORT}", folder / "fleet", rings)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


@pytest.mark.parametrize("place", ["the dataset", "the rings of both"])
def test_four_ranks_on_two_hosts_are_one_job(place: str, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    where = [str(job.dataset)] if place == "the dataset" else list(map(str, job.rings))
    data = told(capsys, "ranks", *where)
    assert (data["job_id"], data["world_size"], data["missing"]) == (job.job_id, 4, [])
    assert data["hosts"] == ["node-1", "node-2"]
    assert [(row["rank"], row["host"], row["steps"]) for row in data["ranks"]] == [
        *((0, "node-1", STEPS), (1, "node-1", STEPS), (2, "node-2", STEPS), (3, "node-2", STEPS)),
    ]
    assert {row["ending"]["kind"] for row in data["ranks"]} == {"finished"}
    (slow,) = [phase["slowest"] for phase in data["imbalances"] if phase["path"] == ["step", "data"]]
    assert slow["rank"] == SLOW
    assert data["behind"] is None


@pytest.mark.parametrize("place", ["the dataset", "the rings of both"])
def test_a_clock_that_is_ahead_is_told_and_taken_off(place: str, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    where = [str(job.dataset)] if place == "the dataset" else list(map(str, job.rings))
    clocks = told(capsys, "ranks", *where)["clocks"]
    assert clocks["aligned"]
    assert clocks["shift_ns"]["node-1"] == 0
    assert clocks["shift_ns"]["node-2"] == pytest.approx(AHEAD_S * 1e9, abs=1e9)
    assert clocks["text"].startswith("clocks aligned to node-1 by matching phases (node-2: -1.50 min")


def test_a_rank_of_either_host_is_summed_up_and_compared_by_its_number(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, host in ((1, "node-1"), (SLOW, "node-2")):
        data = told(capsys, "summary", f"{job.dataset}#r={rank}")
        assert (data["rank"], data["host"], data["world_size"]) == (rank, host, 4)
    phases = told(capsys, "compare", f"{job.dataset}#r=0", f"{job.dataset}#r={SLOW}")["phases"]
    (changes,) = [phase["changes"] for phase in phases if phase["path"] == ["step", "data"]]
    (time,) = [change for change in changes if change["metric"] == "time"]
    assert time["verdict"] == "worse"
    assert time["difference"] > 50e6
