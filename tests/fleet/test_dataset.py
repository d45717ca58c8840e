"""A real job whose ranks are recorded into a dataset: the commands say of it what they say of its rings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import phasescope
from phasescope.cli import MISSING_DEPENDENCY, main
from phasescope.recordings.dataset import sessions_in
from support.commands import needs_files
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_files
pytest.importorskip("duckdb", reason="the extra `fleet` is not installed")
pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

RANKS, KILLED, BROKEN = 4, 3, 2
HOSTILE = "x'); DROP TABLE fleet; --\"\n/"

# Rank 1 is slow, rank 2 ends in an exception behind one that was caught, rank 3 stays in a phase until it is killed.
RANK = """
import sys, time
import phasescope
from phasescope import phase

rings, rank, hostile = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with phasescope.start(directory=rings, backends=["cpu"], interval_ms=20, job_id="4711", rank=rank, world_size=4):
    with phase("train"):
        for step in range(30):
            with phase("step", number=step):
                with phase("forward"):
                    time.sleep(0.02 if rank == 1 else 0.001)
                with phase(hostile):
                    pass
                for _ in phasescope.track([1, 2], name="data"):
                    pass
                try:
                    with phase("caught"):
                        raise KeyError(step)
                except KeyError:
                    pass
        if rank == 2:
            with phase("loss"):
                raise ValueError("no loss")
        with phase("save"):
            print("there", flush=True)
            if rank == 3:
                time.sleep(600)
"""


class Job(NamedTuple):
    rings: Path
    dataset: Path


def recorder(rings: Path, dataset: Path, pid: int, *more: str) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "phasescope", "record", str(pid), "--dir", str(rings), "--dataset", str(dataset)]
    return subprocess.Popen([*arguments, *more], stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return the rings of a job that is over, one rank killed, and the dataset into which each was recorded."""
    folder = tmp_path_factory.mktemp("job")
    found = Job(folder / "rings", folder / "fleet")
    found.rings.mkdir(mode=0o700)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(found.rings), str(rank), HOSTILE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for rank in range(RANKS)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        rank.stdout.readline()  # that of rank 2 ends without a word
    recorders = [recorder(found.rings, found.dataset, rank.pid, "--part-seconds", "0.3") for rank in ranks]
    until(lambda: list(found.dataset.glob(f"*/*/r={KILLED}/*.00001.parquet")))
    ranks[KILLED].kill()
    for rank in ranks:
        rank.communicate(timeout=CEILING_S)
    for each in recorders:
        assert each.wait(CEILING_S) == 0
    return found


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_ranks_are_what_they_are_over_the_rings(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    by_rings = told(capsys, "ranks", str(job.rings))
    by_dataset = told(capsys, "ranks", str(job.dataset))
    assert by_dataset == by_rings
    assert [row["ending"]["kind"] for row in by_rings["ranks"]] == ["finished", "finished", "exception", "killed"]
    assert by_rings["ranks"][KILLED]["phase"] == ["train", "save"]
    assert main(["ranks", str(job.rings)]) == 0
    text = capsys.readouterr().out
    assert main(["ranks", str(job.dataset), "--job", "47"]) == 0
    assert capsys.readouterr().out == text
    assert "rank 1 is slow in " in text


def test_it_is_summed_up_by_the_engine_and_not_read(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from phasescope.fleet import members

    monkeypatch.delattr(members, "_read")
    assert len(told(capsys, "ranks", str(job.dataset))["ranks"]) == RANKS


@pytest.mark.parametrize("rank", range(RANKS))
def test_a_rank_is_summed_up_as_its_ring(rank: int, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    (session,) = sessions_in(str(job.dataset), {"r": str(rank)})
    ring = next(path for path in job.rings.glob("*.ring") if _session(path) == session.name)
    by_ring = told(capsys, "summary", str(ring))
    by_dataset = told(capsys, "summary", f"{job.dataset}#job=4711/r={rank}")
    for data in (by_ring, by_dataset):
        del data["path"], data["job"]
    assert by_dataset == by_ring
    compared = told(capsys, "compare", str(ring), f"{job.dataset}#{session.name}")
    assert {change["verdict"] for phase in compared["phases"] for change in phase["changes"]} <= {"same", "unknown"}


def _session(path: Path) -> str:
    with phasescope.attach(path) as reader:
        return str(reader.constants["session_id"])


def test_a_rank_is_found_without_opening_the_files_of_others(job: Job) -> None:
    for path in job.dataset.glob("*/*/r=0/*.parquet"):
        beside = path.parents[1] / "r=9"
        beside.mkdir(exist_ok=True)
        (beside / path.name).write_bytes(b"no Parquet")
    try:
        with phasescope.attach(f"{job.dataset}#r=1") as reader:
            assert reader.constants["rank"] == 1
    finally:
        for path in job.dataset.glob("*/*/r=9/*"):
            path.unlink()
        for path in job.dataset.glob("*/*/r=9"):
            path.rmdir()


def test_a_recorder_that_is_killed_leaves_whole_files_and_the_next_one_goes_on(tmp_path: Path) -> None:
    import pyarrow.parquet

    rings, dataset = tmp_path / "rings", tmp_path / "fleet"
    rings.mkdir(mode=0o700)
    with phasescope.start(directory=rings, backends=["cpu"], interval_ms=20):
        first = recorder(rings, dataset, os.getpid(), "--part-seconds", "0.2")
        until(lambda: list(dataset.glob("*/*/*/*.00002.parquet")))
        first.kill()
        first.wait()
        unfinished = list(dataset.glob("*/*/*/.*.unfinished"))
        for path in dataset.glob("*/*/*/*.parquet"):
            assert pyarrow.parquet.read_table(path).num_rows
        (session,) = sessions_in(str(dataset))
        second = recorder(rings, dataset, os.getpid())
        until(lambda: len(list(dataset.glob("*/*/*/.*.unfinished"))) > len(unfinished))
    assert second.wait(CEILING_S) == 0
    (ring,) = rings.glob("*.ring")
    with phasescope.attach(ring) as reader, phasescope.attach(str(dataset)) as recorded:
        assert recorded.events() == reader.events()
        assert recorded.state == "stopped"
    (after,) = sessions_in(str(dataset))
    assert len(after.files) == len(session.files) + 1


def test_without_duckdb_the_way_out_is_said(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert main(["ranks", str(job.dataset)]) == MISSING_DEPENDENCY
    assert "pip install 'phasescope[fleet]'" in capsys.readouterr().err


def test_an_object_store_and_no_secret_in_a_message(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.put(f"{job.dataset}/", "/bucket/fleet/", recursive=True)
    try:
        assert told(capsys, "ranks", "memory://bucket/fleet") == told(capsys, "ranks", str(job.dataset))
        by_url = told(capsys, "summary", "memory://bucket/fleet#r=1")
        assert by_url["phases"] == told(capsys, "summary", f"{job.dataset}#r=1")["phases"]
    finally:
        store.rm("/bucket", recursive=True)
    for command in ("ranks", "summary"):
        for url in ("memory://user:hunter2@bucket/fleet", "s3://b/fleet?token=hunter2", "nosuch://b/hunter2@x?hunter2"):
            assert main([command, url]) != 0
            said = capsys.readouterr()
            assert "hunter2" not in (said.err + said.out).replace("b/hunter2@x", "")
