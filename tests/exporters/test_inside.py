"""`start(export=...)`: the exporters in the training's own process, which neither sees nor waits for what they meet."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.exporters.label_text import path_label
from support.commands import needs_files
from support.waiting import CEILING_S

pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otlp` is not installed")

from prometheus_client import parser

from support.otlp_collector import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_files

HOSTILE = 'x"} 1 # EOF {a="b\\'

TRAINING = """
import json, os, sys, time, urllib.request
import phasescope
from phasescope import phase

directory, export, hostile = sys.argv[1], json.loads(os.environ["EXPORT"]), sys.argv[2]
with phasescope.start(directory=directory, backends=["cpu"], export=export, rank=1, local_rank=1, world_size=2) as s:
    for step in range(20):
        with phase("step"), phase(hostile):
            pass
    if "prometheus" in export:
        port = int(export["prometheus"].rpartition(":")[2]) + 1
        print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode(), end="")
    print(repr(s.options), end="")
    began = time.monotonic()
print(" ended in", time.monotonic() - began, end="")
"""


PATIENT = """
from phasescope.exporters import inside, otlp
otlp.TIMEOUT_S = 60.0
otlp._JOIN_S = otlp._ONCE_MORE_S = otlp.Delivery.patience_s = inside._LAST_READING_S = 600.0
"""
"""Before a training whose collector is there, but may wait long for its turn: it waits for all that it sends."""


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.kill()


def train(rings: Path, export: dict[str, Any], program: str = TRAINING, **environment: str) -> tuple[str, str]:
    """Return the output and the errors of a training that is over, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(rings), HOSTILE],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
        env={**os.environ, **environment, "EXPORT": json.dumps(export)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def free_port() -> int:
    """Return a port that is free, and so is the next."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


def row_of(rings: Path) -> tuple[str, phasescope.Row]:
    with phasescope.attach(next(rings.glob("*.ring"))) as reader:
        row = next(row for row in reader.summary().rows if row.path[-1] == HOSTILE)
        return str(reader.constants["session_id"]), row


def test_both_have_what_the_ring_says_and_the_training_has_no_word_of_it(rings: Path, collector: Collector) -> None:
    collector.start()
    url = collector.url.replace("://", "://me:s3cret1@")
    export = {"otlp": url, "prometheus": f":{free_port()}", "interval_s": 0.1}
    out, errors = train(rings, export, PATIENT + TRAINING, OTEL_EXPORTER_OTLP_HEADERS="x-key=s3cret2")
    assert errors == ""
    assert "s3cret" not in out + "".join(path.read_bytes().decode("latin-1") for path in rings.iterdir())
    session_id, row = row_of(rings)
    page = out[: out.index("Options(")]
    found = {
        sample.name: sample.value
        for family in parser.text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("phase", "").startswith("step/")
    }
    assert found["phasescope_phase_duration_seconds_count"] == row.count == 20
    assert found["phasescope_phase_duration_seconds_sum"] == (row.total_ns or 0) / 1e9
    metrics = collector.metrics(session_id)
    durations = metrics["phasescope.phase.duration", frozenset({("phasescope.phase", path_label(row.path))})]
    assert (durations.count, durations.sum) == (row.count, (row.total_ns or 0) / 1e9)
    assert metrics["phasescope.session.running", frozenset()].as_int == 0  # what came last was sent as well
    assert "phasescope.stop" in [record.event_name for _, record in collector.logs()]
    assert {request["headers"]["x-key"] for request in collector.requests()} == {"s3cret2"}


@pytest.mark.parametrize("state", ["away", "refusing", "silent", "overloaded"])
def test_a_collector_that_is_away_refuses_or_is_silent_is_not_noticed(
    rings: Path, collector: Collector, state: str
) -> None:
    if state != "away":
        status, delay_s = {"refusing": (400, 0.0), "silent": (200, 3600.0), "overloaded": (503, 0.0)}[state]
        collector.start(status=status, delay_s=delay_s)
    out, errors = train(rings, {"otlp": collector.url, "interval_s": 0.1})
    assert errors == ""
    assert out.startswith("Options(")
    assert float(out.rpartition(" ")[2]) < CEILING_S / 2  # of a silent one no answer is waited for
    _, row = row_of(rings)
    assert row.count == 20


def test_a_variable_of_the_sdk_that_has_no_valid_value_prints_nothing(rings: Path, collector: Collector) -> None:
    collector.start()
    wrong = {"OTEL_EXPORTER_OTLP_COMPRESSION": "s3cret", "OTEL_EXPORTER_OTLP_TIMEOUT": "s3cret"}
    _, errors = train(rings, {"otlp": collector.url}, **wrong)
    assert errors == ""


def test_a_port_that_is_taken_is_a_warning_and_no_more(rings: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = int(listener.getsockname()[1])
        with pytest.warns(phasescope.PhasescopeWarning, match="cannot listen"):
            session = phasescope.start(directory=rings, backends=["cpu"], export={"prometheus": f":{taken}"})
        with session:
            with phasescope.phase("step"):
                pass
            assert session.summary().rows[0].count == 1


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ({"otlp": "http://me:s3cret@node:port"}, "export: otlp: not an address"),
        ({"prometheus": "nonsense"}, "export: prometheus: 'nonsense' is not an address"),
        ({"prometheus": "0.0.0.0:0"}, "only with a token"),
        ({"prometheus": ":0", "token_file": "/nowhere"}, "export: token_file: No such file"),
        ({"otlp": "http://127.0.0.1:1", "interval_s": 0}, "export: interval_s: a number of seconds"),
        ({"grafana": "x"}, "export: grafana: not one of"),
        ({}, "where to"),
    ],
)
def test_what_is_wrong_raises_at_once(rings: Path, export: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        phasescope.start(directory=rings, export=export)
    assert "s3cret" not in str(raised.value)
    assert phasescope.current() is None
    assert list(rings.glob("*.ring")) == []


def test_a_missing_extra_raises_at_once_and_leaves_nothing(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r'pip install "phasescope\[prometheus\]"'):
        phasescope.start(directory=rings, backends=["cpu"], export={"prometheus": ":0"})
    assert phasescope.current() is None
    assert list(rings.glob("*.ring")) == []


FORKING = """
import json, os, socket, sys, time
import phasescope

port = json.loads(os.environ["EXPORT"])["prometheus"].rpartition(":")[2]
session = phasescope.start(directory=sys.argv[1], backends=["cpu"], export={"prometheus": ":" + port})
here, there = os.pipe()
child = os.fork()
if child == 0:
    os.close(there)
    os.read(here, 1)  # until the parent has ended its session
    os._exit(0)
os.close(here)
phasescope.stop()
socket.create_server(("127.0.0.1", int(port)), reuse_port=False).close()  # nobody holds it any more
os.close(there)
os.waitpid(child, 0)
"""


def test_a_forked_child_does_not_hold_the_port(rings: Path) -> None:
    assert train(rings, {"prometheus": f":{free_port()}"}, FORKING) == ("", "")


STEPS = """
import json, os, statistics, sys, time
import phasescope
from phasescope import phase

export = json.loads(os.environ["EXPORT"])

def block(say, **options):
    took, total = [], 0
    with phasescope.start(directory=sys.argv[1], backends=["cpu"], **options) as session:
        for number in range(150):
            if say and number in (50, 100):
                print("kill" if number == 50 else "start", flush=True)
                sys.stdin.readline()
            began = time.perf_counter_ns()
            with phase("step"):
                for _ in range(5):
                    with phase("layer"):
                        total += sum(range(4000))
            took.append(time.perf_counter_ns() - began)
    return statistics.median(took), total, session.session_id

block(False, export=export)  # imports
ratios, totals, sessions = [], set(), []
for _ in range(3):
    (without, first, _), (with_it, second, session) = block(False), block(True, export=export)
    ratios.append(with_it / without)
    totals |= {first, second}
    sessions.append(session)
print(json.dumps([statistics.median(ratios), len(totals), sessions]), flush=True)
"""


def test_a_collector_that_is_killed_and_comes_back_takes_no_time_of_a_step_and_all_is_accounted_for(
    rings: Path, collector: Collector
) -> None:
    """The bound is for a machine whose cores are busy. The blocks with and without exporters take turns."""
    collector.start()
    export = json.dumps({"otlp": collector.url, "interval_s": 0.1})
    training = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PATIENT + STEPS, str(rings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EXPORT": export},
    )
    try:
        assert training.stdin is not None
        assert training.stdout is not None
        for asked in map(str.strip, training.stdout):
            if asked not in ("kill", "start"):
                break
            collector.kill() if asked == "kill" else collector.start()
            training.stdin.write("\n")
            training.stdin.flush()
        _, errors = training.communicate(timeout=CEILING_S)
    finally:
        training.kill()
        training.wait()
    ratio, totals, sessions = json.loads(asked)
    assert (errors, totals) == ("", 1)
    assert ratio < 1.5
    own = collector.metrics("phasescope-exporter", "service.name")
    not_sampled = own["phasescope.exporter.dropped", frozenset({("phasescope.signal", "traces_not_sampled")})].as_int
    rings_of = {session_of(path): path for path in rings.glob("*.ring")}
    for session_id in sessions:
        with phasescope.attach(rings_of[session_id]) as reader:
            rows = {path_label(row.path): row for row in reader.summary().rows}
        metrics = collector.metrics(session_id)
        assert {label: row.count for label, row in rows.items()} == {"step": 150, "step/layer": 750}
        for label, row in rows.items():
            point = metrics["phasescope.phase.duration", frozenset({("phasescope.phase", label)})]
            assert (point.count, point.sum) == (row.count, (row.total_ns or 0) / 1e9)
        spans = {span.span_id for resource, span in collector.spans() if resource["service.instance.id"] == session_id}
        if session_id == sessions[-1]:  # the exporter's own counts are those of the newest
            assert len(spans) + not_sampled == 900


def session_of(path: Path) -> str:
    with phasescope.attach(path) as reader:
        return str(reader.constants["session_id"])
