"""Under `phasescope run` each child that trains has a session of its own, with its rank, and breaks nothing."""

from __future__ import annotations

import base64
import importlib.util
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import phasescope
from phasescope.capture.sent_run import Carried, Run
from support.scenarios import SCRIPTS, phases_in
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

SCRIPT = SCRIPTS / "starts_children.py"
STEP = ["epoch/step/forward", "epoch/step/backward", "epoch/step/optimizer"]


class Told(NamedTuple):
    """What a session says: its rank and world size, its job, how it ended, and its phases."""

    rank: int
    world_size: int
    job: str | None
    state: str
    phases: set[str]
    pid: int


def run(folder: Path, *arguments: str, under: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["-m", "phasescope", "run", "--dir", str(folder / "rings")] if under else []
    return subprocess.run(
        [sys.executable, *command, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PHASESCOPE_DIR": str(folder / "elsewhere")},
    )


def sessions(folder: Path) -> list[Told]:
    found = []
    for ring in (folder / "rings").rglob("*.ring"):
        with phasescope.attach(ring) as reader:
            of: dict[str, Any] = reader.constants
            phases = set(phases_in(reader.events()))
            found.append(Told(of["rank"], of["world_size"], of["job_id"], reader.state, phases, of["pid"]))
    return sorted(found, key=lambda told: (told.world_size, told.rank))


def in_order(output: str) -> list[str]:
    return sorted(output.splitlines())


@pytest.mark.parametrize("how", [["torch_spawn"], ["processes", "fork"], ["processes", "forkserver"]], ids=" ".join)
def test_each_rank_has_a_session_and_all_are_one_job(tmp_path: Path, how: list[str]) -> None:
    done = run(tmp_path, *how)
    assert done.returncode == 0, done.stderr
    assert "rank 0: -8.198 ['PHASESCOPE_DIR']\n" in done.stdout, "nothing of ours is in their environment"
    assert done.stderr.startswith("\nphasescope: pid"), "children print nothing"
    assert done.stderr.count("phasescope: pid") == 1
    parent, *ranks = sessions(tmp_path)
    assert (parent.world_size, parent.phases) == (1, set())
    assert [(told.rank, told.world_size, told.state) for told in ranks] == [(0, 2, "stopped"), (1, 2, "stopped")]
    assert all(told.phases.issuperset(STEP) for told in ranks)
    assert len({told.job for told in ranks}) == 1
    assert ranks[0].job not in (None, parent.job)
    compared = subprocess.run(
        [sys.executable, "-m", "phasescope", "ranks", str(tmp_path / "rings")],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert "2 of 2 ranks" in compared.stdout, compared.stderr


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_helpers_that_train_nothing_have_none(tmp_path: Path, method: str) -> None:
    done = run(tmp_path, "helpers", method)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3] 3.0\n[0, 1, 2, 3]\n"), done.stderr
    assert len(sessions(tmp_path)) == 1


def test_a_pools_worker_that_trains_has_one(tmp_path: Path) -> None:
    done = run(tmp_path, "pool_trains", "fork")
    assert done.returncode == 0, done.stderr
    assert sorted(set(STEP) <= told.phases for told in sessions(tmp_path)) == [False, True]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_phases_of_the_scripts_own_begin_one_too(tmp_path: Path, method: str) -> None:
    done = run(tmp_path, "own_marks", method)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert [told.phases for told in sessions(tmp_path)].count({"mine"}) == 1


@pytest.mark.parametrize(
    ("method", "target"), [("fork", "fails"), ("fork", "fails_in_backward"), ("spawn", "fails_in_backward")]
)
def test_an_exception_in_a_child_is_told_as_without_us(tmp_path: Path, method: str, target: str) -> None:
    done, alone = (run(tmp_path, "child_fails", method, target, under=under) for under in (True, False))
    assert (done.returncode, done.stdout) == (alone.returncode, alone.stdout) == (0, "1\n")
    assert "Traceback" in alone.stderr
    assert done.stderr.startswith(alone.stderr)


def test_a_process_forked_by_hand_that_trains_has_one(tmp_path: Path) -> None:
    done = run(tmp_path, "plain_fork")
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert sorted(set(STEP) <= told.phases for told in sessions(tmp_path)) == [False, True]


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="needs accelerate")
def test_what_accelerates_launcher_starts(tmp_path: Path) -> None:
    done = run(tmp_path, "notebook_launcher")
    assert done.returncode == 0, done.stderr
    assert [(told.rank, told.world_size) for told in sessions(tmp_path)] == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning")
def test_lightnings_own_launcher_gives_two_ranks(tmp_path: Path) -> None:
    done = run(tmp_path, "lightning_ddp")
    assert done.returncode == 0, done.stderr
    assert in_order(done.stdout) == ["rank 0 of 2", "rank 1 of 2"]
    assert done.stderr.count("phasescope: pid") == 1
    told = sessions(tmp_path)
    assert [(each.rank, each.world_size) for each in told] == [(0, 2), (1, 2)]
    assert told[0].job == told[1].job is not None
    assert all("fit/epoch/batch/backward" in each.phases for each in told)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_child_that_can_have_no_session_runs_on_in_silence(tmp_path: Path, method: str) -> None:
    """Here the directory is gone by the time that the child would write into it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, shutil, sys\n"
        "from phasescope import phase\n"
        "def child():\n"
        "    with phase('mine'):\n"
        "        print('ran', flush=True)\n"
        "if __name__ == '__main__':\n"
        "    shutil.rmtree(sys.argv[1])\n"
        "    open(sys.argv[1], 'w').close()\n"
        f"    process = multiprocessing.get_context({method!r}).Process(target=child)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )
    command = ["-m", "phasescope", "run", "--no-summary", "--dir", str(tmp_path / "rings"), str(script)]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path / "rings")],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


SENT = """
import base64, pickle, sys
loop = pickle.loads(base64.b64decode(sys.argv[1]))
print(loop('a', 'b'), 'phasescope' in sys.modules)
"""


@pytest.mark.parametrize("has_phasescope", [True, False])
def test_a_loop_that_is_sent_to_a_cluster_begins_a_session_there_where_it_can(
    tmp_path: Path, has_phasescope: bool
) -> None:
    """As Ray sends it to its ranks: pickled, and taken to be the loop itself."""
    base: str = getattr(sys, "_base_executable")  # noqa: B009
    if not has_phasescope and sys.prefix == sys.base_prefix:
        pytest.skip("there is no Python beside that of the virtual environment")
    sent = Carried(os.path.join, Run("run-of-ray", False, {"directory": str(tmp_path / "rings"), "interval_ms": 100}))
    text = base64.b64encode(pickle.dumps(sent)).decode()
    done = subprocess.run(
        [sys.executable if has_phasescope else base, "-c", SENT, text],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"a/b {has_phasescope}\n"


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a Python beside that of the virtual environment")
def test_a_child_of_a_python_without_phasescope_runs_on(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import multiprocessing, sys\n"
        "def child():\n"
        "    print('phasescope' in sys.modules, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    context.set_executable(sys._base_executable)\n"
        "    process = context.Process(target=child)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )
    command = ["-m", "phasescope", "run", "--no-summary", str(tmp_path / "script.py")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=CEILING_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "False\n"
