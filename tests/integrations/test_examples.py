"""Every example runs as it is, on the CPU and without a network, and shows the phases that it is about."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import phasescope
from support.commands import python
from support.scenarios import phases_in

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parents[2]


class Example(NamedTuple):
    """What an example needs, and its phases, as paths."""

    needs: str
    phases: str
    launcher: tuple[str, ...] = ()


EXAMPLES = {
    "torch_ddp": Example(
        "torch",
        "epoch epoch/data epoch/forward epoch/backward epoch/optimizer",
        ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    ),
    "keras_fit": Example("jax", "fit fit/epoch fit/epoch/batch fit/epoch/validation fit/epoch/validation/batch"),
    "lightning_fit": Example(
        "lightning",
        "fit fit/setup fit/epoch fit/epoch/data fit/epoch/batch fit/epoch/batch/forward fit/epoch/batch/backward "
        "fit/epoch/batch/optimizer",
    ),
    "hugging_face": Example(
        "transformers",
        "train train/setup train/epoch train/epoch/data train/epoch/step train/epoch/step/forward "
        "train/epoch/step/backward train/epoch/step/optimizer",
    ),
    "tensorflow_loop": Example("tensorflow", "epoch epoch/data epoch/forward epoch/backward epoch/optimizer"),
    "jax_loop": Example("jax", "epoch epoch/data epoch/forward_backward epoch/optimizer"),
    "leaking_loop": Example("torch", "step step/forward step/bookkeeping"),
}
BY_THEMSELVES = {"out_of_memory", "plain_torch"}
"""Of which the latter is run by test_end_to_end.py."""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PHASESCOPE_DIR": str(folder / "rings"),
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return python(folder, *command, **environment)


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {*EXAMPLES, *BY_THEMSELVES}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_and_shows_its_phases(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    if importlib.util.find_spec(example.needs) is None:
        pytest.skip(f"needs {example.needs}")
    done = run(tmp_path, *example.launcher, str(ROOT / "examples" / f"{name}.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nphase ") == 1, "of several processes one shows its table"
    for ring in (tmp_path / "rings").glob("*.ring"):
        with phasescope.attach(ring) as reader:
            phases = phases_in(reader.events())
        assert set(phases) == set(example.phases.split()), "these, and each ended as it should"
    if name == "leaking_loop":
        told = run(tmp_path, "-m", "phasescope", "explain").stdout
        assert re.search(r"step/forward shows \+[\d.]+ [KM]iB", told), told


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its address space as Linux does")
def test_explain_tells_where_the_greedy_loop_ran_out_of_memory(tmp_path: Path) -> None:
    done = run(tmp_path, str(ROOT / "examples" / "out_of_memory.py"))
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("MemoryError")
    told = run(tmp_path, "-m", "phasescope", "explain").stdout
    assert re.search(r"out of memory on the host, in step/(data|forward)", told), told
    assert "RLIMIT_AS" in told
