"""Summaries straight from a ring's packed events say just what the events themselves would."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope import attach
from phasescope.analysis.summary.summary import Summary, summarize
from phasescope.recordings.line_text import line_of
from phasescope.recordings.reader import RecordingReader
from support.packed import BIG, LINES, packed_events, reader_of_packed, recordings, with_wrong_bytes
from support.recordings import ENDINGS


def by_events(reader: phasescope.Reader) -> Summary:
    events = reader.events()
    return summarize(events, missed=reader.missed, damaged=reader.damaged)


def test_a_real_session_of_all_kinds_of_phases(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"], interval_ms=1, report_exceptions=[KeyError]) as session:
        leaked = phasescope.phase("leaked")
        leaked.__enter__()

        def work() -> None:
            for _ in phasescope.track(range(30), name="load"):
                with phasescope.phase("inner"), phasescope.phase("innermost", a=1):
                    pass

        thread = threading.Thread(target=work)
        thread.start()
        work()
        thread.join()
        with pytest.raises(KeyError), phasescope.phase("fails"):
            raise KeyError
        with session.reader() as reader:
            assert reader.summary().open >= 1
    with session.reader() as reader:
        summary = reader.summary()
        assert summary == by_events(reader)
        assert (summary.abandoned, summary.errors) == (1, 1)


def test_a_ring_that_has_come_round_and_begins_inside_of_phases(tmp_path: Path) -> None:
    with phasescope.start(backends=["cpu"], capacity_bytes=64 * 1024) as session, phasescope.phase("outer"):
        for _ in range(1500):
            with phasescope.phase("step"), phasescope.phase("forward"):
                pass
    with session.reader() as reader:
        summary = reader.summary()
        assert summary == by_events(reader)
        assert summary.missed > 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(packed_events(), max_size=40), st.lists(st.binary(max_size=8), max_size=2))
def test_whatever_a_ring_holds(events: list[tuple[Any, ...]], broken: list[bytes]) -> None:
    reader = reader_of_packed(events, broken)
    assert reader.summary() == by_events(reader)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(recordings())
def test_whatever_a_recording_holds(recording: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(recording)
        check_as_its_events(path)


def check_as_its_events(path: Path) -> None:
    """Summary and damage of a recording, however it was found out."""
    with RecordingReader.open(path) as reader:
        expected = by_events(reader)
        of_reading = (reader.missed, reader.damaged, reader.problems, reader.others)
        assert reader.summary() == expected
        assert (reader.missed, reader.damaged, reader.problems, reader.others) == of_reading


@pytest.mark.parametrize("seed", range(20))
def test_a_recording_with_bytes_that_are_wrong(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(with_wrong_bytes(seed))
    check_as_its_events(path)


@pytest.mark.parametrize(
    "at_end",
    [b"\n\n", b"\r\n", b"", b" ", b"\n  \n", b"\nno JSON\n"],
    ids=["blank", "CR", "none", "space", "white", "no"],
)
def test_a_recording_whose_lines_are_not_one_event_each(tmp_path: Path, at_end: bytes) -> None:
    path = tmp_path / "run.jsonl"
    lines = LINES.copy()
    for at in range(150, len(lines), 150):
        lines[at] = lines[at][:-1] + at_end
    lines[-2] = lines[-2].replace(b',"pid"', b',\n"pid"')
    path.write_bytes(b"".join(lines))
    check_as_its_events(path)


@pytest.mark.parametrize("common", [{"world_size": BIG}, {"job_id": "a"}, {"rank": 1, "world_size": 2}, {"host": "é"}])
def test_a_recording_whose_events_have_less_in_common(tmp_path: Path, common: dict[str, Any]) -> None:
    path = tmp_path / "run.jsonl"
    events = [{**json.loads(line), **(common if at % 3 else {})} for at, line in enumerate(LINES)]
    path.write_bytes(b"".join(map(line_of, events)))
    check_as_its_events(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recording_of_a_real_session(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run{ending}"
    with phasescope.start(backends=["cpu"], record=path, capacity_bytes=1 << 20):
        for _ in phasescope.track(range(500)):
            with phasescope.phase("step"), phasescope.phase("forward", a=1):
                pass
    with attach(path) as reader:
        summary = reader.summary()
        assert summary == by_events(reader)
        assert summary.rows[0].count == 500
