"""The summary: its figures, what it does not know, its bounds, and the table."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope.analysis.formatting import text_width
from phasescope.analysis.statistics import quantiles
from phasescope.analysis.summary import phase_tree
from phasescope.analysis.summary.summary import Row, Summary, summarize
from support.events import MIB, MS, SESSION_ID, START_NS, MadeSession
from support.strategies import odd_events


def row_of(summary: Summary, *path: str) -> Row:
    (row,) = (row for row in summary.rows if row.path == path)
    return row


def training(epochs: int = 2, steps: int = 3) -> MadeSession:
    session = MadeSession()
    session.event("start")
    for _ in range(epochs):
        epoch = session.enter("epoch")
        for _ in range(steps):
            for name, ms, change in (("forward", 3, 10 * MIB), ("backward", 6, -10 * MIB)):
                inner = session.enter("epoch", name, parent=epoch)
                session.now_ns += ms * MS
                session.allocated += change
                inner.exit()
        epoch.exit()
    session.event("stop")
    return session


def test_times_are_summed_by_path() -> None:
    summary = summarize(training().events)
    forward = row_of(summary, "epoch", "forward")
    assert (forward.count, forward.total_ns, forward.mean_ns) == (6, 18 * MS, 3 * MS)
    assert (forward.p50_ns, forward.p95_ns, forward.depth) == (3 * MS, 3 * MS, 2)
    assert row_of(summary, "epoch").total_ns == 54 * MS
    assert forward.share == pytest.approx(18 / 54)
    assert summary.observed_ns == 54 * MS


def test_rows_stand_in_tree_order_as_first_seen() -> None:
    session = MadeSession()
    for path in (("b",), ("a",), ("b", "y"), ("a", "z"), ("b", "x"), ("b", "y", "k")):
        session.run(*path)
    assert [row.path for row in summarize(session.events).rows] == [
        ("b",),
        ("b", "y"),
        ("b", "y", "k"),
        ("b", "x"),
        ("a",),
        ("a", "z"),
    ]


def test_percentiles_are_by_nearest_rank() -> None:
    session = MadeSession()
    for ms in range(1, 101):
        session.run("step", ms=ms)
    row = row_of(summarize(session.events), "step")
    assert (row.p50_ns, row.p95_ns, row.percentiles_are_exact) == (50 * MS, 95 * MS, True)


def test_memory_deltas_are_net_and_mean() -> None:
    session = MadeSession()
    session.run("grow", change=6 * MIB)
    session.run("grow", change=-2 * MIB)
    row = row_of(summarize(session.events), "grow")
    assert (row.allocated_delta_bytes, row.allocated_delta_mean_bytes) == (4 * MIB, 2 * MIB)


def test_identity_and_the_counts_of_the_reader_are_kept() -> None:
    session = MadeSession(rank=3, world_size=8)
    session.run("step")
    summary = summarize(iter(session.events), missed=5, damaged=2)
    assert (summary.session_id, summary.pid, summary.host) == (SESSION_ID, 4242, "node-07")
    assert (summary.rank, summary.world_size, summary.missed, summary.damaged) == (3, 8, 5, 2)
    assert (summary.first_timestamp_ns, summary.last_timestamp_ns) == (START_NS, START_NS + MS)
    assert summary.events_by_type == {"phase_enter": 1, "phase_exit": 1}


def test_a_parent_whose_own_events_were_overwritten_has_a_row_of_unknowns() -> None:
    session = training(epochs=1)
    inner = [event for event in session.events if event["metadata"].get("phase_scope", {}).get("name") == "forward"]
    epoch = row_of(summarize(inner), "epoch")
    assert (epoch.count, epoch.total_ns, epoch.mean_ns, epoch.p50_ns) == (0, None, None, None)
    assert (epoch.allocated_delta_bytes, epoch.open) == (None, 1)
    assert epoch.peak_allocated_bytes == 10 * MIB


def test_the_time_of_an_open_phase_counts_in_its_share_only() -> None:
    session = MadeSession()
    session.event("start")
    session.enter("epoch")
    session.now_ns += 100 * MS
    session.sample()
    epoch = row_of(summarize(session.events), "epoch")
    assert (epoch.open, epoch.open_ns, epoch.total_ns, epoch.share) == (1, 100 * MS, None, 1.0)


def test_errors_and_abandoned_phases_are_counted() -> None:
    session = MadeSession()
    session.run("step")
    session.run("step", status="error", error_type="OutOfMemoryError")
    session.run("step", status="abandoned")
    summary = summarize(session.events)
    row = row_of(summary, "step")
    assert (row.count, row.errors, row.abandoned) == (3, 1, 1)
    assert (summary.errors, summary.abandoned, summary.open) == (1, 1, 0)
    assert "ended in an exception: step (1)" in str(summary)
    assert "open when the session stopped: step (1)" in str(summary)


def test_the_fetch_that_found_the_end_is_no_item() -> None:
    session = MadeSession()
    session.run("data", ms=2)
    session.run("data", ms=900, change=MIB, exhausted=True)
    row = row_of(summarize(session.events), "data")
    assert (row.count, row.exhausted, row.total_ns, row.p95_ns) == (1, 1, 2 * MS, 2 * MS)
    assert row.allocated_delta_bytes == 0


def test_a_peak_is_exact_only_where_every_exit_measured_it() -> None:
    session = MadeSession()
    session.run("step", peak_allocated_bytes=7 * MIB)
    session.run("step", peak_allocated_bytes=9 * MIB)
    row = row_of(summarize(session.events), "step")
    assert (row.peak_allocated_bytes, row.peak_is_exact) == (9 * MIB, True)
    session.run("step")
    row = row_of(summarize(session.events), "step")
    assert (row.peak_allocated_bytes, row.peak_is_exact) == (9 * MIB, False)
    assert "≥9.00 MiB" in str(summarize(session.events))


def test_without_measurement_the_peak_is_the_largest_figure_seen_in_the_phase_or_below() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    forward = session.enter("epoch", "forward", parent=epoch)
    session.allocated = 50 * MIB
    session.sample(forward)
    session.allocated = 20 * MIB
    forward.exit()
    session.run("epoch", "backward")
    epoch.exit()
    session.allocated = 99 * MIB
    session.sample()  # in no phase
    summary = summarize(session.events)
    assert row_of(summary, "epoch").peak_allocated_bytes == 50 * MIB
    assert row_of(summary, "epoch", "forward").peak_allocated_bytes == 50 * MIB
    assert row_of(summary, "epoch", "backward").peak_allocated_bytes == 20 * MIB
    assert not any(row.peak_is_exact for row in summary.rows)


def test_a_peak_speaks_of_the_phases_own_device() -> None:
    """The host's resident set is no peak of a phase on a GPU."""
    session = MadeSession(backend="cuda")
    forward = session.enter("forward")
    session.sample(forward, backend="cpu", device_id=-1, allocator_allocated_bytes=900 * MIB)
    session.allocated = 5 * MIB
    forward.exit()
    row = row_of(summarize(session.events), "forward")
    assert (row.peak_allocated_bytes, row.devices) == (5 * MIB, ("cuda:0",))


