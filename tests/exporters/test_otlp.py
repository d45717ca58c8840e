"""What a collector gets, byte for byte as OTLP has it, compared with the ring; and a collector that is not there."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from support.fakes.made_rings import GIB, START_NS, made_ring

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otlp` is not installed")
if not hasattr(os, "getuid"):
    pytest.skip("sessions lie in files only where they can be locked", allow_module_level=True)

from phasescope.exporters import otlp
from phasescope.exporters.addresses import endpoint_of
from phasescope.exporters.label_text import path_label
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.exporters.otlp import Delivery, Queue
from phasescope.exporters.otlp_metrics import NAMES
from phasescope.exporters.quiet_threads import end_of_quiet, quiet_this_thread
from phasescope.wire import ring_files
from support.otlp_collector import Collector, attributes
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_S = 60.0  # a collector's process may wait long for its turn
NOBODY_S = 0.5
HOSTILE = "x\"}\n\x1b[2J{a='b\\"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.kill()


class Exporting:
    """Sessions and their delivery, without a thread: the test says when."""

    def __init__(self, rings: Path, url: str) -> None:
        self.said: list[str] = []
        self.sessions = LiveSessions(lambda: ring_files.find(rings), now_ns=lambda: START_NS)
        self.delivery = Delivery(
            endpoint_of(url), self.sessions, threading.Lock(), interval_s=3600, say=self.said.append
        )

    def go(self, answer_s: float = ANSWER_S) -> None:
        """Read what is new, and send it."""
        self.wait_for_answers(answer_s)
        while self.sessions.poll():
            pass
        self.delivery.deliver()

    def wait_for_answers(self, answer_s: float) -> None:
        """Wait so long for an answer; where nobody is there, ask again for as long."""
        for exporter in self.delivery._exporters.values():
            vars(getattr(exporter, "_client", exporter))["_timeout"] = answer_s

    def own(self, collector: Collector) -> dict[str, int]:
        """Return the exporter's own newest counts, by name and signal."""
        points = collector.metrics("phasescope-exporter", "service.name")
        return {f"{name} {dict(labels)['phasescope.signal']}": point.as_int for (name, labels), point in points.items()}


@pytest.fixture
def exporting(rings: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporting]:
    monkeypatch.setattr(otlp, "TIMEOUT_S", 1.0)
    quiet_this_thread()
    made = Exporting(rings, collector.url)
    yield made
    end_of_quiet()
    made.sessions.close()
    for exporter in made.delivery._exporters.values():
        exporter.shutdown()


def test_the_metrics_are_what_the_summary_says(rings: Path, collector: Collector, exporting: Exporting) -> None:
    collector.start()
    with made_ring(rings, session_id="a", job_id="7", rank=3, world_size=8) as ring:
        step = ring.enter(["step"])
        ring.run(["step", HOSTILE], 2, step)
        ring.allocated += GIB
        ring.run(["step", HOSTILE], 4000, step)
        ring.allocated -= GIB
        ring.event("sample")
        exporting.go()
        with phasescope.attach(ring.path) as reader:
            summary = reader.summary()
        found = collector.metrics("a")
        row = next(row for row in summary.rows if row.path[-1] == HOSTILE)
        phase = frozenset({("phasescope.phase", path_label(row.path))})
        durations = found["phasescope.phase.duration", phase]
        assert (durations.count, durations.sum) == (row.count, (row.total_ns or 0) / 1e9)
        assert (durations.min, durations.max) == (0.002, 4.0)
        assert (sum(durations.bucket_counts), len(durations.bucket_counts)) == (2, len(durations.explicit_bounds) + 1)
        assert found["phasescope.phase.memory.allocated_peak", phase].as_int == row.peak_allocated_bytes == 2 * GIB
        assert found["phasescope.phase.open", phase].as_int == 0
        (device,) = summary.devices
        gpu, ours = frozenset({("hw.id", "cuda:0")}), frozenset({("phasescope.device", "cuda:0")})
        assert found["hw.gpu.memory.usage", gpu].as_int == device.used_bytes
        assert found["hw.gpu.memory.limit", gpu].as_int == device.total_bytes
        assert found["phasescope.device.memory.allocated", ours].as_int == device.allocated_bytes
        assert found["phasescope.device.memory.allocated_peak", ours].as_int == 2 * GIB
        for event_type, count in summary.events_by_type.items():
            own = frozenset({("phasescope.event_type", event_type)})
            assert found["phasescope.session.events", own].as_int == count
    (message,) = collector.messages("metrics")
    resource = attributes(message.resource_metrics[0].resource.attributes)
    assert {key: resource[key] for key in ("service.name", "host.name", "process.pid", "phasescope.rank")} == {
        "service.name": "phasescope",
        "host.name": "node-07",
        "process.pid": 4242,
        "phasescope.rank": 3,
    }
    assert resource["phasescope.job_id"] == "7"
    assert "python" not in str(resource.get("process.command", ""))


