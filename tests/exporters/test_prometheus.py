"""The page of metrics, parsed by prometheus_client's own parsers and compared with what the ring's summary says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from support.fakes.made_rings import GIB, START_NS, made_ring
from support.waiting import CEILING_S

pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")
if not hasattr(os, "getuid"):
    pytest.skip("sessions lie in files only where they can be locked", allow_module_level=True)

from prometheus_client import exposition, parser
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser

from phasescope.exporters.label_text import OTHER, path_label
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.exporters.prometheus import SESSION_LABELS, STATES, every_metric, registry_of
from phasescope.wire import ring_files
from phasescope.wire.encoding import MASKED_COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HOSTILE = 'x"} 1\n# EOF\nevil{a="b\\'

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def sessions(rings: Path) -> Iterator[LiveSessions]:
    made = LiveSessions(lambda: ring_files.find(rings), max_phases=4, now_ns=lambda: START_NS)
    yield made
    made.close()


def page(sessions: LiveSessions) -> str:
    return str(exposition.generate_latest(registry_of(sessions, threading.Lock())), "utf-8")


def parsed(text: str, of: Any = parser) -> Samples:
    found: Samples = {}
    for family in of.text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "the same series twice"
            found[key] = sample.value
    return found


def of_session(samples: Samples, session_id: str, name: str) -> dict[tuple[str, ...], float]:
    """Return this metric's samples by the labels that are not the session's."""
    chosen = {}
    for (sample_name, labels), value in samples.items():
        if sample_name == f"phasescope_{name}" and ("session_id", session_id) in labels:
            own = sorted((key, text) for key, text in labels if key not in SESSION_LABELS)
            chosen[tuple(text for _, text in own)] = value
    return chosen


def test_what_the_page_says_is_what_the_summary_says(rings: Path, sessions: LiveSessions) -> None:
    with (
        made_ring(rings, session_id="a", job_id="7", rank=0, world_size=2) as one,
        made_ring(rings, session_id="b", job_id="7", rank=1, world_size=2, pid=2) as two,
    ):
        for ring, ms in ((one, 0.1), (two, 40)):
            ring.event("start")
            step = ring.enter(["step"])
            ring.run(["step", HOSTILE], ms, step)
            ring.allocated += GIB
            ring.run(["step", HOSTILE], 1000 * ms, step)
            ring.allocated -= GIB
            ring.event("sample")
        samples = parsed(page(sessions))
        for ring, session_id in ((one, "a"), (two, "b")):
            with phasescope.attach(ring.path) as reader:
                _agree(samples, session_id, reader.summary())


def _agree(samples: Samples, session_id: str, summary: phasescope.Summary) -> None:
    rows = {(path_label(row.path),): row for row in summary.rows}
    assert set(rows) == {("step",), (path_label(("step", HOSTILE)),)}
    timed = {phase: row for phase, row in rows.items() if row.total_ns is not None}
    assert of_session(samples, session_id, "phase_duration_seconds_count") == {p: r.count for p, r in timed.items()}
    sums = {phase: (row.total_ns or 0) / 1e9 for phase, row in timed.items()}
    assert of_session(samples, session_id, "phase_duration_seconds_sum") == sums
    assert of_session(samples, session_id, "phase_open") == {phase: row.open for phase, row in rows.items()}
    assert of_session(samples, session_id, "phase_errors_total") == {phase: row.errors for phase, row in rows.items()}
    peaks = {phase: row.peak_allocated_bytes for phase, row in rows.items()}
    assert of_session(samples, session_id, "phase_peak_allocated_bytes") == peaks
    (device,) = summary.devices
    for name in ("allocated", "reserved", "used", "used_by_others", "free", "total"):
        known = getattr(device, f"{name}_bytes")
        expected = {} if known is None else {("cuda:0",): known}
        assert of_session(samples, session_id, f"device_{name}_bytes") == expected
    assert of_session(samples, session_id, "device_allocated_peak_bytes") == {("cuda:0",): 2 * GIB}
    counts = {(event_type,): count for event_type, count in summary.events_by_type.items()}
    assert of_session(samples, session_id, "session_events_total") == counts
    assert of_session(samples, session_id, "session_events_missed_total") == {(): summary.missed}


def test_a_bucket_holds_its_bound_and_all_below(rings: Path, sessions: LiveSessions) -> None:
    with made_ring(rings, session_id="a") as ring:
        for ms in (0.05, 0.1, 0.11, 3, 250_000, 400_000):
            ring.run(["step"], ms)
        buckets = of_session(parsed(page(sessions)), "a", "phase_duration_seconds_bucket")
    counts = {float(bound): value for (bound, _), value in buckets.items()}
    assert counts[0.0001] == 2
    assert counts[0.0003] == 3
    assert counts[0.003] == 4
    assert (counts[100.0], counts[300.0], counts[float("inf")]) == (4, 5, 6)


def test_phases_beyond_the_limit_are_counted_together(rings: Path, sessions: LiveSessions) -> None:
    with made_ring(rings, session_id="a") as ring:
        for number in range(20):
            ring.run([f"step{number}"], 1)
        samples = parsed(page(sessions))
    counts = of_session(samples, "a", "phase_duration_seconds_count")
    assert counts == {("step0",): 1, ("step1",): 1, ("step2",): 1, ("step3",): 1, (OTHER,): 16}
    assert of_session(samples, "a", "session_phases_in_other") == {(): 16}


def test_what_is_not_known_is_not_there(rings: Path, sessions: LiveSessions) -> None:
    with made_ring(rings, session_id="a", job_id=None) as ring:
        ring.unavailable = 1 << MASKED_COUNTERS.index("allocator_allocated_bytes")
        ring.event("sample")
        samples = parsed(page(sessions))
    assert of_session(samples, "a", "device_allocated_bytes") == {}
    assert of_session(samples, "a", "device_allocated_peak_bytes") == {}
    assert of_session(samples, "a", "device_total_bytes") == {("cuda:0",): 80 * GIB}
    assert all(("job_id", "") in labels for name, labels in samples if name == "phasescope_session_state")


def test_a_session_that_ended_says_so(rings: Path, sessions: LiveSessions) -> None:
    with made_ring(rings, session_id="a") as ring:
        assert of_session(parsed(page(sessions)), "a", "session_state")[("running",)] == 1
        ring.stop()
        states = of_session(parsed(page(sessions)), "a", "session_state")
    assert states == {(state,): float(state == "stopped") for state in STATES}


def test_a_ring_that_is_shortened_while_the_page_is_made_does_not_break_it(
    rings: Path, sessions: LiveSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step"], 1)
        sessions.poll()
        ring.die()
        Path(ring.path).chmod(0o600)
        os.truncate(ring.path, 64)
        monkeypatch.setattr(sessions, "poll", lambda: False)
        assert of_session(parsed(page(sessions)), "a", "phase_duration_seconds_count") == {("step",): 1}


def test_openmetrics_says_the_same(rings: Path, sessions: LiveSessions) -> None:
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step", HOSTILE], 1)
        registry = registry_of(sessions, threading.Lock())
        text = openmetrics_exposition.generate_latest(registry).decode()
        assert parsed(text, openmetrics_parser) == parsed(page(sessions))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
def test_promtool_finds_nothing_to_say(rings: Path, sessions: LiveSessions) -> None:
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step", HOSTILE], 1)
        text = page(sessions)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=CEILING_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_documentation_lists_every_metric_with_its_labels() -> None:
    documented = re.findall(
        r"^\| `(phasescope_\w+)` \| (\w+) \| ?`?(\w*)`? ?\|",
        (ROOT / "docs" / "export.md").read_text("utf-8"),
        re.MULTILINE,
    )
    made = []
    for metric in every_metric():
        more = [name for name in metric._labelnames if name not in SESSION_LABELS]
        suffix = "_total" if metric.type == "counter" else ""
        made.append((metric.name + suffix, metric.type, *(more or [""])))
    assert sorted(documented) == sorted(made)
