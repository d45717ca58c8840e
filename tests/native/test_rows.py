"""What the compiled core makes of a ring for a table has every value that Python gives it, whatever the ring holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phasescope import _native
from phasescope.analysis.summary.packed_summary import PackedFold
from phasescope.readers.ring_reader import RingReader
from phasescope.recordings import columns, packed_rows, parquet
from phasescope.recordings.columns import FIGURES, MAYBE
from phasescope.recordings.row_batches import of_events, of_ring
from phasescope.wire.codec import Decoder
from phasescope.wire.encoding import Raw, encode
from phasescope.wire.payloads import SegmentPayloads
from support.fakes.rings import CONSTANTS, MemoryRing
from support.packed import packed_events

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.skipif(_native.core is None, reason=f"no compiled core here: {_native.why_not}")
pyarrow = pytest.importorskip("pyarrow")

SLOWLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("num_alloc_retries", "num_ooms", "num_device_alloc", "num_device_free")


def table_of(batches: Iterable[Any]) -> tuple[list[dict[str, Any]], int]:
    """Return all rows that a table has room for, and how many it has none for."""
    rows, unfit, schema = [], 0, parquet.schema_of(pyarrow)
    for batch in batches:
        table = parquet.table_of(pyarrow, schema, batch)
        table.validate(full=True)
        rows += table.to_pylist()
        unfit += batch.unfit + len(batch) - len(table)
    return rows, unfit


def reader_of(payloads: Iterable[bytes], constants: bytes = CONSTANTS) -> RingReader:
    ring = MemoryRing(1 << 20, constants=constants)
    for payload in payloads:
        ring.writer.append(payload)
    return RingReader(ring.read, lambda: ring.layout.size, None)


def check(reader: RingReader) -> list[dict[str, Any]]:
    """Return the rows, on which all three ways must agree."""
    found = table_of(packed_rows.of_ring(reader))
    damaged = reader.damaged
    assert found == table_of(of_ring(reader))
    assert reader.damaged == damaged
    by_events, unfit = table_of(of_events(reader.iter_events()))
    assert (by_events, unfit) == found
    return found[0]


@SLOWLY
@given(st.lists(packed_events(), max_size=40), st.lists(st.binary(max_size=8), max_size=2))
def test_whatever_a_ring_holds(events: list[tuple[Any, ...]], broken: list[bytes]) -> None:
    check(reader_of([*map(encode, events), *(bytes(Raw(payload)) for payload in broken)]))


def boundary(number: int, **changed: Any) -> bytes:
    """Return a step's enter, or its exit if the number is even."""
    is_exit = number % 2 == 0
    fields: dict[str, Any] = {
        "type": "phase_exit" if is_exit else "phase_enter",
        "time": 10**18 + number,
        "device": ("cuda", 0, number // 40, None if number % 3 else 5, 2**40, 12 if number % 5 else 0),
        "allocated": number * 512,
        "reserved": number * 1024,
        "active": None if number % 4 else number,
        "inactive": None,
        "change": -number,
        "context": None,
        "extra": None,
        "sequence": number,
        "scope": number - 1 if is_exit else None,
        "parent": None if number % 7 else 1,
        "thread": (number % 3, 'Thread "é"' if number % 2 else "Main"),
        "path": ["épo/ch", f'st"ep{number % 6}'],
        "attributes": None,
        "duration": number,
        "status": "ok",
        "error": None,
        "delta": None if number % 8 == 0 else -number,
        "peak": number if number % 6 == 0 else None,
    }
    values = list({**fields, **changed}.values())
    return encode(tuple(values if is_exit else values[:16]))


def test_a_session_in_which_everything_that_is_usual_occurs() -> None:
    payloads = []
    for number in range(1, 1200):
        changed: dict[str, Any] = {}
        if number % 9 == 0:
            changed["extra"] = {name: number for at, name in enumerate(NAMES) if number >> at & 1 or at == 2}
        if number % 31 == 0:
            changed["attributes"] = {"step": number}
        if number % 37 == 0 and number % 2 == 0:
            changed |= {"status": "error", "error": "ValueError"}
        payloads.append(boundary(number, **changed))
    rows = check(reader_of(payloads))
    assert len(rows) == 1199
    assert sum("num_device_alloc" in row["metadata"] for row in rows) > 100


@pytest.mark.parametrize("odd", [2**63, 2**64 - 1])
@pytest.mark.parametrize("field", ["time", "allocated", "active", "duration", "peak", "sequence", "scope", "parent"])
def test_numbers_that_have_no_room(field: str, odd: int) -> None:
    rows = check(reader_of(boundary(number, **({field: odd} if number == 4 else {})) for number in range(1, 9)))
    assert len(rows) in (7, 8)


@pytest.mark.parametrize("pid", [2**63 - 1, 2**63])
def test_a_session_whose_constants_have_no_room(pid: int) -> None:
    constants = msgspec.json.encode({**msgspec.json.decode(CONSTANTS), "pid": pid})
    assert len(check(reader_of(map(boundary, range(1, 9)), constants))) == (8 if pid < 2**63 else 0)


def test_many_rows_are_several_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "GROUP_ROWS", 100)
    monkeypatch.setattr(packed_rows, "MAX_KNOWN", 3)
    reader = reader_of(map(boundary, range(1, 4000)))
    assert len(check(reader)) == 3999
    assert len(list(packed_rows.of_ring(reader))) > 1


