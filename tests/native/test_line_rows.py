"""What the compiled core makes of a recording's lines for a table has every value that Python gives it, whatever is in
the file."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from phasescope import _native
from phasescope.recordings import packed_lines, packed_rows, parquet
from phasescope.recordings.columns import FIGURES
from phasescope.recordings.line_text import line_of
from phasescope.recordings.reader import RecordingReader
from support.packed import BIG, recordings, ring_lines, with_odd_metadata, with_wrong_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.skipif(_native.core is None, reason=f"no compiled core here: {_native.why_not}")
pyarrow = pytest.importorskip("pyarrow")

SLOWLY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
LINES = ring_lines(80)


def told(path: Path) -> tuple[list[dict[str, Any]], tuple[Any, ...]]:
    """Return all rows, the metadata as text, and what else the reading found."""
    rows, unfit, schema = [], 0, parquet.schema_of(pyarrow)
    with RecordingReader.open(path) as reader:
        for batch in reader.iter_rows():
            table = parquet.table_of(pyarrow, schema, batch)
            table.validate(full=True)
            rows += table.to_pylist()
            unfit += batch.unfit + len(batch) - len(table)
        found = unfit, reader.written, reader.missed, reader.damaged, reader.problems, reader.others
        summary = reader.summary()
    # The bounds of chance of a mean depend on the order of its entries, which batches change where a phase has several
    # devices.
    phases = tuple(replace(row, mean_low_ns=None, mean_high_ns=None) for row in summary.rows)
    return rows, (*found, replace(summary, rows=phases))


def check(path: Path) -> list[dict[str, Any]]:
    """Return the rows, on which both ways must agree."""
    compiled = told(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "core", None)
        python = told(path)
    assert compiled == python
    return compiled[0]


def written(folder: Path, events: Iterable[dict[str, Any]]) -> Path:
    path = folder / "run.jsonl"
    path.write_bytes(b"".join(map(line_of, events)))
    return path


def sound() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES]


def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the lines of which Python is asked for a row from now on."""
    lines: list[bytes] = []
    kept = packed_lines._PackedLineBatches._row_of

    def noted(self: Any, line: bytes) -> Any:
        lines.append(line)
        return kept(self, line)

    monkeypatch.setattr(packed_lines._PackedLineBatches, "_row_of", noted)
    return lines


