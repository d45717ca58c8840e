"""The envelopes of a ring are those of its events, whatever it holds."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope.readers import packed_envelopes
from phasescope.wire.envelope import project_owned_event, project_telemetry_mapping, projected_record_to_dict
from support.packed import packed_events, reader_of_packed

if TYPE_CHECKING:
    import pytest


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(packed_events(), max_size=40), st.lists(st.binary(max_size=8), max_size=2))
def test_whatever_a_ring_holds(events: list[tuple[Any, ...]], broken: list[bytes]) -> None:
    reader = reader_of_packed(events, broken)
    expected = [project_telemetry_mapping(event) for event in reader.events()]
    damaged = reader.damaged
    found = reader.records()
    assert [*map(projected_record_to_dict, found)] == [*map(projected_record_to_dict, expected)]
    assert (found, reader.damaged) == (expected, damaged)


def test_few_events_are_made_of_a_session_until_more_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000, capacity_bytes=2**22) as session:
        for step in range(500):
            with phasescope.phase("step", number=step, share=step / 7, name="é"), phasescope.phase("forward"):
                pass
    made = []

    def counted(event: dict[str, Any]) -> Any:
        made.append(event)
        return project_owned_event(event)

    monkeypatch.setattr(packed_envelopes, "project_owned_event", counted)
    with session.reader() as reader:
        records, events = reader.records(), reader.events()
    assert len(records) == len(events) > 2000
    assert len(made) < 20
    same = [project_telemetry_mapping(event) for event in events]
    assert [record.timestamp_ns for record in records] == [record.timestamp_ns for record in same]
    assert [record.record_id for record in records[:900]] == [record.record_id for record in same[:900]]
    assert copy.deepcopy(records[1000]) == pickle.loads(pickle.dumps(records[1000])) == same[1000]
    assert records[999].attributes == same[999].attributes
    assert records == same  # the reader is closed by now
    assert {record.record_id for record in records} == {record.record_id for record in same}
