"""`phasescope export --otlp` on a real training: to a collector that comes and goes, and to VictoriaMetrics."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import cli
from phasescope.exporters.label_text import path_label
from support.commands import Training, interrupted, needs_files, running
from support.metrics_databases import query, takes_otlp, victoria_metrics
from support.waiting import CEILING_S, until

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otlp` is not installed")

from support.otlp_collector import Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_files

HOSTILE = 'x"} 1 # EOF {a="b\\'
PATH = ("epoch", "validation", HOSTILE)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.kill()


exporting = functools.partial(running, "export")


def row_of(directory: Path, pid: int) -> phasescope.Row:
    """Return what the ring says of the hostile phase."""
    with phasescope.attach(pid, directory=directory) as reader:
        return next(row for row in reader.summary().rows if row.path == PATH)


def test_a_collector_that_is_killed_and_comes_back_has_everything_and_no_secret_is_shown(
    directory: Path, training: Training, collector: Collector
) -> None:
    with phasescope.attach(training.pid, directory=directory) as reader:
        session_id, ring = reader.constants["session_id"], reader.path
    assert ring is not None
    phase = frozenset({("phasescope.phase", path_label(PATH))})
    collector.start()

    def durations() -> Any:
        return collector.metrics(session_id).get(("phasescope.phase.duration", phase))

    url = collector.url.replace("://", "://me:s3cret1@")
    arguments = ("--all", "--otlp", url, "--interval", "0.1")
    with exporting(directory, *arguments, OTEL_EXPORTER_OTLP_HEADERS="x-key=s3cret2") as process:
        training.do(HOSTILE)
        until(lambda: durations() is not None and durations().count == 1, CEILING_S, pause_s=0.1)
        collector.kill()
        for _ in range(3):
            training.do(HOSTILE)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "does not take" in said
        collector.start()
        until(lambda: durations().count == 4, CEILING_S, pause_s=0.1)
        row = row_of(directory, training.pid)
        assert (durations().count, durations().sum) == (row.count, (row.total_ns or 0) / 1e9)
        until(lambda: len([1 for _, span in collector.spans() if span.name == path_label((HOSTILE,))]) == 4, CEILING_S)
        assert [record.event_name for _, record in collector.logs()] == ["phasescope.start"]
        code, out, errors = interrupted(process)
    assert code == 0
    assert f"sending to {collector.url}" in out
    assert " again" in errors  # of which signal depends on when it was killed
    assert {request["headers"]["x-key"] for request in collector.requests()} == {"s3cret2"}
    assert {request["headers"]["authorization"] for request in collector.requests()} == {"Basic bWU6czNjcmV0MQ=="}
    shown = out + said + errors
    assert "s3cret" not in shown
    assert b"s3cret" not in ring.read_bytes()
    training.stop()  # as well as it would have without an exporter


OUT_OF_MEMORY = """
import sys
import phasescope
from phasescope import phase

with phasescope.start(directory=sys.argv[1], backends=["cpu"], rank=2, world_size=4):
    try:
        with phase("step"), phase("forward"):
            bytearray(1 << 62)
    except MemoryError:
        print("caught", flush=True)
    sys.stdin.read()
