"""A second engine gives what DuckDB gives, and a bucket is read: `make test-engines`, in an environment of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

duckdb = pytest.importorskip("duckdb", reason="the extra `fleet` is not installed")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fleets.md").read_text("utf-8")
QUERIES = dict(re.findall(r"```sql\n-- ([a-z ]+)\n(.*?)```", PAGE, re.DOTALL))
RANKS, SLOW, FAT = 8, 3, 5


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "fleet"
    script = ROOT / "scripts" / "fleet_dataset.py"
    arguments = [sys.executable, str(script), str(folder), "--ranks", str(RANKS), "--events", "2000"]
    subprocess.run(arguments, check=True, timeout=CEILING_S, stdout=subprocess.DEVNULL)
    return folder


# The libraries keep threads and files of their own for as long as their process lives.
CLICKHOUSE = """
import sys
from chdb.session import Session
session = Session()
session.query(sys.argv[1])
print(session.query(sys.argv[2], "JSON"))
"""
SPARK = """
import json, sys
from pyspark.sql import SparkSession
settings = {"spark.ui.enabled": "false", "spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "2"}
session = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
for statement in sys.argv[1].split(";\\n"):
    session.sql(statement)
print(json.dumps({"data": [row.asDict() for row in session.sql(sys.argv[2]).collect()]}))
"""
UPLOAD = """
import sys, s3fs
store = s3fs.S3FileSystem()
store.mkdir("bucket")
store.put(sys.argv[1] + "/", "bucket/fleet/", recursive=True)
"""


def needs(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: make test-engines")


def alone(*code_and_arguments: str) -> str:
    arguments = [sys.executable, "-c", *code_and_arguments]
    return subprocess.run(arguments, check=True, timeout=CEILING_S, text=True, stdout=subprocess.PIPE).stdout


def view(engine: str, fleet: Path) -> str:
    lines = re.findall(rf"^((?:SET|CREATE) .*?;) +-- {engine}(?:, before its view)?$", PAGE, re.MULTILINE)
    return "\n".join(lines).replace("'fleet", f"'{fleet}").rstrip("; ")


def by_duckdb(fleet: Path, query: str) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute(view("DuckDB", fleet))
        found = connection.execute(query)
        names = [each[0] for each in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def by_clickhouse(fleet: Path, query: str) -> list[dict[str, Any]]:
    needs("chdb")
    return list(json.loads(alone(CLICKHOUSE, view("ClickHouse", fleet), query))["data"])


def by_spark(fleet: Path, query: str) -> list[dict[str, Any]]:
    if importlib.util.find_spec("pyspark") is None or shutil.which("java") is None:
        pytest.skip("pyspark (450 MB) or Java is not installed")
    return list(json.loads(alone(SPARK, view("Spark", fleet), query).splitlines()[-1])["data"])


ENGINES = {"ClickHouse": by_clickhouse, "Spark": by_spark}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", QUERIES)
def test_another_engine_gives_what_duckdb_gives(engine: str, name: str, fleet: Path) -> None:
    found = ENGINES[engine](fleet, QUERIES[name])
    expected = by_duckdb(fleet, QUERIES[name])
    assert len(found) == len(expected) > 0
    for row, wanted in zip(found, expected, strict=True):
        for key, value in wanted.items():
            mine = row[key] if isinstance(value, str) else float(row[key])
            assert mine == (value if isinstance(value, str) else pytest.approx(float(value), rel=1e-9)), key


@pytest.mark.parametrize("engine", ["DuckDB", *ENGINES])
def test_jobs_that_look_like_one_number_are_several(engine: str, fleet: Path, tmp_path: Path) -> None:
    """A second `srun` in a Slurm job is 4711.1, the eleventh 4711.10."""
    (node,) = {path.parent.parent.name for path in fleet.glob("job=4711/*/*/*.parquet")}
    ranks_of = {"4711.1": 1, "4711.10": 2, "4711": 3, "04711": 4}
    for job, ranks in ranks_of.items():
        for rank in range(ranks):
            place = Path(f"job={job}", node, f"r={rank}")
            shutil.copytree(fleet / "job=4711" / node / f"r={rank}", tmp_path / "fleet" / place)
    asked = by_duckdb if engine == "DuckDB" else ENGINES[engine]
    jobs = list(ranks_of) if engine != "Spark" else ["4711.1", "4711"]  # a virtual machine for each
    found = {job: len(asked(tmp_path / "fleet", QUERIES["behind"].replace("'4711'", f"'{job}'"))) for job in jobs}
    assert found == {job: ranks_of[job] for job in jobs}


@pytest.fixture
def bucket(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the dataset on a local server that speaks S3."""
    needs("moto", "s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    named = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**named, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy()
    )
    try:
        until(lambda: _answers(port))
        alone(UPLOAD, str(fleet))
        yield "s3://bucket/fleet"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phasescope", *arguments]
    return subprocess.run(command, timeout=CEILING_S, text=True, capture_output=True, check=False)


def test_the_commands_read_a_bucket(fleet: Path, bucket: str) -> None:
    assert run("ranks", bucket, "--json").stdout == run("ranks", str(fleet), "--json").stdout != ""
    by_url, here = (json.loads(run("summary", f"{place}#r=3", "--json").stdout) for place in (bucket, fleet))
    assert by_url["phases"] == here["phases"]
    missing = run("ranks", "s3://nosuch/fleet")
    assert missing.returncode != 0
    assert "s3://nosuch/fleet" in missing.stderr
    assert "hunter2" not in missing.stderr
