"""Envelopes: one made of an event, and the ten thousand that a ring holds listed."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import ours, peers
from benchmarks.measure import Subject, interleave, ratio, scaled
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS = 10_000
RECORDS = 200
"""Different events in a block of projections, so that nothing can be remembered from one to the next."""


def run(rounds: int) -> Result:
    """Return the rows about envelopes."""
    series = interleave(_projections(), rounds)
    lists = interleave(_lists(), max(2, rounds // 2), _time_list)
    listed = {name: scaled(times, 1e-9, "s") for name, times in lists.items()}
    ours_, theirs = series["projection"], series["Stormlog"]
    return Result(
        [
            Row(
                "project a v3 dict, read record_id / Stormlog", ratio(ours_, theirs, "1/x"), 1 / 4, 1 / 8, ours_, theirs
            ),
            Row(f"list {EVENTS:,} envelopes from a ring", listed["session"], 0.05, 0.03),
            Row("the same, and read every record_id", listed["session, ids"]),
            Row("the same as a second process would, ids read", listed["attach, ids"]),
            Row(f"Stormlog: load {EVENTS:,} events from its sink and project them", listed["Stormlog"]),
            Row("Stormlog's projection with its validator before it", series["Stormlog, validated"]),
        ],
        [_agreement()],
    )


def phase_exit_events() -> list[dict[str, Any]]:
    """Return events as a session emits them at the end of a phase, each of its own."""
    with ours.session() as names:
        for step in range(RECORDS):
            with names["phase"]("epoch", n=1), names["phase"]("forward", step=step):
                pass
        events = [event for event in names["session"].events() if event["event_type"] == "phase_exit"]
    return [event for event in events if event["metadata"]["phase_scope"]["name"] == "forward"]


def _agreement() -> str:
    """Say whether both sides did the same work, by the record ids, which hash all of the event."""
    try:
        events = phase_exit_events()
        mine, theirs = _our_projection(), _stormlog_projection()
        same = sum(mine(event).record_id == theirs(event).record_id for event in events)
    except Exception as error:
        return f"Whether the record ids agree with Stormlog's could not be checked: {type(error).__name__}."
    return f"Of {len(events)} projected events, {same} have the same record_id as Stormlog's projection of them."


def _projections() -> list[Subject]:
    statement = "for record in records: project(record).record_id"

    def subject(name: str, text: str, number: int, find: Callable[[], Any]) -> Subject:
        return Subject(name, text, number, partial(_projection, find), operations=RECORDS)

    return [
        subject("projection", statement, 20_000, _our_projection),
        subject("Stormlog", statement, 2_000, _stormlog_projection),
        subject("Stormlog, validated", "for record in records: project(record)", 2_000, _stormlog_validated),
    ]


@contextlib.contextmanager
def _projection(find: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    yield {"project": find(), "records": phase_exit_events()}


def _our_projection() -> Any:
    import phasescope

    return phasescope.project_telemetry_mapping


def _stormlog_projection() -> Any:
    from stormlog.telemetry_model import project_telemetry_mapping

    return project_telemetry_mapping


def _stormlog_validated() -> Any:
    from stormlog.telemetry import project_telemetry_event

    return project_telemetry_event


def _lists() -> list[Subject]:
    return [
        Subject("session", "", EVENTS, partial(_our_list, lambda session: list(session.records()))),
        Subject("session, ids", "", EVENTS, partial(_our_list, lambda session: _with_ids(session.records()))),
        Subject("attach, ids", "", EVENTS, partial(_our_list, _attached)),
        Subject("Stormlog", "", EVENTS, _stormlog_list),
    ]


def _time_list(subject: Subject) -> float:
    with subject.opened() as names:
        started = time.perf_counter_ns()
        records = names["list"]()
        took = time.perf_counter_ns() - started
    if len(records) < EVENTS:
        raise RuntimeError(f"{len(records)} of {EVENTS} envelopes were listed")
    return took / len(records) * EVENTS


@contextlib.contextmanager
def _our_list(listing: Callable[[Any], list[Any]]) -> Iterator[dict[str, Any]]:
    with ours.session() as names:
        for _ in range(EVENTS // 2):
            with names["phase"]("forward"):
                pass
        yield {"list": partial(listing, names["session"])}


def _with_ids(records: Any) -> list[Any]:
    listed = list(records)
    for record in listed:
        record.record_id  # noqa: B018 - reading makes it
    return listed


def _attached(session: Any) -> list[Any]:
    import phasescope

    with phasescope.attach(session.path) as reader:
        return _with_ids(reader.records())


@contextlib.contextmanager
def _stormlog_list() -> Iterator[dict[str, Any]]:
    from stormlog.telemetry import load_telemetry_events, project_telemetry_events

    with peers.stormlog("free", sink=True) as names:
        for _ in range(EVENTS // 2):
            with names["tracker"].phase("forward"):
                pass
        names["tracker"].stop_tracking()
        yield {"list": lambda: project_telemetry_events(load_telemetry_events(names["directory"]))}
