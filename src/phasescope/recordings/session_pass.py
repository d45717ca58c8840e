"""One pass over a recording: whose events they are, what was not an event, and a summary made on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from phasescope.analysis.summary.packed_summary import PackedFold
from phasescope.recordings.event_parser import MAX_NAME, parse
from phasescope.recordings.line_text import text_of
from phasescope.recordings.notes import is_note, note_in
from phasescope.recordings.source import MAX_PROBLEMS
from phasescope.wire.encoding import MASKED_COUNTERS, mask_of
from phasescope.wire.event import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from phasescope.analysis.summary.packed_summary import SummaryObserver
    from phasescope.recordings.line_stream import Lines
    from phasescope.recordings.notes import Note
    from phasescope.recordings.source import JsonlSource, Problem

MAX_OTHERS = 1000
FURTHER = "further sessions"
"""The name under which the events of all further sessions are counted."""


class Reading:
    """What a pass over all events of a file counts. `note` is the recorder's last word about the session."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.damaged = 0
        self.problems: list[Problem] = []
        self.others: dict[str, int] = {}
        self.note: Note | None = None

    def report(self, problem: Problem) -> None:
        """Count a place that holds no event."""
        self.damaged += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def is_own(self, event: dict[str, Any]) -> bool:
        """Return whether this is an event of the session, and no note."""
        note = is_note(event)
        if event["session_id"] != self.session_id:
            if not note:
                other = event["session_id"]
                if other not in self.others and len(self.others) >= MAX_OTHERS:
                    other = FURTHER
                self.others[other] = self.others.get(other, 0) + 1
            return False
        if note:
            self.note = note_in(event) or self.note
        return not note


def fold_lines(source: JsonlSource, reading: Reading, watch: SummaryObserver | None = None) -> PackedFold:
    """Return the summary of the session's lines: what `SummaryFold` makes of the events, in less than half of the
    time."""
    unpack = LineUnpack(reading)
    fold = PackedFold("", unpack, watch)
    for lines in batches_of(source, reading, unpack):
        fold.add_lines(lines, lines.data, unpack.form, unpack.boundaries)
    return fold


def batches_of(source: JsonlSource, reading: Reading, unpack: LineUnpack) -> Iterator[Lines]:
    """Iterate over the lines of a source. Those that `unpack` refused are reported to the reading when the
    next are asked for."""
    for name, batch in source.batches(reading.report):
        yield batch
        index = -1
        for line, error in unpack.bad:
            index = batch.index(line, index + 1)
            source.complain(reading.report, name, batch, index, error)
        unpack.bad.clear()


class NotOwnError(ValueError):
    """An event of another session, or a note."""


