"""A real job of three processes with DDP: its recordings and its rings tell which rank is slow and which is fat."""

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
from support.waiting import CEILING_S

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the ranks are trained with torch"),
    pytest.mark.skipif(sys.platform != "linux", reason="ring files of other processes"),
]

SCRIPT = Path(__file__).parent / "scripts" / "ranks_ddp.py"
WORLD, SLOW, FAT, STEPS = 3, 1, 2, 24


class Trained(NamedTuple):
    recordings: Path
    rings: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The files of a job that has ended; as torchrun starts it, one process a rank."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "recordings").mkdir()
    ranks = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(WORLD),
                "TORCHELASTIC_RUN_ID": "real",
                "PHASESCOPE_DIR": str(folder / "rings"),
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(WORLD)
    ]
    try:
        for process in ranks:
            _, err = process.communicate(timeout=CEILING_S)
            assert process.returncode == 0, err
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    return Trained(folder / "recordings", folder / "rings")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["ranks", *arguments, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def outlier(data: dict[str, Any], path: str, which: str) -> dict[str, Any]:
    found: dict[str, Any] = next(phase for phase in data["imbalances"] if phase["path"] == path.split("/"))[which]
    assert found is not None, f"no {which} rank in {path}"
    return found


@pytest.mark.parametrize("kind", ["recordings", "rings"])
def test_the_slow_rank_the_fat_rank_and_who_waits_are_told(
    kind: str, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    data = told(capsys, str(getattr(trained, kind)))
    assert (data["job_id"], data["world_size"], data["missing"]) == ("real", WORLD, [])
    assert [row["steps"] for row in data["ranks"]] == [STEPS] * WORLD
    assert {row["ending"]["kind"] for row in data["ranks"]} == {"finished"}
    slow = outlier(data, "step/data", "slowest")
    assert slow["rank"] == SLOW
    assert slow["difference"] > 80e6
    assert outlier(data, "step/backward", "quickest")["rank"] == SLOW
    fat = outlier(data, "step/forward", "fattest")
    assert fat["rank"] == FAT
    assert fat["difference"] == pytest.approx(256 * 2**20, rel=0.2)
    assert data["behind"] is None
    assert data["clocks"]["text"] == "one clock"


def test_rings_and_recordings_of_the_job_say_the_same(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    by_ring, recorded = (told(capsys, str(place)) for place in trained)
    assert recorded["imbalances"] == by_ring["imbalances"]
    assert recorded["step_ns"] == by_ring["step_ns"]
    both = told(capsys, *map(str, trained))
    assert [row["rank"] for row in both["ranks"]] == list(range(WORLD))


def test_a_person_reads_it_in_one_screen(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ranks", str(trained.recordings)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("job real: 3 of 3 ranks on ")
    assert any(line.startswith(f"rank {SLOW} is slow in step/data") for line in lines)
    assert any(line.startswith(f"rank {FAT} uses the most in step/") for line in lines)
    assert any(line.startswith(f"in step/backward the others wait for rank {SLOW}") for line in lines)
    assert len(lines) < 24