def test_unknown_memory_stays_unknown() -> None:
    session = MadeSession()
    entered = session.enter("forward")
    entered.exit()
    for event in session.events:
        event["metadata"]["unavailable"] = ["allocator_allocated_bytes", "device_used_bytes"]
    summary = summarize(session.events)
    row = row_of(summary, "forward")
    assert (row.peak_allocated_bytes, row.allocated_delta_bytes) == (None, None)
    (device,) = summary.devices
    assert (device.allocated_bytes, device.used_bytes, device.used_by_others_bytes) == (None, None, None)
    assert (device.reserved_bytes, device.total_bytes) == (0, None)


def test_devices_show_their_newest_figures_and_what_others_use() -> None:
    session = MadeSession(device_total_bytes=80 * MIB, device_free_bytes=50 * MIB)
    session.sample(device_used_bytes=10 * MIB)
    session.allocated = 12 * MIB
    session.sample(allocator_reserved_bytes=16 * MIB, device_used_bytes=30 * MIB)
    session.sample(backend="cpu", device_id=-1, allocator_reserved_bytes=9 * MIB, device_used_bytes=4 * MIB)
    gpu, host = summarize(session.events).devices
    assert (gpu.label, gpu.allocated_bytes, gpu.reserved_bytes) == ("cuda:0", 12 * MIB, 16 * MIB)
    assert (gpu.used_by_others_bytes, gpu.free_bytes, gpu.total_bytes) == (14 * MIB, 50 * MIB, 80 * MIB)
    assert (host.label, host.used_by_others_bytes) == ("host", 0)


def test_an_event_that_measured_nothing_does_not_wipe_out_a_device() -> None:
    session = MadeSession()
    session.allocated = 7 * MIB
    session.sample()
    nothing = {"unavailable": ["allocator_allocated_bytes"]}
    session.event("stop", metadata=nothing, allocator_allocated_bytes=0)
    assert summarize(session.events).devices[0].allocated_bytes == 7 * MIB
    session.event("collector_degraded", metadata=nothing, allocator_allocated_bytes=0)
    assert summarize(session.events).devices[0].allocated_bytes is None


def test_paths_beyond_the_limit_are_counted_in_one_last_row() -> None:
    session = MadeSession()
    for number in range(phase_tree.MAX_PATHS + 50):
        session.run(f"phase {number}")
    session.run(*["deep"] * (phase_tree.MAX_DEPTH + 1))
    summary = summarize(session.events)
    assert len(summary.rows) == phase_tree.MAX_PATHS + 1
    rest = summary.rows[-1]
    assert rest.path == ()
    assert sum(row.count for row in summary.rows) == phase_tree.MAX_PATHS + 51
    assert "(more phases)" in str(summary)


def test_event_types_are_bounded() -> None:
    session = MadeSession()
    for number in range(1000):
        session.event(f"type {number}")
    by_type = summarize(session.events).events_by_type
    assert len(by_type) <= 65
    assert sum(by_type.values()) == 1000


