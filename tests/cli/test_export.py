"""`phasescope export` in a process of its own, on real trainings, read as Prometheus reads it, and by Prometheus."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import cli
from phasescope._packages import is_installed
from support.commands import Training, interrupted, needs_files, second_process
from support.metrics_databases import prometheus, query
from support.waiting import CEILING_S, until

pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")

from prometheus_client import parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_files

HOSTILE = 'x"} 1 # EOF {a="b\\'


class Exporter:
    """The command, once it serves."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.process = second_process(
            "export", *arguments, "--prometheus", "127.0.0.1:0", "--dir", str(directory), bufsize=1
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.communicate()

    def page(self) -> str:
        with urllib.request.urlopen(self.url, timeout=CEILING_S) as answer:
            return str(answer.read(), "utf-8")

    def value(self, name: str, **labels: str) -> float | None:
        """Return the only sample of this name with these labels; None if there is none."""
        found = [
            sample.value
            for family in parser.text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == f"phasescope_{name}" and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def end(self) -> tuple[int, str]:
        exit_code, _, errors = interrupted(self.process)
        return exit_code, errors


@pytest.fixture
def export(directory: Path) -> Iterator[Callable[..., Exporter]]:
    started: list[Exporter] = []

    def export(*arguments: str) -> Exporter:
        started.append(Exporter(directory, *arguments))
        return started[-1]

    yield export
    for exporter in started:
        exporter.process.kill()
        exporter.process.communicate(timeout=CEILING_S)


def test_all_sessions_are_exported_as_they_come_and_go(
    directory: Path, training: Training, export: Callable[..., Exporter]
) -> None:
    exporter = export("--all", "--keep-ended", "0")
    for _ in range(3):
        training.do(HOSTILE)
    phase = "epoch/validation/" + HOSTILE.replace("\\", "\\\\")
    with phasescope.attach(training.pid, directory=directory) as reader:
        row = next(row for row in reader.summary().rows if row.path[-1] == HOSTILE)
    first = {"pid": str(training.pid), "phase": phase}
    assert exporter.value("phase_duration_seconds_count", **first) == row.count == 3
    assert exporter.value("phase_duration_seconds_sum", **first) == (row.total_ns or 0) / 1e9
    with contextlib.closing(Training(directory)) as second:
        until(lambda: exporter.value("session_state", pid=str(second.pid), state="running") == 1)
        training.stop()
        until(lambda: f'pid="{training.pid}"' not in exporter.page())
        assert exporter.value("session_state", pid=str(second.pid), state="running") == 1
    assert exporter.end() == (0, "")


def test_one_session_is_exported_until_it_is_over(
    directory: Path, training: Training, export: Callable[..., Exporter]
) -> None:
    exporter = export(str(training.pid), "--keep-ended", "0")
    with contextlib.closing(Training(directory)) as second:
        second.do("forward")
        assert exporter.value("exporter_sessions") == 1
        assert exporter.value("session_state", state="running") == 1
        training.kill()
        assert exporter.process.wait(CEILING_S) == 0


def test_an_exporter_that_is_killed_leaves_the_training_as_it_was(
    directory: Path, training: Training, export: Callable[..., Exporter]
) -> None:
    exporter = export("--all")
    training.do("forward")
    assert exporter.value("session_state", state="running") == 1
    exporter.process.kill()
    exporter.process.wait(CEILING_S)
    training.do("backward")
    training.stop()
    with phasescope.attach(training.pid, directory=directory) as reader:
        counts = {row.path: row.count for row in reader.summary().rows}
        assert (reader.state, reader.dropped, reader.missed, reader.damaged) == ("stopped", 0, 0, 0)
    assert (counts["epoch", "validation", "forward"], counts["epoch", "validation", "backward"]) == (1, 1)


def test_a_request_to_end_ends_it(training: Training, export: Callable[..., Exporter]) -> None:
    exporter = export("--all")
    exporter.process.terminate()
    _, errors = exporter.process.communicate(timeout=CEILING_S)
    assert (exporter.process.returncode, errors) == (0, "")


def test_a_job_is_chosen_by_its_id(training: Training, export: Callable[..., Exporter]) -> None:
    training.do("forward")
    exporter = export("--job", "no such job")
    assert exporter.value("exporter_sessions") == 0


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_prometheus_has_what_the_ring_says(
    directory: Path, tmp_path: Path, training: Training, export: Callable[..., Exporter]
) -> None:
    token = tmp_path / "token"
    token.write_text("a-secret\n")
    exporter = export("--all", "--token-file", str(token))
    for _ in range(5):
        training.do(HOSTILE)
    with prometheus(tmp_path, exporter.url, token) as url:
        count = 'phasescope_phase_duration_seconds_count{phase=~"epoch/validation/x.*"}'
        until(lambda: [each["value"][1] for each in query(url, count)] == ["5"], CEILING_S, pause_s=0.2)
        with phasescope.attach(training.pid, directory=directory) as reader:
            row = next(row for row in reader.summary().rows if row.path[-1] == HOSTILE)
        (each,) = query(url, count.replace("_count", "_sum"))
        assert float(each["value"][1]) == (row.total_ns or 0) / 1e9
        assert each["metric"]["phase"] == "epoch/validation/" + HOSTILE.replace("\\", "\\\\")
        assert each["metric"]["rank"] == "1"
        (each,) = query(url, 'phasescope_session_state{state="running"}')
        assert each["value"][1] == "1"
        for asked in _dashboard_queries():
            until(functools.partial(query, url, asked), CEILING_S, pause_s=0.2, state=asked)


def _dashboard_queries() -> Iterator[str]:
    """Yield the queries of the dashboard, for all jobs, hosts, ranks, devices and phases."""
    (path,) = (Path(__file__).parents[2] / "dashboards").glob("*.json")
    for panel in json.loads(path.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
            yield re.sub(r"\$[a-z_]+", ".*", query)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--all"], 2, "--prometheus"),
        (["--all", "--prometheus", "nonsense"], 2, "not an address"),
        (["--all", "--prometheus", ":99999"], 2, "not an address"),
        (["--all", "--job", "7", "--prometheus", ":0"], 2, "exclude each other"),
        (["--all", "--prometheus", "0.0.0.0:0"], 2, "--token-file"),
        (["--all", "--prometheus", ":0", "--token-file", "/nowhere"], 2, "No such file"),
        (["--all", "--prometheus", ":0", "--keep-ended", "-1"], 2, "not a number of seconds"),
        (["--all", "--prometheus", ":0", "--max-phases", "0"], 2, "not a number from 1"),
        (["4242", "--prometheus", ":0"], 1, "4242"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], exit_code: int, message: str
) -> None:
    code, out, errors = run("export", *arguments)
    assert (code, out) == (exit_code, "")
    assert message in errors


def test_a_missing_extra_is_answered_with_the_pip_line(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    code, _, errors = run("export", "--all", "--prometheus", ":0")
    assert (code, 'pip install "phasescope[prometheus]"' in errors) == (cli.MISSING_DEPENDENCY, True)


@pytest.mark.skipif(is_installed("wandb"), reason="wandb is installed here")
def test_a_folder_of_runs_is_not_the_package_that_wrote_them(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()  # Python would import it
    monkeypatch.syspath_prepend(tmp_path)
    code, _, errors = run("export", "--all", "--to", "wandb")
    assert (code, 'pip install "phasescope[wandb]"' in errors) == (cli.MISSING_DEPENDENCY, True)


def test_a_session_that_is_over_is_refused(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    training.stop()
    code, _, errors = run("export", str(training.pid), "--prometheus", ":0")
    assert (code, "is over (stopped)" in errors) == (cli.NOT_FOUND, True)
