"""The SQL of docs/fleets.md, run on DuckDB over a real job of three ranks, and compared with what `summary` says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import cli
from support.commands import needs_files
from support.waiting import CEILING_S

pytestmark = needs_files
duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

if TYPE_CHECKING:
    from phasescope import Summary

ROOT = Path(__file__).parents[2]
HOSTILE = "x'); DROP TABLE y; --\"\n"
RANKS, SLOW, FAT = 3, 2, 1

RANK = """
import sys, time
import phasescope
from phasescope import phase

folder, rank, hostile = sys.argv[1], int(sys.argv[2]), sys.argv[3]
kept = bytes(range(256)) * ((600 if rank == 1 else 1) << 12)
with phasescope.start(
    record=f"{folder}/run.jsonl", directory=folder, backends=["cpu"], job_id="4711", rank=rank, world_size=3
):
    for _ in range(10 - rank):
        with phase("step"):
            with phase("forward"):
                time.sleep(0.05 if rank == 2 else 0.001)
            with phase(hostile):
                pass
            for _ in phasescope.track([1, 2], name="data"):
                pass
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Summary]]:
    """Make the dataset of a job as the page says; return it with the summary of each rank."""
    folder = tmp_path_factory.mktemp("job")
    summaries = {}
    for rank in range(RANKS):
        own = folder / f"rank{rank}"
        own.mkdir(mode=0o700)
        arguments = [sys.executable, "-c", RANK, str(own), str(rank), HOSTILE]
        subprocess.run(arguments, check=True, timeout=CEILING_S)
        recording = own / f"run.rank{rank}.jsonl"
        assert cli.main(["convert", str(recording), "--dataset", str(folder / "fleet")]) == 0
        with phasescope.attach(str(recording)) as reader:
            summaries[rank] = reader.summary()
    other = folder / "fleet" / "job=4712" / "node=n0" / "r=1"
    other.mkdir(parents=True)
    (other / "run.parquet").write_bytes(b"no Parquet")  # of another job: nobody opens it
    return folder, summaries


def asked(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows that the page's query of this name gives."""
    text = (ROOT / "docs" / "fleets.md").read_text("utf-8")
    (query,) = re.findall(rf"```sql\n-- {name}\n(.*?)```", text, re.DOTALL)
    with duckdb.connect() as connection:
        (view,) = re.findall(r"^(CREATE VIEW .*) -- DuckDB$", text, re.MULTILINE)
        connection.execute(view.replace("'fleet/", f"'{folder}/fleet/"))
        found = connection.execute(query)
        names = [each[0] for each in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_a_rank_is_what_its_summary_says(job: tuple[Path, dict[int, Summary]]) -> None:
    folder, summaries = job
    found = {row["phase_path"]: row for row in asked(folder, "one rank")}
    rows = [row for row in summaries[1].rows if row.count]
    assert len(found) == len(rows) == 4
    for row in rows:
        (mine,) = [each for path, each in found.items() if path.split("/")[-1] == row.path[-1]]
        assert mine["entries"] == row.count
        assert mine["total_s"] == pytest.approx((row.total_ns or 0) / 1e9, rel=1e-12)
        assert mine["allocated_delta_bytes"] == row.allocated_delta_bytes


def test_the_slowest_rank_is_named(job: tuple[Path, dict[int, Summary]]) -> None:
    folder, summaries = job
    found = {row["phase_path"]: row for row in asked(folder, "slowest")}
    forward = found["step/forward"]
    assert (forward["ranks"], forward["slowest_rank"]) == (RANKS, SLOW)
    means = [row.mean_ns for summary in summaries.values() for row in summary.rows if row.path[-1] == "forward"]
    assert forward["slowest_ms"] == pytest.approx(max(mean or 0 for mean in means) / 1e6, rel=1e-6)
    assert forward["ratio"] > 2


def test_the_fattest_rank_is_named(job: tuple[Path, dict[int, Summary]]) -> None:
    folder, _ = job
    (host,) = asked(folder, "fattest")
    assert (host["backend"], host["devices"], host["fattest_rank"]) == ("cpu", RANKS, FAT)
    assert host["fattest_bytes"] > 600 << 20


def test_the_rank_that_is_behind_is_named(job: tuple[Path, dict[int, Summary]]) -> None:
    folder, _ = job
    found = asked(folder, "behind")
    assert [(row["rank"], row["steps"], row["has_ended"]) for row in found] == [
        (2, 8, 1),
        (1, 9, 1),
        (0, 10, 1),
    ]