def test_counters_began_with_the_session_if_all_of_it_was_seen(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start()
    with (
        made_ring(rings, session_id="a") as whole,
        made_ring(rings, session_id="b", pid=2, capacity_bytes=64 << 10) as cut,
    ):
        for ring, count in ((whole, 10), (cut, 3000)):
            for _ in range(count):
                ring.run(["step"], 1)
        exporting.go()
        exporting.go()
    name, phase = "phasescope.phase.duration", frozenset({("phasescope.phase", "step")})
    assert collector.metrics("a")[name, phase].start_time_unix_nano == START_NS
    missed = collector.metrics("b")["phasescope.session.events_missed", frozenset()]
    assert missed.as_int > 0
    assert START_NS < missed.start_time_unix_nano < missed.time_unix_nano


def test_phases_are_spans_inside_each_other(rings: Path, collector: Collector, exporting: Exporting) -> None:
    collector.start()
    with made_ring(rings, session_id="a") as ring:
        step = ring.enter(["step"])
        ring.run(["step", HOSTILE], 2, step)
        ring.leave(step, ["step"], None, 3_000_000, "error")
        exporting.go()
    (_, inner), (resource, outer) = collector.spans()
    assert resource["service.instance.id"] == "a"
    assert inner.trace_id == outer.trace_id
    assert inner.parent_span_id == outer.span_id
    assert outer.parent_span_id == b""
    assert (outer.name, inner.name) == ("step", path_label((HOSTILE,)))
    assert inner.end_time_unix_nano - inner.start_time_unix_nano == 2_000_000
    assert (inner.status.code, outer.status.code) == (0, 2)
    assert attributes(inner.attributes)["phasescope.phase"] == path_label(("step", HOSTILE))


def test_spans_are_sampled_in_bursts_and_the_rest_is_counted(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start()
    with made_ring(rings, session_id="a") as ring:
        ring.now_ns = START_NS // 10_000_000_000 * 10_000_000_000
        for _ in range(1000):
            ring.run(["step"], 1)
        ring.run(["evaluate"], 1500)
        exporting.go()
        exporting.go()
    names = [span.name for _, span in collector.spans()]
    assert names == ["step"] * 100 + ["evaluate"]
    assert exporting.own(collector)["phasescope.exporter.dropped traces_not_sampled"] == 900


def test_warnings_and_errors_are_log_records_with_all_that_the_envelope_has(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start()
    with made_ring(rings, session_id="a", rank=3, world_size=8) as ring:
        step = ring.enter(["step"])
        ring.event("sample")
        ring.event("warning", context=f"nearly full {HOSTILE}", extra={"threshold": {"share": 0.9}})
        ring.event("error", context="out of memory", extra={"out_of_memory": True, "requested_bytes": (1 << 64) - 1})
        ring.leave(step, ["step"], None, 1)
        exporting.go()
        with phasescope.attach(ring.path) as reader:
            envelopes = [each for each in reader.records() if each.event_type in ("warning", "error")]
    records = [record for _, record in collector.logs()]
    assert [record.event_name for record in records] == ["phasescope.warning", "phasescope.error"]
    for record, envelope in zip(records, envelopes, strict=True):
        assert record.time_unix_nano == envelope.timestamp_ns
        assert record.observed_time_unix_nano == envelope.observed_timestamp_ns
        assert record.severity_number == {"warning": 13, "error": 17}[envelope.event_type]
        assert record.severity_text == (envelope.severity_text or "")
        found = attributes(record.attributes)
        assert found["phasescope.record_id"] == envelope.record_id
        for part in ("resource", "attributes", "correlation"):
            known = {key: value for key, value in getattr(envelope, part).items() if value is not None}
            sent = {key.removeprefix(f"phasescope.{part}."): found[key] for key in found if f".{part}." in key}
            assert sent.keys() == known.keys()
            assert {key: sent[key] for key, value in known.items() if isinstance(value, (str, bool))} == {
                key: value for key, value in known.items() if isinstance(value, (str, bool))
            }
    assert records[0].body.string_value == f"nearly full {HOSTILE}"
    assert attributes(records[0].attributes)["phasescope.attributes.threshold"] == {"share": 0.9}


def test_what_a_collector_does_not_take_waits_and_comes_when_it_is_back(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    with made_ring(rings, session_id="a") as ring:
        ring.event("warning", context="first")
        exporting.go(NOBODY_S)  # nobody listens
        collector.start(status=400)
        ring.event("warning", context="second")
        exporting.go()  # it refuses
        assert collector.logs() == []
        collector.kill()
        collector.start()
        ring.event("warning", context="third")
        exporting.go()
        exporting.go()
        assert [record.body.string_value for _, record in collector.logs()] == ["first", "second", "third"]
        own = exporting.own(collector)
        assert own["phasescope.exporter.failures metrics"] == 2
        assert own["phasescope.exporter.dropped logs"] == 0
        events = collector.metrics("a")["phasescope.session.events", frozenset({("phasescope.event_type", "warning")})]
        assert events.as_int == 3
    assert [said.partition(" ")[2].partition(";")[0] for said in exporting.said] == [
        *("does not take metrics", "does not take logs", "takes metrics again", "takes logs again")
    ]


def test_one_item_that_is_refused_is_found_and_dropped_and_does_not_hold_up_the_others(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start(poison="refused!")
    with made_ring(rings, session_id="a") as ring:
        ring.event("warning", context="first")
        exporting.go()
        for number in range(50):
            ring.event("warning", context="refused!" if number == 31 else str(number))
        exporting.go()
        exporting.go()
    expected = ["first", *(str(number) for number in range(50) if number != 31)]
    assert [record.body.string_value for _, record in collector.logs()] == expected
    assert exporting.own(collector)["phasescope.exporter.dropped logs"] == 1
    assert exporting.delivery.dropped()["logs"] == 1


def test_what_the_collector_says_it_left_out_is_counted(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start(rejected=3)
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step"], 1)
        ring.event("warning", context="first")
        exporting.go()
        exporting.go()
    own = exporting.own(collector)
    assert {name: own[f"phasescope.exporter.dropped {name}"] for name in ("traces", "logs")} == {"traces": 3, "logs": 3}
    assert own["phasescope.exporter.dropped metrics"] >= 3


def test_a_redirection_is_not_followed_and_not_taken_for_a_success(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start(status=301)
    with made_ring(rings, session_id="a") as ring:
        ring.event("warning", context="first")
        exporting.go()
        assert {request["path"] for request in collector.requests()} == {"/v1/metrics", "/v1/logs"}
        assert any("does not take logs" in said for said in exporting.said)
        collector.kill()
        collector.start()
        exporting.go()
    assert [record.body.string_value for _, record in collector.logs()] == ["first"]


def test_many_sessions_are_sent_in_several_requests(
    rings: Path, collector: Collector, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "_SESSIONS_A_REQUEST", 2)
    monkeypatch.setattr(otlp, "_MOST_ENDED", 1)
    collector.start()
    with made_ring(rings, session_id="a") as one, made_ring(rings, session_id="b", pid=2) as two:
        exporting.go()
        assert [len(message.resource_metrics) for message in collector.messages("metrics")] == [2, 1]
        one.stop()
        two.stop()
        exporting.sessions._keep_ended_ns = -(10**12)
        exporting.go()
        exporting.go()
    assert exporting.own(collector)["phasescope.exporter.dropped metrics"] == 1  # one more than may wait had ended


def test_beyond_the_limit_the_oldest_are_dropped_and_counted(
    rings: Path, collector: Collector, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "QUEUE_LIMIT", 10)
    with made_ring(rings, session_id="a") as ring:
        for number in range(25):
            ring.event("warning", context=str(number))
        exporting.go(NOBODY_S)
        collector.start()
        exporting.go()
        exporting.go()
    assert [record.body.string_value for _, record in collector.logs()] == [str(number) for number in range(15, 25)]
    assert exporting.own(collector)["phasescope.exporter.dropped logs"] == 15


def test_a_collector_that_is_slow_does_not_hold_up_the_reading(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start(delay_s=3600)
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step"], 1)
        exporting.sessions.poll()
        sender = threading.Thread(target=exporting.delivery.deliver)
        sender.start()
        for count in range(2, 50):
            ring.run(["step"], 1)
            with exporting.delivery._lock:
                exporting.sessions.poll()
                (session,) = exporting.sessions
                assert sum(session.figures.durations["step"].counts) == count
        sender.join()
    assert any("does not take metrics" in said for said in exporting.said)


def test_the_last_figures_of_a_session_that_is_let_go_of_are_sent(
    rings: Path, collector: Collector, exporting: Exporting
) -> None:
    collector.start()
    with made_ring(rings, session_id="a") as ring:
        exporting.go()
        ring.run(["step"], 1)
        ring.stop()
        exporting.sessions._keep_ended_ns = -(10**12)
        exporting.go()
        exporting.go()
    assert collector.metrics("a")["phasescope.session.running", frozenset()].as_int == 0
    assert len(collector.messages("metrics")) == 3
    assert len(collector.messages("metrics")[2].resource_metrics) == 1  # only the exporter's own


def test_where_it_is_preferred_counters_are_what_was_added_since_the_last_delivery(
    rings: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta")
    exporting = Exporting(rings, collector.url)
    collector.start()
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step"], 3)
        exporting.go()
        collector.kill()
        ring.run(["step"], 4)
        exporting.go(NOBODY_S)  # nobody is there: it is in the next one
        collector.start()
        ring.run(["step"], 5)
        exporting.go()
        exporting.go()
        with phasescope.attach(ring.path) as reader:
            row, events = reader.summary().rows[0], len(list(reader.events()))
    exporting.delivery.hurry()
    exporting.sessions.close()
    durations = [metric for metric in sent_metrics(collector) if metric.name == "phasescope.phase.duration"]
    assert {metric.histogram.aggregation_temporality for metric in durations} == {1}  # delta
    points = [metric.histogram.data_points[0] for metric in durations]
    assert [(point.count, sum(point.bucket_counts)) for point in points] == [(1, 1), (2, 2), (0, 0)]
    assert sum(point.sum for point in points) == pytest.approx((row.total_ns or 0) / 1e9, rel=1e-12)
    assert [point.start_time_unix_nano for point in points[1:]] == [point.time_unix_nano for point in points[:-1]]
    assert [point.HasField("min") for point in points] == [True, False, False]  # since then: not known
    sums = [metric for metric in sent_metrics(collector) if metric.name == "phasescope.session.events"]
    assert sum(point.as_int for metric in sums for point in metric.sum.data_points) == events
    usage = [metric for metric in sent_metrics(collector) if metric.name == "process.memory.usage"]
    assert {metric.sum.aggregation_temporality for metric in usage} <= {2}  # what goes up and down stays as it is


def sent_metrics(collector: Collector) -> list[Any]:
    return [
        metric
        for message in collector.messages("metrics")
        for each in message.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    ]


def test_a_queue_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "QUEUE_LIMIT", 3)
    queue = Queue()
    for number in range(3):
        queue.put(number)
    taken = queue.take(2)
    queue.put(3)
    queue.give_back(taken)
    assert (queue.take(9), queue.dropped) == ([1, 2, 3], 1)


@pytest.mark.parametrize(
    ("url", "shown", "headers"),
    [
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318", {}),
        ("https://[::1]:4318/otlp", "https://[::1]:4318/otlp", {}),
        ("https://me:p%40ss@node-7", "https://node-7", {"Authorization": "Basic bWU6cEBzcw=="}),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str, headers: dict[str, str]) -> None:
    assert endpoint_of(url) == (shown, shown, headers)


@pytest.mark.parametrize(
    "url", ["node-7:4318", "ftp://s3cret@node-7", "http://", "http://s3cret@x:port", "http://[s3cret"]
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        endpoint_of(url)
    assert "s3cret" not in str(raised.value)


def test_the_documentation_lists_every_metric_with_its_kind_and_unit() -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    text = text.partition("## OpenTelemetry")[2]
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([a-z -]+) \| `([^`]+)` \|", text, re.MULTILINE)
    assert [(name, (kind, unit)) for name, kind, unit in rows] == list(NAMES.items())


def test_a_collector_that_is_back_when_the_export_ends_gets_the_rest(
    rings: Path, collector: Collector, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.start()
    exporting.delivery.start()
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step"], 3)
        exporting.go()
        collector.kill()
        ring.run(["step"], 4)
        exporting.go(NOBODY_S)
        assert any("does not take metrics" in line for line in exporting.said)
        collector.start()
        exporting.wait_for_answers(ANSWER_S)
        monkeypatch.setattr(otlp, "_ONCE_MORE_S", CEILING_S)
        exporting.delivery.close()
        with phasescope.attach(ring.path) as reader:
            (row,) = reader.summary().rows
    durations = collector.metrics("a")["phasescope.phase.duration", frozenset({("phasescope.phase", "step")})]
    assert (durations.count, durations.sum) == (row.count, (row.total_ns or 0) / 1e9)
