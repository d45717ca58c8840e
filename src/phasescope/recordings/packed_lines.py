"""The rows of a recording's lines, made by the compiled core: the same as `line_batches` makes in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from phasescope import _native
from phasescope.recordings.columns import common_of, fits, repeated_of, row_of, row_of_packed
from phasescope.recordings.line_batches import LineTexts, common_of_line, metadata_of_line, repeated_of_line
from phasescope.recordings.line_text import text_of
from phasescope.recordings.packed_rows import MAX_KNOWN, PackedRows
from phasescope.recordings.row_batches import MAX_BATCH_BYTES
from phasescope.recordings.session_pass import LineUnpack, batches_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.recordings.columns import Row
    from phasescope.recordings.line_stream import Lines
    from phasescope.recordings.session_pass import Reading
    from phasescope.recordings.source import JsonlSource

    _LineRow = tuple[Row, Row, Row, bytes, bool]
    """The values of `COMMON`, `REPEATED` and `FIGURES`, the metadata, and whether the numbers fit in 64 bits."""

_encode = msgspec.json.Encoder().encode


def of_lines(source: JsonlSource, reading: Reading) -> Iterator[PackedRows]:
    """Yield the rows of a session's lines."""
    unpack = LineUnpack(reading)
    batches = _PackedLineBatches(unpack, reading.session_id)
    for lines in batches_of(source, reading, unpack):
        yield from batches.add(lines)
        if batches.is_full:
            yield batches.rows
            batches.begin_anew()
    if len(batches.rows) or batches.rows.unfit:
        yield batches.rows


class _PackedLineBatches:
    """Rows in the making."""

    def __init__(self, unpack: LineUnpack, session_id: str) -> None:
        self.rows = PackedRows(())
        self._unpack = unpack
        self._session_id = session_id
        self._prefix = text_of(f"{session_id}:")[1:-1]
        self._texts = LineTexts(unpack)
        self._kinds: dict[bytes, tuple[dict[bytes, int], dict[bytes, int]]] = {}
        self._decoded: dict[bytes, Any] = {}
        self._is_common_fit = True
        self._kept: _LineRow | None = None  # a row that is to begin the next ones

    @property
    def is_full(self) -> bool:
        """Whether no more is to be added."""
        return self.rows.is_full or self.rows.text_bytes >= MAX_BATCH_BYTES

    def begin_anew(self) -> None:
        """Let go of the rows so far, and take new ones."""
        self.rows = PackedRows(())
        self._kinds.clear()  # their places are in the rows

    def add(self, lines: Lines) -> Iterator[PackedRows]:
        """Take the next lines. Yields rows whose `common` is not theirs."""
        start, data = 0, lines.data
        # The core leaves lines with escapes to Python. Where there are many, they are decoded together.
        has_many = data.count(b"\\") > len(lines)
        self._decoded = dict(zip(lines, self._unpack.boundaries(lines), strict=True)) if has_many else {}
        while start <= len(data):
            if len(self._kinds) >= MAX_KNOWN:  # the driver's figures are in the device, and change with every sample
                self._kinds.clear()
            rows = self.rows
            start, rows.count, rows.text_bytes = _native.core.add_line_rows(
                *(data, start, self._unpack.form, self._kinds, rows.buffers, rows.count, rows.text_bytes),
                *(self._prefix, self._add_line),
            )
            if self._kept is not None:
                yield rows
                self.begin_anew()

    def _add_line(self, line: bytes) -> tuple[Any, ...] | bool | None:
        """Return the row of any line, None if it has none, and False if it belongs to other rows."""
        row, self._kept = self._kept or self._row_of(line), None
        if row is None:
            return None
        common, repeated, figures, metadata, is_fit = row
        rows = self.rows
        if not (rows.count or rows.unfit or rows.repeated):
            rows.common, self._is_common_fit = common, fits(common)
        elif common != rows.common:
            self._kept = row
            return False
        if not (is_fit and self._is_common_fit):
            rows.unfit += 1
            return None
        return (rows.place(repeated), *figures, metadata)

    def _row_of(self, line: bytes) -> _LineRow | None:
        is_decoded = line in self._decoded
        decoded = self._decoded[line] if is_decoded else next(iter(self._unpack.boundaries([line])))
        texts, packed = self._texts.of(line, decoded)
        if decoded is not None and texts is not None:
            boundary, phase, _ = decoded
            figures = row_of_packed(boundary, phase, self._session_id)  # they all fit, or it would be no boundary
            repeated = repeated_of_line(boundary, phase, texts)
            return common_of_line(boundary), repeated, figures, metadata_of_line(line), True
        event = self._texts.event(line, packed)
        if event is None:
            return None
        repeated, figures = repeated_of(event), row_of(event)
        return common_of(event), repeated, figures, _encode(event["metadata"]), fits(repeated) and fits(figures)