@SLOWLY
@given(recordings())
def test_whatever_a_recording_holds(recording: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(recording)
        check(path)


@pytest.mark.parametrize("seed", range(10))
def test_a_recording_with_bytes_that_are_wrong(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(with_wrong_bytes(seed, LINES))
    check(path)


def test_a_line_with_its_metadata_elsewhere_or_twice(tmp_path: Path) -> None:
    lines = [line.replace(b'{"metadata":1}', b'{"metadata":1,"a":1,"a":2}') for line in with_odd_metadata(LINES)]
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\n".join([*lines, b"{"]))
    check(path)


@pytest.mark.parametrize(
    "differing", [{"pid": 7}, {"pid": BIG}, {"sampling_interval_ms": 1}, {"host": "other"}, {"rank": 1}]
)
def test_events_of_one_session_that_differ_in_what_it_has_in_common(tmp_path: Path, differing: dict[str, Any]) -> None:
    events = [{**event, "world_size": 2, **(differing if at % 9 > 5 else {})} for at, event in enumerate(sound())]
    check(written(tmp_path, events))


def test_what_differs_from_line_to_line_is_in_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is longer than the one before by what is equal to it: a text that is compared must end where it ends."""
    events = [event for event in sound() if event["event_type"] in ("phase_enter", "phase_exit")]
    for at, event in enumerate(events):
        if at % 7 == 3:
            event["device_total_bytes"], event["device_used_bytes"], event["device_free_bytes"] = 123, 1, None
        elif at % 7 == 4:
            event["device_total_bytes"], event["device_used_bytes"], event["device_free_bytes"] = 12, 1, None
        scope = event["metadata"]["phase_scope"]
        scope["thread_name"] = ("Main", "Main2", "Main")[at % 3]
        scope["thread_id"] = (1, 1, 12)[at % 3]
        if at % 5 == 2:
            event["metadata"] = {"backend": "cud", "unavailable": ["a"] if at % 2 else [], "phase_scope": scope}
        if at % 11 == 2:
            scope["attributes"] = {"step": at, "text": "x" * (at % 30), "is": True, "of": None}
    lines = asked(monkeypatch)
    rows = check(written(tmp_path, events))
    assert len(rows) == len(events)
    assert len(lines) < len(events) / 2
    assert len({(row["device_total_bytes"], row["phase_thread_name"], row["phase_thread_id"]) for row in rows}) == 9
    assert {row["unavailable"] for row in rows} == {None, '["a"]'}


@pytest.mark.parametrize("key", ["scope_id", "parent_scope_id"])
@pytest.mark.parametrize(
    "odd",
    ["", "{}:", "{}:007", "{}:" + "9" * 18, "{}:" + "9" * 19, "{}:-1", "{}:1x", "{}", "other:1", "{}:1:2", "x" * 1025],
)
def test_ids_that_are_no_numbers_of_the_session(tmp_path: Path, key: str, odd: str) -> None:
    events = sound()
    for event in events[50:]:
        if event["event_type"] in ("phase_enter", "phase_exit"):
            event["metadata"]["phase_scope"][key] = odd.format(event["session_id"])
    check(written(tmp_path, events))


def test_names_with_escapes_are_written_without(tmp_path: Path) -> None:
    events = sound()
    for event in events:
        scope = event["metadata"].get("phase_scope")
        if scope is not None and "action" in scope and scope["sequence"] % 5 < 3:
            scope["name"] = scope["path"][-1] = 'é"\\'
    rows = check(written(tmp_path, events))
    assert any('"name":"é\\"\\\\"' in row["metadata"] for row in rows)


def test_few_lines_are_given_back_and_many_rows_are_several_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_rows, "GROUP_ROWS", 100)
    monkeypatch.setattr(packed_lines, "MAX_KNOWN", 3)
    lines = asked(monkeypatch)
    path = written(tmp_path, sound())
    rows = check(path)
    assert len(lines) < len(rows) / 2
    with RecordingReader.open(path) as reader:
        assert len(list(reader.iter_rows())) > 1


@pytest.mark.parametrize("row", [(), (0,) * 14, ("x", *(0,) * 12, b""), (0, *(2**64,) * 12, b""), (0, *"x" * 13), True])
def test_what_python_gives_is_not_trusted(row: Any) -> None:
    rows = packed_rows.PackedRows(())
    with pytest.raises((TypeError, OverflowError)):
        _native.core.add_line_rows(b"{}\n{}", 0, [], {}, rows.buffers, 0, 0, b"s:", lambda *_: row)


@pytest.mark.parametrize("which", [0, 1, 13, -2, -1])
def test_a_buffer_that_is_cut_meanwhile_is_not_written_behind(which: int) -> None:
    rows = packed_rows.PackedRows(())

    def cut(*_: Any) -> tuple[Any, ...]:
        if len(rows.buffers[-1]):
            rows.buffers[which].clear()
        return (0, *(0,) * len(FIGURES), b"{}")

    with pytest.raises(TypeError):
        _native.core.add_line_rows(b"{}\n{}\n{}", 0, [], {}, rows.buffers, 0, 0, b"s:", cut)


@pytest.mark.parametrize(
    ("start", "count", "text"), [(-1, 0, 0), (6, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
)
def test_places_that_are_not_there(start: int, count: int, text: int) -> None:
    rows = packed_rows.PackedRows(())
    with pytest.raises((TypeError, ValueError)):
        _native.core.add_line_rows(b"{}\n{}", start, [], {}, rows.buffers, count, text, b"s:", lambda *_: None)
