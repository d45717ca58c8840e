"""What `phasescope explain` says of real processes whose memory grows, or only seems to."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import explained_in
from support.waiting import CEILING_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux counts it")

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
SCRIPT = Path(__file__).parent / "scripts" / "growing.py"
MIB = 2**20


def explained(name: str, directory: Path) -> tuple[dict[str, Any], int]:
    """The explanation of that script as data, and the exit code of the command."""
    environment = {**os.environ, "PHASESCOPE_DIR": str(directory), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), name]
    subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=CEILING_S, check=False
    )
    return explained_in(directory)


@pytest.mark.parametrize("name", [pytest.param("short", marks=needs_torch), "mapped", "loading"])
def test_a_healthy_training_is_healthy(name: str, tmp_path: Path) -> None:
    """A short one, one that reads a mapped file once, one that loads its data in phases before it begins."""
    answer, exit_code = explained(name, tmp_path)
    assert answer["cause"]["kind"] == "none", answer["cause"]["text"]
    assert exit_code == 0


def test_a_program_that_dies_while_it_starts_up_is_told_its_exception_and_no_leak(tmp_path: Path) -> None:
    answer, _ = explained("start_up", tmp_path)
    assert answer["cause"]["kind"] == "exception"
    assert "ModuleNotFoundError" in answer["cause"]["text"]
    assert answer["growth"] == []
    assert any("no phase had begun when it ended" in line for line in answer["unknown"])


def test_a_leak_beside_a_mapped_file_is_told_at_its_own_rate(tmp_path: Path) -> None:
    answer, exit_code = explained("mapped_and_leaking", tmp_path)
    assert (answer["cause"]["kind"], exit_code) == ("growth", 4)
    assert answer["growth"][0]["bytes_per_step"] == pytest.approx(MIB / 2, rel=0.2)


def test_batches_that_differ_do_not_hide_who_keeps_what(tmp_path: Path) -> None:
    answer, _ = explained("varying", tmp_path)
    growing = answer["growth"][0]
    assert growing["grows"]
    assert growing["phases"] == [["step"]]
    assert growing["bytes_per_step"] == pytest.approx(2 * MIB, rel=0.1)


@needs_torch
def test_workers_that_copy_on_write_what_they_read_are_found(tmp_path: Path) -> None:
    """Their resident sets are flat all the while."""
    answer, exit_code = explained("copied_on_write", tmp_path)
    assert (answer["cause"]["kind"], exit_code) == ("workers_grow", 4)
    assert "data workers" in answer["cause"]["text"]
    growing = next(growth for growth in answer["growth"] if growth["device"] == "workers")
    assert len(growing["children"]["growing"]) == growing["children"]["alive"] == 2


@needs_torch
def test_workers_that_are_left_behind_are_counted(tmp_path: Path) -> None:
    answer, _ = explained("left_behind", tmp_path)
    assert answer["cause"]["kind"] == "workers_grow"
    growing = next(growth for growth in answer["growth"] if growth["device"] == "workers")
    assert growing["children"]["left_behind"]
    assert (growing["children"]["alive"], growing["children"]["starts"]) == (12, 6)


def test_an_evaluation_that_gathers_all_it_predicts_is_named_although_it_has_no_steps(tmp_path: Path) -> None:
    answer, exit_code = explained("evaluating", tmp_path)
    assert exit_code == 4
    assert "evaluate was open" in answer["cause"]["text"]
    assert not any(growth["grows"] for growth in answer["growth"])
