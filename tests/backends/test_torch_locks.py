"""The sampler never waits for an allocator that waits for Python, and leaves one alone that made it wait."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.built import build
from support.waiting import CEILING_S

HERE = Path(__file__).parent
SOURCE = HERE.parent / "support" / "fakes" / "locking_allocator.c"
STANDS_S = 3.0
"""Without the guard it hung within the first hundred allocations, each of which takes a millisecond."""

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="built as on Linux"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(SOURCE, tmp_path_factory.mktemp("library"))


def training(library: Path, name: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "scripts" / "locking_training.py"), str(library), name],
        env={**os.environ, "PHASESCOPE_DIR": str(folder), "PYTHONPATH": str(HERE.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trained(library: Path, name: str, folder: Path) -> dict[str, int]:
    with training(library, name, folder) as process:
        out, errors = process.communicate(timeout=CEILING_S)
    assert process.returncode == 0, errors
    told: dict[str, int] = json.loads(out)
    return told


def test_an_allocator_that_calls_python_is_not_waited_for(library: Path, tmp_path: Path) -> None:
    told = trained(library, "told", tmp_path)
    assert told["asked"] == 0
    assert (told["allocated"], told["samples"] > 0) == (3 << 30, True)  # the last boundary's


def test_that_could_have_hung(library: Path, tmp_path: Path) -> None:
    with training(library, "untold", tmp_path) as process:
        assert process.stderr is not None
        progress = process.stderr.fileno()
        told, more = b"", b"\n"
        while more and select.select([progress], [], [], STANDS_S if told.endswith(b".") else CEILING_S)[0]:
            more = os.read(progress, 1 << 16)
            told += more
        process.kill()
    assert more, f"it did not stand, but ended after {told!r}"
    assert told.endswith(b".")


def test_after_a_slow_reading_the_sampler_leaves_the_allocator_alone(library: Path, tmp_path: Path) -> None:
    told = trained(library, "slow", tmp_path)
    assert told["slow"] == 1  # and not once for each of the four long allocations
