"""No name of a phase breaks what is exported: each arrives as itself, once, with its own figures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import cli, phase
from support.commands import needs_files
from support.hostile_names import NAMES
from support.waiting import CEILING_S

pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otlp` is not installed")
from prometheus_client import exposition, parser
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser

from phasescope.exporters.addresses import endpoint_of
from phasescope.exporters.alerts import Alert
from phasescope.exporters.label_text import path_label
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.exporters.otlp import Delivery
from phasescope.exporters.prometheus import registry_of
from phasescope.wire import ring_files
from support.otlp_collector import Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Row

pytestmark = needs_files

ROOT = Path(__file__).parents[2]
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ring of a session that entered each of them: the first once, the second twice, and so on."""
    folder = tmp_path_factory.mktemp("rings")
    with phasescope.start(directory=folder, backends=["cpu"], job_id=NAMES[0], rank=1, world_size=2):
        for number, name in enumerate(NAMES, 1):
            for _ in range(number):
                with phase("step"), phase(name):
                    pass
    return next(folder.glob("*.ring"))


@pytest.fixture
def rows(ring: Path) -> dict[str, Row]:
    """What the ring says, by the label of the path."""
    with phasescope.attach(ring) as reader:
        found = {path_label(row.path): row for row in reader.summary().rows}
    assert sorted(row.count for row in found.values())[: len(NAMES)] == list(range(1, len(NAMES) + 1))
    assert not any(CONTROL.search(label) for label in found)
    return found


@pytest.fixture
def sessions(ring: Path) -> Iterator[LiveSessions]:
    made = LiveSessions(lambda: ring_files.find(ring.parent))
    yield made
    made.close()


def test_the_page_has_each_once(rows: dict[str, Row], sessions: LiveSessions) -> None:
    registry = registry_of(sessions, threading.Lock())
    pages = (
        (exposition.generate_latest(registry).decode(), parser),
        (openmetrics.generate_latest(registry).decode(), openmetrics_parser),
    )
    for page, reads in pages:
        samples = [sample for family in reads.text_string_to_metric_families(page) for sample in family.samples]
        for ending, figures in (
            ("count", {label: row.count for label, row in rows.items()}),
            ("sum", {label: (row.total_ns or 0) / 1e9 for label, row in rows.items()}),
        ):
            found = [each for each in samples if each.name == f"phasescope_phase_duration_seconds_{ending}"]
            assert {each.labels["phase"]: each.value for each in found} == figures
            assert len(found) == len(rows)
    if shutil.which("promtool"):
        command = ["promtool", "check", "metrics"]
        done = subprocess.run(command, input=pages[0][0], text=True, timeout=CEILING_S, check=False)
        assert done.returncode == 0


def test_metrics_and_spans_have_each_once(rows: dict[str, Row], sessions: LiveSessions, tmp_path: Path) -> None:
    collector = Collector(tmp_path)
    collector.start()
    said: list[str] = []
    delivery = Delivery(endpoint_of(collector.url), sessions, threading.Lock(), interval_s=3600, say=said.append)
    try:
        while sessions.poll():
            pass
        delivery.deliver()
        delivery.deliver()
    finally:
        delivery.hurry()
        collector.kill()
    assert said == []
    (session_id,) = {resource["service.instance.id"] for resource, _ in collector.spans()}
    found = {
        dict(labels)["phasescope.phase"]: (point.count, point.sum)
        for (name, labels), point in collector.metrics(session_id).items()
        if name == "phasescope.phase.duration"
    }
    assert found == {label: (row.count, (row.total_ns or 0) / 1e9) for label, row in rows.items()}
    spans = [attributes(span.attributes)["phasescope.phase"] for _, span in collector.spans()]
    left_out = delivery._own_metrics().scope_metrics[0].metrics[0].data.data_points
    assert len(spans) + sum(point.value for point in left_out) == sum(row.count for row in rows.values())
    assert set(spans) <= set(rows)


def test_a_query_finds_each_and_runs_none(rows: dict[str, Row], ring: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra `fleet` is not installed")
    assert cli.main(["convert", str(ring), "--dataset", str(tmp_path / "fleet")]) == 0
    page = (ROOT / "docs" / "fleets.md").read_text("utf-8")
    (view,) = re.findall(r"^(CREATE VIEW .*) -- DuckDB$", page, re.MULTILINE)
    (query,) = re.findall(r"```sql\n-- one rank\n(.*?)```", page, re.DOTALL)
    with duckdb.connect() as connection:
        connection.execute(view.replace("'fleet/", f"'{tmp_path}/fleet/"))
        found = connection.execute(query.replace("'4711'", f"'{NAMES[0]}'")).fetchall()
    assert sorted(row[1] for row in found) == sorted(row.count for row in rows.values())


def test_a_comment_of_the_action_is_one_block_and_its_log_commands_nobody(ring: Path, tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    assert cli.main(["convert", str(ring), str(recording)]) == 0
    named = {"COMPARE_BEFORE": str(recording), "COMPARE_AFTER": str(recording), "COMPARE_ALL": "true"}
    files = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "compare_action.py")],
        env={**os.environ, **named, **files, "GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=CEILING_S,
        check=False,
    )
    assert (done.returncode, (tmp_path / "output").read_text()) == (0, "exit-code=0\n")
    lines = (tmp_path / "summary.md").read_text("utf-8").splitlines()
    fence = lines[3].removesuffix("text")
    assert [number for number, line in enumerate(lines) if fence in line] == [3, len(lines) - 1]
    assert not any(CONTROL.search(line) for line in lines)
    outside = re.sub(r"(?s)^::stop-commands::(\w+)\n.*\n::\1::$", "", done.stdout.strip())
    assert outside == ""


def test_an_alert_is_text_on_one_line(ring: Path) -> None:
    with phasescope.attach(ring) as reader:
        constants = reader.constants
    for name in NAMES:
        label = path_label((name,))
        told = json.loads(json.dumps(Alert("growth", f"{label} grows", constants, 1, phase=label).to_dict()))
        texts = [told["text"], told["phase"], told["session"]["job_id"]]
        assert not any(CONTROL.search(text) for text in texts)
        assert texts[:2] == [f"{label} grows", label]