class LineUnpack:
    """Unpacks a session's lines for a fold that takes packed events. `bad` are those that hold no event, in order.

    `form` is what its plain lines have in common as the compiled core wants it, once it is known: the text up to the
    time, from the host to the device's number, and from the context to the backend.
    """

    def __init__(self, reading: Reading) -> None:
        self.bad: list[tuple[bytes, InvalidEventError]] = []
        self._reading = reading
        self._common: tuple[Any, ...] = ()
        self._decoder = _decoder_of(("", "", "", None, 0, 0, 1))
        self._learned = 0
        self._is_plain = False  # all lines of the last batch had boundaries
        self.form: list[bytes] = []

    def event(self, line: bytes) -> dict[str, Any]:
        try:
            event = parse(line)
        except InvalidEventError as error:
            self.bad.append((line, error))
            raise
        if not self._reading.is_own(event):
            raise NotOwnError
        if event["event_type"] in _ACTIONS:
            self._learn(tuple(map(event.get, _COMMON)))
        return event

    def _learn(self, common: tuple[Any, ...]) -> None:
        """Make a decoder for these common values, so that they are not checked again in the next events."""
        is_fit = all(type(number) is int and number <= _MAX_INT for number in common[4:])
        if common != self._common and is_fit and self._learned < _MAX_LEARNED:
            self._common, self._decoder = common, _decoder_of(common)
            self._learned += 1
            self.form[:] = _form_of(common)

    def boundaries(self, lines: Lines | list[bytes]) -> Iterator[tuple[BoundaryLine, BoundaryPhase, bytes] | None]:
        """Yield each line's plain boundary, its phase, and its device as bytes, the same object as long as it is equal.

        Yields None for any other line.
        """
        device_id, backend, unavailable, packed = None, None, None, b""
        decoded = (self._together(lines) if self._is_plain else None) or map(self._alone, lines)
        self._is_plain = True
        for line in decoded:
            if line is None:
                self._is_plain = False
                yield None
                continue
            metadata, total = line.metadata, line.device_total_bytes
            phase = metadata.phase_scope
            if phase.action != _ACTIONS[line.event_type] or (
                total is not None and (line.device_used_bytes > total or (line.device_free_bytes or 0) > total)
            ):
                yield None
                continue
            if line.device_id != device_id or metadata.backend != backend or metadata.unavailable != unavailable:
                device_id, backend, unavailable = line.device_id, metadata.backend, metadata.unavailable
                packed = b"[%d,%b,%b]" % (device_id, backend, unavailable)
            yield line, phase, packed

    def _together(self, lines: Lines | list[bytes]) -> Iterable[BoundaryLine | None] | None:
        """Return all lines at once, which spares splitting them; None if one does not fit, or they are not one each."""
        if isinstance(lines, list) or lines.torn:
            return None
        try:
            decoded = self._decoder.decode_lines(lines.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return decoded if len(decoded) == len(lines) and lines.are_objects() else None

    def _alone(self, line: bytes) -> BoundaryLine | None:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def path(self, packed: bytes) -> tuple[str, ...]:
        return path_in(packed)

    def device(self, packed: bytes) -> tuple[str, int, int]:
        return device_in(packed)


_PHASE_KEYS = {
    "scope": "scope_id",
    "parent": "parent_scope_id",
    "duration": "duration_ns",
    "allocated_delta": "allocated_delta_bytes",
    "peak_allocated": "peak_allocated_bytes",
}
_LINE_KEYS = {
    "timestamp": "timestamp_ns",
    "allocated": "allocator_allocated_bytes",
    "reserved": "allocator_reserved_bytes",
    "active": "allocator_active_bytes",
    "inactive": "allocator_inactive_bytes",
    "change": "allocator_change_bytes",
}
_MAX_INT = 2**63 - 1
_Size = Annotated[int, msgspec.Meta(ge=0, le=_MAX_INT)]
_Change = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_COMMON = ("session_id", "collector", "host", "job_id", "rank", "local_rank", "world_size")
_MAX_LEARNED = 64
_ACTIONS = {"phase_enter": "enter", "phase_exit": "exit"}


class BoundaryPhase(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename=_PHASE_KEYS):
    """A phase of a boundary as the profiler writes it, and nothing else. What is only compared is left as bytes."""

    action: Literal["enter", "exit"]
    name: str
    path: msgspec.Raw
    depth: int
    scope: _Text
    parent: _Text | None
    thread_id: _Change
    thread_name: str
    sequence: int
    attributes: dict[str, Any] | None = None
    duration: _Size | None = None
    status: Literal["ok", "error", "abandoned"] = "ok"
    error_type: str | None = None
    allocated_delta: _Change | None = None
    peak_allocated: _Size | None = None


class BoundaryMetadata(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The metadata of a plain boundary."""

    backend: msgspec.Raw
    phase_scope: BoundaryPhase
    unavailable: msgspec.Raw = msgspec.Raw(b"[]")


class BoundaryLine(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename=_LINE_KEYS):
    """A line with a plain boundary. What does not fit is read as any other line."""

    schema_version: Literal[3]
    session_id: str
    timestamp: _Size
    event_type: Literal["phase_enter", "phase_exit"]
    collector: str
    sampling_interval_ms: _Size
    pid: Annotated[int, msgspec.Meta(ge=-1)]
    host: str
    device_id: Annotated[int, msgspec.Meta(ge=-1, le=1 << 31)]
    allocated: _Size
    reserved: _Size
    active: _Size | None
    inactive: _Size | None
    change: _Change
    device_used_bytes: _Size
    device_free_bytes: _Size | None
    device_total_bytes: _Size | None
    context: None
    job_id: str | None
    rank: _Size
    local_rank: _Size
    world_size: Annotated[int, msgspec.Meta(ge=1)]
    metadata: BoundaryMetadata


_decode_path = msgspec.json.Decoder(Annotated[list[str], msgspec.Meta(min_length=1)]).decode
_decode_device = msgspec.json.Decoder(tuple[int, str, list[str]]).decode


def path_in(packed: bytes) -> tuple[str, ...]:
    """Return a phase's path. Raises ValueError."""
    try:
        return tuple(_decode_path(packed))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def device_in(packed: bytes) -> tuple[str, int, int]:
    """Return the backend, the number and the mask of what is unavailable. Raises ValueError."""
    try:
        device_id, backend, unavailable = _decode_device(packed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    return backend, device_id, mask_of({*MASKED_COUNTERS} & {*unavailable})


def _form_of(common: tuple[Any, ...]) -> list[bytes]:
    session_id, _, host, job_id, *ranks = map(text_of, common)
    return [
        b'{"schema_version":3,"session_id":%b,"timestamp_ns":' % session_id,
        b',"host":%b,"device_id":' % host,
        b',"context":null,"job_id":%b,"rank":%b,"local_rank":%b,"world_size":%b,"metadata":{"backend":'
        % (job_id, *ranks),
    ]


def _decoder_of(common: tuple[Any, ...]) -> msgspec.json.Decoder[BoundaryLine]:
    """Return a decoder of lines with these values of `_COMMON`: it refuses others faster than a comparison would."""
    own = [(key, Literal[value]) for key, value in zip(_COMMON, common, strict=True)]
    return msgspec.json.Decoder(msgspec.defstruct("_OwnLine", own, bases=(BoundaryLine,), gc=False))
