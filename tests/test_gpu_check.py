"""scripts/gpu_check.py on a machine without a GPU, and as whole processes on one where torch and NVML are fakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "gpu_check.py"
MACHINE = ROOT / "tests" / "fakes" / "gpu_machine"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="one of the checks forks")


def check(
    *arguments: str, machine: Path | None = None, fault: str = "", only: str = ""
) -> subprocess.CompletedProcess[str]:
    """The script, run on this machine or on a fake one that has something wrong; `only`: one check by itself."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if machine is not None:
        smi = machine / "nvidia-smi"
        smi.write_text(f"#!{sys.executable}\nimport sys, sitecustomize\nprint(sitecustomize.smi(sys.argv[1:]))\n")
        smi.chmod(0o755)
        environment |= {
            "PYTHONPATH": os.pathsep.join(map(str, (MACHINE, ROOT / "tests", ROOT / "src"))),
            "FAKE_GPU_MACHINE": str(machine),
            "FAKE_GPU_FAULT": fault,
            "PATH": f"{machine}{os.pathsep}{os.environ['PATH']}",
        }
    command = [sys.executable, str(SCRIPT), *arguments, *(("--check", only) if only else ())]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_machine_without_a_gpu_is_said_so_and_what_is_missing() -> None:
    done = check()
    if done.returncode == 0:
        pytest.skip("this machine has one")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "can not be checked" in done.stderr
    assert "libnvidia-ml" in done.stderr


def test_on_a_machine_with_one_all_checks_hold(tmp_path: Path) -> None:
    """The cost is not a GPU's here, nor a quiet machine's."""
    done = check("--budget-us", "5000", "--markdown", machine=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OFF" not in done.stdout
    assert done.stdout.count("| ok |") >= 24
    for what in ("peak of the phase 'outer'", "other processes, told apart", "device time of a phase", "forked worker"):
        assert any(what in line and line.startswith("| ok |") for line in done.stdout.splitlines()), what


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
    done = check("--device", "7", "--only", "allocation", machine=tmp_path)
    assert done.returncode == 1
    assert "OFF  allocation  exit code 1" in done.stdout
