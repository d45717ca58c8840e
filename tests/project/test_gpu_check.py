"""scripts/gpu_check.py on a machine without a GPU, and as whole processes on one where torch and NVML are fakes."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_check.py"
MACHINE = ROOT / "tests" / "support" / "fakes" / "gpu_machine"

_spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
gpu_check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gpu_check)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="one of the checks forks")


def environment(machine: Path, fault: str = "") -> dict[str, str]:
    """Return that of a fake machine in this folder, which may have something wrong."""
    smi = machine / "nvidia-smi"
    smi.write_text(f"#!{sys.executable}\nimport sys, sitecustomize\nprint(sitecustomize.smi(sys.argv[1:]))\n")
    smi.chmod(0o755)
    return {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join(map(str, (MACHINE, ROOT / "tests", ROOT / "src"))),
        "FAKE_GPU_MACHINE": str(machine),
        "FAKE_GPU_FAULT": fault,
        "PATH": f"{machine}{os.pathsep}{os.environ['PATH']}",
    }


def check(
    *arguments: str, machine: Path | None = None, fault: str = "", only: str = ""
) -> subprocess.CompletedProcess[str]:
    """Return the script, run on this machine or on a fake one; `only`: one block by itself."""
    here = {**os.environ, "PYTHONWARNINGS": "ignore"} if machine is None else environment(machine, fault)
    command = [sys.executable, str(SCRIPT), *arguments, *(("--check", only) if only else ())]
    return subprocess.run(command, env=here, capture_output=True, text=True, timeout=4 * CEILING_S, check=False)


def test_a_machine_without_a_gpu_is_said_so_and_what_is_missing() -> None:
    done = check()  # nothing is written: there is nothing to write
    if done.returncode == 0:
        pytest.skip("this machine has one")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "cannot be checked" in done.stderr
    assert "libnvidia-ml" in done.stderr


def test_on_a_machine_with_one_all_blocks_run_and_hold(tmp_path: Path) -> None:
    """The cost is not a GPU's here, nor a quiet machine's; a block that needs more of torch than is faked says so."""
    results = tmp_path / "results.jsonl"
    done = check("--budget-us", "50000", "--markdown", "--results", str(results), machine=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OFF" not in done.stdout
    assert done.stdout.count("| ok |") >= 36
    shortages = (
        "out of memory in forward",
        "a limit of the process's own",
        "memory in pieces",
        "beside another process",
    )
    figures = ("peak of the phase 'outer'", "other processes, told apart", "device time of a phase", "forked worker")
    for what in (*shortages, *figures, "a graph captured beside device times", "gaps of another thread"):
        assert any(what in line and line.startswith("| ok |") for line in done.stdout.splitlines()), what
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    assert kept[0]["machine"]
    assert [line["block"] for line in kept[1:]] == list(gpu_check.BLOCKS)
    assert all(line["rows"] for line in kept[1:])
    (counts,) = [row for line in kept[1:] for row in line["rows"] if row[0] == "its retries"]
    assert counts[1:4] == ["unknown", "cudaMallocAsync", True]  # that allocator was in use, and not torch's own


@pytest.fixture(scope="module")
def train() -> Callable[[str], Any]:
    """Return what trains as the costs do: it gives the times of three steps, and the loss."""
    torch = pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        costs = importlib.import_module("gpu_checks.costs")
    return functools.partial(costs._trained, torch, -1, 32, 2, 3)


@pytest.fixture(scope="module")
def plain(train: Callable[[str], Any]) -> Any:
    return train("off")


@pytest.mark.parametrize("how", ["off", "on", "instrument", "all options"])
def test_the_step_of_its_costs_is_the_same_on_the_hosts_torch(
    how: str, train: Callable[[str], Any], plain: Any
) -> None:
    """What needs no GPU of the blocks that a fake torch cannot run: the step itself, and its loss to the bit."""
    loss = train(how)
    assert loss[1] == plain[1]
    assert (len(loss[0]), len(plain[0])) == (3, 3)


def test_the_fillers_of_its_shortages_run_on_the_hosts_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little room, so that nothing runs out: none has a slip that a GPU would be the first to find."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    shortages = importlib.import_module("gpu_checks.shortages")
    rows = importlib.import_module("gpu_checks.rows")
    monkeypatch.setattr(shortages, "_room", lambda *_: 1 << 20)
    for _, fill, needs in shortages.STEPS[1:]:
        assert rows.lacks(torch, *needs) == ""
        fill(torch, rows.Setting(-1, 1 << 16, 25.0))


def test_what_the_budget_does_not_reach_is_said(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    blocks = ("untouched", "peaks")
    done = check("--budget", "0", "--results", str(results), "--only", *blocks, machine=tmp_path)
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    spent = ["", "", None, "not run: the budget was spent"]
    assert [line["rows"] for line in kept[1:]] == [[[block, *spent]] for block in blocks]
    assert (done.returncode, done.stdout.count("not run")) == (0, 2)


def test_a_block_is_written_before_the_next_one_begins(tmp_path: Path) -> None:
    """The script is killed in its second block; what the first one measured is there."""
    results = tmp_path / "results.jsonl"
    arguments = ["--results", str(results), "--only", "untouched", "two_processes"]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], env=environment(tmp_path))
    until(lambda: results.exists() and results.read_text().count("\n") == 2)
    process.kill()
    process.wait()
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line.get("block") for line in lines] == [None, "untouched"]
    assert lines[1]["rows"][0][3] is True


@pytest.mark.parametrize(
    ("fault", "name", "what"),
    [
        ("allocated", "allocation", "allocated, against memory_stats()"),
        ("free", "device_memory", "free, against nvidia-smi"),
        ("device time", "device_time", "device time of a phase"),
        ("cuda is touched", "untouched", "torch.cuda before the user touches it"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, fault: str, name: str, what: str) -> None:
    done = check(machine=tmp_path, fault=fault, only=name)
    assert done.returncode == 0, done.stderr
    assert f'["{what}"' in done.stdout
    row = done.stdout[done.stdout.index(f'["{what}"') :]
    assert ", false, " in row[: row.index("]")]


def test_a_check_that_breaks_is_off(tmp_path: Path) -> None:
    done = check("--device", "7", "--results", str(tmp_path / "results"), "--only", "allocation", machine=tmp_path)
    assert done.returncode == 1
    assert "OFF  allocation  exit code 1" in done.stdout
