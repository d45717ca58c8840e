"""One pass over a recording: whose events they are, what was no event, and a summary made in the passing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from phasescope.analysis.packed import PackedFold
from phasescope.event import InvalidEventError
from phasescope.recording.events import parse
from phasescope.recording.notes import is_note, note_in
from phasescope.recording.source import MAX_PROBLEMS

if TYPE_CHECKING:
    from phasescope.analysis.packed import Watch
    from phasescope.recording.notes import Note
    from phasescope.recording.source import JsonlSource, Problem


class Reading:
    """What a pass over all events of a file counts. `note` is the recorder's last word about the session."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.damaged = 0
        self.problems: list[Problem] = []
        self.others: dict[str, int] = {}
        self.note: Note | None = None

    def report(self, problem: Problem) -> None:
        """A place that holds no event."""
        self.damaged += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def is_own(self, event: dict[str, Any]) -> bool:
        """Whether this is an event of the session, and no note."""
        note = is_note(event)
        if event["session_id"] != self.session_id:
            if not note:
                self.others[event["session_id"]] = self.others.get(event["session_id"], 0) + 1
            return False
        if note:
            self.note = note_in(event) or self.note
        return not note


def fold_lines(source: JsonlSource, reading: Reading, watch: Watch | None = None) -> PackedFold:
    """The summary of the session's lines: what `SummaryFold` makes of the events, in less than half of the time."""
    unpack = _Lines(reading)
    fold = PackedFold("", unpack, watch)
    for name, batch in source.batches(reading.report):
        fold.add_packed(batch.lines)
        at = -1
        for line, error in unpack.bad:
            at = batch.lines.index(line, at + 1)
            source.complain(reading.report, name, batch, at, error)
        unpack.bad.clear()
    return fold


class _NotOwnError(ValueError):
    """An event of another session, or a note."""


class _Lines:
    """Unpacks lines for `PackedFold`. `bad` are those that hold no event, in their order."""

    def __init__(self, reading: Reading) -> None:
        self.bad: list[tuple[bytes, InvalidEventError]] = []
        self._reading = reading
        self._common: tuple[object, ...] = ()

    def event(self, line: bytes) -> dict[str, Any]:
        try:
            event = parse(line)
        except InvalidEventError as error:
            self.bad.append((line, error))
            raise
        if not self._reading.is_own(event):
            raise _NotOwnError
        if event["event_type"] in ("phase_enter", "phase_exit"):  # what is sound in it need not be looked at again
            self._common = tuple(map(event.get, _COMMON))
        return event

    def boundary(self, line: bytes) -> _Boundary | None:
        try:
            found = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        metadata, scope = found.metadata, found.metadata.phase_scope
        total = found.device_total_bytes
        common = (
            found.session_id,
            found.collector,
            found.host,
            found.job_id,
            found.rank,
            found.local_rank,
            found.world_size,
        )
        if (
            common != self._common
            or (total is not None and (found.device_used_bytes > total or (found.device_free_bytes or 0) > total))
            or (found.event_type == "phase_exit") is not (scope.action == "exit")
        ):
            return None
        return _Boundary(
            found.event_type,
            found.timestamp_ns,
            b"[%d,%b,%b]" % (found.device_id, metadata.backend, metadata.unavailable),
            found.allocator_allocated_bytes,
            scope.scope_id,
            scope.parent_scope_id,
            scope.path,
            scope.duration_ns,
            scope.status,
            scope.allocated_delta_bytes,
            scope.peak_allocated_bytes,
        )

    def path(self, packed: bytes) -> tuple[str, ...]:
        try:
            return tuple(_decode_path(packed))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from error

    def device(self, packed: bytes) -> tuple[str, int, int]:
        try:
            device_id, backend, unavailable = _decode_device(packed)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from error
        return backend, device_id, int("allocator_allocated_bytes" in unavailable)


_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Change = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_COMMON = ("session_id", "collector", "host", "job_id", "rank", "local_rank", "world_size")


class _Scope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A phase of a boundary as the profiler writes it, and nothing else. What is only looked at is left as bytes."""

    action: Literal["enter", "exit"]
    name: msgspec.Raw
    path: msgspec.Raw
    depth: int
    scope_id: _Text
    parent_scope_id: _Text | None
    thread_id: int
    thread_name: msgspec.Raw
    sequence: int
    attributes: msgspec.Raw = msgspec.Raw(b"")
    duration_ns: _Size | None = None
    status: Literal["ok", "error", "abandoned"] = "ok"
    error_type: str | None = None
    allocated_delta_bytes: _Change | None = None
    peak_allocated_bytes: _Size | None = None


class _Metadata(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    backend: msgspec.Raw
    phase_scope: _Scope
    unavailable: msgspec.Raw = msgspec.Raw(b"[]")


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line with a plain boundary. What does not fit is read as any other line."""

    schema_version: Literal[3]
    session_id: str
    timestamp_ns: _Size
    event_type: Literal["phase_enter", "phase_exit"]
    collector: str
    sampling_interval_ms: _Size
    pid: Annotated[int, msgspec.Meta(ge=-1)]
    host: str
    device_id: Annotated[int, msgspec.Meta(ge=-1, le=1 << 31)]
    allocator_allocated_bytes: _Size
    allocator_reserved_bytes: _Size
    allocator_active_bytes: _Size | None
    allocator_inactive_bytes: _Size | None
    allocator_change_bytes: _Change
    device_used_bytes: _Size
    device_free_bytes: _Size | None
    device_total_bytes: _Size | None
    context: None
    job_id: str | None
    rank: _Size
    local_rank: _Size
    world_size: Annotated[int, msgspec.Meta(ge=1)]
    metadata: _Metadata


class _Boundary(msgspec.Struct, gc=False):
    """What `PackedFold` takes; the phases are known by their whole ids."""

    event_type: str
    timestamp: int
    device: bytes
    allocated: int
    sequence: str
    parent: str | None
    path: msgspec.Raw
    duration: int | None
    status: str
    allocated_delta: int | None
    peak_allocated: int | None
    scope: None = None


_decode = msgspec.json.Decoder(_Line).decode
_decode_path = msgspec.json.Decoder(Annotated[list[str], msgspec.Meta(min_length=1)]).decode
_decode_device = msgspec.json.Decoder(tuple[int, str, list[str]]).decode