def test_many_durations_are_kept_in_bounded_memory_within_one_per_cent() -> None:
    chance = random.Random(7)
    values = [int(chance.lognormvariate(15, 2)) for _ in range(3 * quantiles.EXACT_LIMIT)]
    kept = quantiles.Quantiles()
    for value in values:
        kept.extend([value])
    ordered = sorted(values)
    for share, found in zip((0.01, 0.5, 0.95, 1.0), kept.at(0.01, 0.5, 0.95, 1.0), strict=True):
        true = ordered[max(1, -int(-share * len(values) // 1)) - 1]
        assert found == pytest.approx(true, rel=1.5 * quantiles.RELATIVE_ERROR)
    assert not kept.is_exact
    at_once = quantiles.Quantiles()
    at_once.extend(values)
    assert (at_once.at(0.5, 0.95), at_once.bounds()) == (kept.at(0.5, 0.95), kept.bounds())
    backwards = quantiles.Quantiles()
    backwards.extend(reversed(values))
    assert backwards.at(0.5, 0.95) == kept.at(0.5, 0.95)


def test_percentiles_of_zeros_and_of_nothing() -> None:
    kept = quantiles.Quantiles()
    assert kept.at(0.5) == [None]
    kept.extend([0] * (quantiles.EXACT_LIMIT + 1))
    assert kept.at(0.5, 1.0) == [0, 0]


def test_to_dict_is_json_with_units_in_its_names() -> None:
    data = json.loads(json.dumps(summarize(training().events).to_dict()))
    assert data["schema_version"] == 1
    assert [row["path"] for row in data["phases"]] == [["epoch"], ["epoch", "forward"], ["epoch", "backward"]]
    assert data["phases"][1]["total_ns"] == 18 * MS
    assert data["devices"][0]["used_by_others_bytes"] == 0
    figures = {key for row in data["phases"] for key, value in row.items() if isinstance(value, int)}
    without_unit = {"depth", "count", "errors", "abandoned", "exhausted", "open", "share"}
    without_unit |= {"percentiles_are_exact", "peak_is_exact", "device_timed"}
    assert all(key.endswith(("_ns", "_bytes")) for key in figures - without_unit)


def test_the_table_as_a_person_sees_it() -> None:
    shown = str(summarize(training().events, missed=7)).splitlines()
    assert shown == [
        "session 5b0e6a3e-5a0c-4e7f-8a55-0f1d7c9a1b2c",
        "pid 4242 on node-07, observed for 54.0 ms, 30 events",
        "7 older events overwritten, not in these figures",
        "",
        "phase      count   total    mean     p50     p95 net/entry      peak share",
        "epoch          2 54.0 ms 27.0 ms 27.0 ms 27.0 ms       0 B ≥10.0 MiB  100%",
        "  forward      6 18.0 ms 3.00 ms 3.00 ms 3.00 ms +10.0 MiB ≥10.0 MiB   33%",
        "  backward     6 36.0 ms 6.00 ms 6.00 ms 6.00 ms -10.0 MiB ≥10.0 MiB   67%",
        "≥ lower bound: may be higher between samples",
        "",
        "device  allocated  reserved  by others  used  free  total",
        "cuda:0        0 B       0 B        0 B   0 B     –      –",
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_fits_where_it_can(width: int) -> None:
    session = MadeSession(
        host="a-host-with-a-name-that-is-far-too-long-to-be-shown-on-any-line-of-any-terminal.example"
    )
    for name in ("forward_through_the_whole_of_the_encoder", "b"):
        session.run("epoch", name, change=3 * MIB)
    lines = summarize(session.events, missed=10**9).table(width).splitlines()
    widest = max(map(text_width, lines))
    assert widest <= max(width, 80)
    if width >= 80:
        assert any(line.lstrip().startswith("forw") and "der " in line for line in lines)


def test_an_empty_session_says_so() -> None:
    assert str(summarize([])) == "no events\n\nno phases yet"
    session = MadeSession()
    session.event("start")
    assert "no phases yet" in str(summarize(session.events))
    session.event("stop")
    assert "no phases: the script marks none" in str(summarize(session.events))
    assert "no phases yet" not in str(summarize(session.events))


def test_hostile_names_break_no_line_and_reach_no_terminal() -> None:
    session = MadeSession(host="evil\x1b[2J\nhost", session_id="id\r\n")
    inside = session.enter("a\nb", "\x1b]0;owned\x07", parent=None)
    session.run("x\u202ey", status="error", error_type="E")
    shown = str(summarize(session.events))
    assert all(line.isprintable() for line in shown.split("\n"))
    assert r"\x1b]0;owned\x07" in shown
    assert inside.path[-1] not in shown


@given(st.lists(odd_events, max_size=8))
def test_odd_events_raise_nothing(events: list[dict[str, Any]]) -> None:
    summary = summarize(events)
    assert summary.events == len(events)
    assert all(line.isprintable() for line in str(summary).split("\n"))
    json.dumps(summary.to_dict())
