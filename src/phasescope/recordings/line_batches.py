"""The lines of a recording in batches of rows: no event is made of a plain phase boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.recordings.columns import REPEATED, ROWS, is_rare, repeated_of
from phasescope.recordings.row_batches import MAX_BATCH_BYTES, RowBatches
from phasescope.recordings.session_pass import LineUnpack, batches_of
from phasescope.wire.event import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.recordings.columns import Row, Rows
    from phasescope.recordings.line_stream import Lines
    from phasescope.recordings.session_pass import BoundaryLine, BoundaryPhase, Reading
    from phasescope.recordings.source import JsonlSource

_MAX_KNOWN = 4096
_METADATA = b'"metadata":'
_TEXTS = tuple(map(REPEATED.index, ("backend", "phase_path", "phase_names", "unavailable")))
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def of_lines(source: JsonlSource, reading: Reading) -> Iterator[Rows]:
    """Yield what `of_events` makes of the lines of a session."""
    unpack = LineUnpack(reading)
    batches = _LineBatches(unpack)
    for lines in batches_of(source, reading, unpack):
        batches.add_lines(lines)
        yield from batches.taken()
    yield from batches.rest()


_Decoded = tuple["BoundaryLine", "BoundaryPhase", bytes]


class _Texts(NamedTuple):
    """What the boundaries of one phase on one device have in common."""

    backend: str
    path: str
    names: str
    unavailable: str | None


class LineTexts:
    """What is known of the boundaries in a session's lines, by their device and their path."""

    def __init__(self, unpack: LineUnpack) -> None:
        self._unpack = unpack
        self._known: dict[tuple[bytes, bytes], _Texts] = {}

    def of(self, text: bytes, decoded: _Decoded | None) -> tuple[_Texts | None, tuple[bytes, bytes] | None]:
        """Return what the boundary of this line has in common with others, if that is known, and what it is to be known
        by, if it is one that can be."""
        start = text.find(_METADATA)
        # A line whose only objects are within each other ends with its metadata, if it has these once.
        if decoded is None or not text.endswith(b"}}}") or text.rfind(_METADATA) != start:
            return None, None
        packed = decoded[2], bytes(decoded[1].path)
        return self._known.get(packed), packed

    def event(self, line: bytes, packed: tuple[bytes, bytes] | None) -> dict[str, Any] | None:
        """Return any event, and if it is a boundary, learn what it has in common with others. None: there is none."""
        try:
            event = self._unpack.event(line)
        except ValueError:
            return None
        if packed is not None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            repeated = repeated_of(event)
            self._known[packed] = _Texts(*(repeated[index] for index in _TEXTS))
        return event


class _LineBatches(RowBatches):
    """From lines. The text of the metadata is taken unchanged if it has no escapes."""

    def __init__(self, unpack: LineUnpack) -> None:
        super().__init__()
        self._unpack = unpack
        self._texts = LineTexts(unpack)

    def add_lines(self, lines: Lines) -> None:
        """Take the next lines."""
        self.size_bytes += len(lines.data)
        common: Row = ()
        pid = interval_ms = -2
        for text, decoded in zip(lines, self._unpack.boundaries(lines), strict=True):
            texts, packed = self._texts.of(text, decoded)
            if decoded is None or texts is None:
                event = self._texts.event(text, packed)
                if event is not None:
                    self.add(event)
                continue
            line, phase, _ = decoded
            if line.pid != pid or line.sampling_interval_ms != interval_ms or self.rows.common is not common:
                pid, interval_ms = line.pid, line.sampling_interval_ms
                if self.rows.common != (own := common_of_line(line)):
                    self.begin(own)
                common, rows = self.rows.common, self.rows
            rows.places.append(rows.place(repeated_of_line(line, phase, texts)))
            rows.measured.append(line)
            rows.phases.append(phase)
            rows.metadata.append(metadata_of_line(text))
        if len(self.rows) >= ROWS or self.size_bytes >= MAX_BATCH_BYTES:
            self.begin(self.rows.common)


def metadata_of_line(line: bytes) -> bytes:
    """Return the text of its metadata, with which it ends, in UTF-8: a table has no escapes."""
    metadata = line[line.index(_METADATA) + len(_METADATA) : -1]
    return _encode(_decode(metadata)) if b"\\" in metadata else metadata


def common_of_line(line: BoundaryLine) -> Row:
    """Return the values of `COMMON`."""
    return (
        SCHEMA_VERSION,
        line.session_id,
        line.sampling_interval_ms,
        line.pid,
        line.host,
        line.job_id,
        line.rank,
        line.local_rank,
        line.world_size,
    )


def repeated_of_line(line: BoundaryLine, phase: BoundaryPhase, texts: _Texts) -> Row:
    """Return the values of `REPEATED`."""
    return (
        line.event_type,
        line.collector,
        line.device_id,
        line.device_used_bytes,
        line.device_free_bytes,
        line.device_total_bytes,
        None,
        texts.backend,
        texts.path,
        phase.action,
        phase.status if phase.action == "exit" else None,
        phase.error_type,
        phase.thread_name,
        phase.thread_id,
        texts.names,
        None,
        texts.unavailable,
        is_rare(line.event_type, phase.status),
    )