def test_few_events_are_made_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def noted(event: dict[str, Any]) -> Any:
        made.append(event)
        return columns.repeated_of(event)

    monkeypatch.setattr(packed_rows, "repeated_of", noted)
    counted = {"extra": {NAMES[2]: 7}, "thread": (1, "Main")}  # all of one kind are
    numbers = range(1, 4000)
    reader = reader_of(boundary(number, **(counted if number % 6 == 1 else {})) for number in numbers)
    assert sum(map(len, packed_rows.of_ring(reader))) == 3999
    assert len(made) < 200


PLACES, METADATA = 0, 2 + len(FIGURES) + len(MAYBE)


def add_rows_arguments(laid: SegmentPayloads, rows: packed_rows.PackedRows, row: Any) -> tuple[Any, ...]:
    """Return what the core is called with; `row` is what Python gives it for each payload."""
    return (laid.data, laid.spans, {}, rows.buffers, 0, 0, b'"s:', lambda *_: None, lambda *_: row)


@pytest.mark.parametrize("row", [None, (), (0,) * 14, ("x", *(0,) * 12, b""), (0, *(2**64,) * 12, b""), (0, *"x" * 13)])
def test_what_python_gives_is_not_trusted(row: Any) -> None:
    rows = packed_rows.PackedRows(())
    laid = SegmentPayloads.of([b"\xc0"] * 2)
    arguments = add_rows_arguments(laid, rows, row)
    if row is None:
        assert _native.core.add_rows(*arguments) == (0, 0)
        return
    with pytest.raises((TypeError, OverflowError)):
        _native.core.add_rows(*arguments)


@pytest.mark.parametrize("which", [PLACES, 1, 13, METADATA - 1, METADATA])
def test_a_buffer_that_is_cut_meanwhile_is_not_written_behind(which: int) -> None:
    rows = packed_rows.PackedRows(())

    def cut(*_: Any) -> tuple[Any, ...]:
        if len(rows.buffers[METADATA]):
            rows.buffers[which].clear()
        return (0, *(0,) * 12, b"{}")

    laid = SegmentPayloads.of([b"\xc0"] * 3)
    with pytest.raises(TypeError):
        _native.core.add_rows(laid.data, laid.spans, {}, rows.buffers, 0, 0, b'"s:', lambda *_: None, cut)


@pytest.mark.parametrize("span", [(0, 2), (1, 1), (2**32 - 1, 2**32 - 1), (2**32 - 1, 2)])
def test_payloads_that_do_not_lie_in_their_data(span: tuple[int, int]) -> None:
    rows, laid = packed_rows.PackedRows(()), SegmentPayloads(b"\xc0")
    laid.append(*span)
    arguments = add_rows_arguments(laid, rows, None)
    with pytest.raises(ValueError, match="not in the data"):
        _native.core.add_rows(*arguments)
    fold = PackedFold("", Decoder(msgspec.json.decode(CONSTANTS)))
    with pytest.raises(ValueError, match="not in the data"):
        fold.add_payloads(laid, lambda _: iter(()))
