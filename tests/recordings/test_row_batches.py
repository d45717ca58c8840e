"""Tables made of what is packed have the rows that the events themselves would give."""

from __future__ import annotations

import json
import tempfile
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope import _native
from phasescope.readers.ring_reader import RingReader
from phasescope.recordings import row_batches
from phasescope.recordings.columns import (
    COMMON,
    MEASURED,
    PHASE,
    REPEATED,
    links_of,
)
from phasescope.recordings.line_text import line_of
from phasescope.recordings.reader import RecordingReader
from phasescope.recordings.row_batches import of_events, of_ring
from support.packed import LINES, packed_events, reader_of_packed, recordings, with_odd_metadata, with_wrong_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable


SLOWLY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def rows_of(found: Iterable[Any]) -> list[dict[str, Any]]:
    """All values of each row by their columns."""
    listed = []
    for rows in found:
        links = links_of(rows.phases, rows.common[COMMON.index("session_id")])
        for at, (place, measured, phase, metadata) in enumerate(
            zip(rows.places, rows.measured, rows.phases, rows.metadata, strict=True)
        ):
            listed.append(
                {
                    **dict(zip(COMMON, rows.common, strict=True)),
                    **dict(zip(REPEATED, rows.repeated[place], strict=True)),
                    **{column: attrgetter(name)(measured) for column, name in MEASURED.items()},
                    **{column: attrgetter(name)(phase) for column, name in PHASE.items()},
                    **{column: numbers[at] for column, numbers in links.items()},
                    "metadata": json.loads(metadata),
                }
            )
    return listed


def check_ring(reader: RingReader) -> None:
    expected = rows_of(of_events(reader.iter_events()))
    damaged = reader.damaged
    assert rows_of(of_ring(reader)) == expected
    assert reader.damaged == damaged


def check_recording(path: Path) -> None:
    with RecordingReader.open(path) as reader:
        expected = rows_of(of_events(reader.iter_events()))
        of_reading = (reader.written, reader.missed, reader.damaged, reader.problems, reader.others)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_native, "core", None)  # the compiled core's rows are compared with these in tests/native
            assert rows_of(reader.iter_rows()) == expected
        assert (reader.written, reader.missed, reader.damaged, reader.problems, reader.others) == of_reading


@SLOWLY
@given(st.lists(packed_events(), max_size=40), st.lists(st.binary(max_size=8), max_size=2))
def test_whatever_a_ring_holds(events: list[tuple[Any, ...]], broken: list[bytes]) -> None:
    check_ring(reader_of_packed(events, broken))


@SLOWLY
@given(recordings())
def test_whatever_a_recording_holds(recording: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(recording)
        check_recording(path)


@pytest.mark.parametrize("seed", range(10))
def test_a_recording_with_bytes_that_are_wrong(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(with_wrong_bytes(seed))
    check_recording(path)


def test_a_line_with_its_metadata_elsewhere_or_twice(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(with_odd_metadata(LINES)))
    check_recording(path)


@pytest.mark.parametrize("differing", [{"pid": 7}, {"sampling_interval_ms": 1}, {"host": "other"}, {"rank": 1}])
def test_events_of_one_session_that_differ_in_what_it_has_in_common(tmp_path: Path, differing: dict[str, Any]) -> None:
    events = [
        {**json.loads(line), "world_size": 2, **(differing if at % 9 == 8 else {})} for at, line in enumerate(LINES)
    ]
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(map(line_of, events)))
    check_recording(path)


def test_few_events_are_made_of_a_real_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    kept = row_batches.RowBatches.add

    def counted(self: row_batches.RowBatches, event: dict[str, Any]) -> None:
        made.append(event)
        kept(self, event)

    path = tmp_path / "run.jsonl"
    with phasescope.start(backends=["cpu"], record=path) as session:
        for index in range(500):
            with phasescope.phase('épo"ch'), phasescope.phase("step"):
                pass
            if index == 250:
                with phasescope.phase("named", index=index):
                    pass
    with RingReader.open(session.path or "") as ring, RecordingReader.open(path) as recording:
        check_ring(ring)
        check_recording(path)
        monkeypatch.setattr(row_batches.RowBatches, "add", counted)
        monkeypatch.setattr(_native, "core", None)
        for found in (of_ring(ring), recording.iter_rows()):
            made.clear()
            assert len(rows_of(found)) > 2000
            assert len(made) < 400  # samples, and after each of them new kinds
