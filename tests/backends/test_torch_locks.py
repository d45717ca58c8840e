"""The sampler never waits for an allocator that waits for Python, and leaves one alone that made it wait."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.built import build
from support.waiting import CEILING_S

HERE = Path(__file__).parent
SOURCE = HERE.parent / "support" / "fakes" / "locking_allocator.c"
HANGS_S = 20
"""Without the guard it hung within the first hundred allocations, which take milliseconds."""

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="built as on Linux"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(SOURCE, tmp_path_factory.mktemp("library"))


def trained(library: Path, name: str, folder: Path, timeout_s: float = CEILING_S) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(HERE / "scripts" / "locking_training.py"), str(library), name],
        env={**os.environ, "PHASESCOPE_DIR": str(folder), "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    return told


def test_an_allocator_that_calls_python_is_not_waited_for(library: Path, tmp_path: Path) -> None:
    told = trained(library, "told", tmp_path)
    assert told["asked"] == 0
    assert (told["allocated"], told["samples"] > 0) == (3 << 30, True)  # the last boundary's


def test_that_could_have_hung(library: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        trained(library, "untold", tmp_path, HANGS_S)


def test_after_a_slow_reading_the_sampler_leaves_the_allocator_alone(library: Path, tmp_path: Path) -> None:
    told = trained(library, "slow", tmp_path)
    assert told["slow"] == 1  # and not once for each of the four long allocations