"""


def test_out_of_memory_is_a_log_record_in_the_span_of_its_phase(directory: Path, collector: Collector) -> None:
    collector.start()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    training = subprocess.Popen([sys.executable, "-c", OUT_OF_MEMORY, str(directory)], **pipes)
    try:
        assert training.stdout is not None
        assert training.stdout.readline() == "caught\n"
        with exporting(directory, "--all", "--otlp", collector.url, "--interval", "0.1"):
            until(lambda: len(collector.logs()) >= 2 and len(collector.spans()) >= 2, CEILING_S, pause_s=0.1)
    finally:
        training.communicate("", timeout=CEILING_S)
    assert training.returncode == 0
    ((resource, error),) = [each for each in collector.logs() if each[1].event_name == "phasescope.error"]
    spans = {span.name: span for _, span in collector.spans()}
    assert (error.severity_number, resource["phasescope.rank"]) == (17, 2)
    assert attributes(error.attributes)["phasescope.attributes.out_of_memory"] is True
    assert (error.trace_id, error.span_id) == (spans["forward"].trace_id, spans["forward"].span_id)
    assert spans["forward"].parent_span_id == spans["step"].span_id
    assert {name: span.status.code for name, span in spans.items()} == {"forward": 2, "step": 2}
    assert attributes(spans["forward"].attributes)["error.type"] == "MemoryError"


def test_both_at_once_and_an_exporter_of_one_session_ends_with_it(
    directory: Path, training: Training, collector: Collector
) -> None:
    pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")
    collector.start()
    arguments = (str(training.pid), "--otlp", collector.url, "--prometheus", ":0", "--keep-ended", "0")
    with phasescope.attach(training.pid, directory=directory) as reader:
        session_id = reader.constants["session_id"]
    with exporting(directory, *arguments, "--interval", "0.1") as process:
        assert process.stdout is not None
        assert "sending to" in process.stdout.readline()
        with urllib.request.urlopen(process.stdout.readline().strip(), timeout=CEILING_S) as answer:
            assert "phasescope_session_state" in answer.read().decode()
        training.stop()
        assert process.wait(CEILING_S) == 0
    assert collector.metrics(session_id)["phasescope.session.running", frozenset()].as_int == 0
    assert "phasescope.stop" in [record.event_name for _, record in collector.logs()]


def test_what_is_left_at_the_end_is_counted(directory: Path, training: Training, collector: Collector) -> None:
    with exporting(directory, "--all", "--otlp", collector.url, "--interval", "0.1") as process:
        assert process.stderr is not None
        assert "does not take" in process.stderr.readline()
        code, _, errors = interrupted(process)
    assert code == 0
    assert "1 item of logs not delivered" in errors


@pytest.mark.skipif(shutil.which("victoria-metrics") is None, reason="victoria-metrics is not installed")
def test_victoriametrics_has_what_the_ring_says(directory: Path, tmp_path: Path, training: Training) -> None:
    for _ in range(5):
        training.do(HOSTILE)
    with victoria_metrics(tmp_path / "victoria") as address:
        if not takes_otlp(address):
            pytest.skip("this victoria-metrics is from before it took OTLP")
        url = f"{address}/opentelemetry"
        with exporting(directory, "--all", "--otlp", url, "--interval", "0.5") as process:
            chosen = '{__name__="phasescope.phase.duration_count", "phasescope.phase"=~"epoch/validation/x.*"}'
            until(lambda: [each["value"][1] for each in query(address, chosen)] == ["5"], CEILING_S, pause_s=0.5)
            (total,) = query(address, chosen.replace("_count", "_sum"))
            assert float(total["value"][1]) == (row_of(directory, training.pid).total_ns or 0) / 1e9
            assert total["metric"]["phasescope.phase"] == path_label(PATH)
            assert query(address, '{__name__="process.memory.usage"}')
            assert interrupted(process)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all"], "--prometheus [HOST]:PORT or --otlp URL"),
        (["--all", "--otlp", "s3cret@nowhere"], "not an address"),
        (["--all", "--otlp", "http://me:s3cret@node:port"], "not an address"),
        (["--all", "--otlp", "http://127.0.0.1:1", "--interval", "0"], "a number of seconds from"),
    ],
)
def test_what_is_wrong_is_said_without_what_may_be_secret(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], message: str
) -> None:
    code, out, errors = run("export", *arguments)
    assert (code, out) == (cli.WRONG_USAGE, "")
    assert message in errors
    assert "s3cret" not in errors


def test_a_missing_extra_is_answered_with_the_pip_line(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    code, _, errors = run("export", "--all", "--otlp", "http://127.0.0.1:1")
    assert (code, 'pip install "phasescope[otlp]"' in errors) == (cli.MISSING_DEPENDENCY, True)
