"""A recording as a Reader: the same questions, answered from a file. It only ever reads.

A file may hold several sessions (a run that was started again, files put together). A reader speaks of one of them:
the one whose events come last, or the one that is named after a `#`, as in `run.jsonl#5b0e6a3e`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _native
from phasescope.analysis.summary.summary import SummaryFold
from phasescope.readers.reader import Reader, SessionNotFoundError
from phasescope.recordings import packed_lines
from phasescope.recordings.line_batches import of_lines
from phasescope.recordings.notes import is_note, note_in
from phasescope.recordings.parquet_source import ParquetSource
from phasescope.recordings.recording_files import source_of, split_session
from phasescope.recordings.row_batches import of_events
from phasescope.recordings.row_pass import fold_rows
from phasescope.recordings.session_pass import Reading, fold_lines
from phasescope.recordings.source import (
    MAX_PROBLEMS,
    JsonlSource,
    Problem,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phasescope.analysis.summary.packed_summary import SummaryObserver
    from phasescope.recordings.columns import Rows
    from phasescope.recordings.notes import Note
    from phasescope.recordings.packed_rows import PackedRows
    from phasescope.recordings.source import RecordingSource

_TAIL_BYTES = 1 << 18
_MAX_TAIL_BYTES = 1 << 26
_TAIL_EVENTS = 256
_MAX_SESSIONS = 10_000


class SessionInFile(NamedTuple):
    """One session of a recording. Times are wall clock, ns."""

    session_id: str
    pid: int
    host: str
    rank: int
    events: int
    first_timestamp_ns: int
    last_timestamp_ns: int


class RecordingReader(Reader):
    """One session of a recording. `missed`, `damaged` and `problems` are of the last reading that went to its end.

    `missed` counts what the recorder did not get or what was removed with old parts, `damaged` the places that hold no
    event (of any session: a broken line does not say whose it was); `problems` names the first of those. `others`
    counts the events of the file's other sessions, by their id.
    """

    def __init__(self, source: RecordingSource, path: Path | None, session: str | None = None) -> None:
        """Find the session. Raises SessionNotFoundError if the file holds no event, or none of `session` (an id or its
        beginning)."""
        super().__init__(path)
        self._source: RecordingSource | None = source
        self._counted: int | None = None
        self._given = False
        self.session_id, self._first, self._first_note = self._find(session)
        self._constants = _constants(self._first, self._first_note)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RecordingReader:
        """Return a reader of the recording at `path`, or of its session `path#id`. Raises OSError,
        SessionNotFoundError, and MissingDependencyError for `.zst` and `.parquet` without their packages."""
        path, session = split_session(path)
        return cls(source_of(path), path, session)

    def close(self) -> None:
        """Close it. Reading afterwards raises ValueError."""
        self._source = None

    def __repr__(self) -> str:
        return f"<phasescope.RecordingReader of session {self.session_id}, {self.path}>"

    @property
    def constants(self) -> dict[str, Any]:
        """What the session said of itself, where the recording has it (`session_id`, `host` and `pid` always)."""
        return self._constants

    @property
    def state(self) -> str:
        """`stopped` and `dead` as of a ring, `running` while a recorder writes the file; else `unknown`: it ends in
        the middle, and whether the session did cannot be seen."""
        last, note = self._end()
        is_stopped = last is not None and last["event_type"] == "stop"
        return state_by(note, self._open_source().is_being_written, is_stopped=is_stopped)

    @property
    def heartbeat_ns(self) -> int:
        """When the sampler last ran as far as the recording knows, wall clock."""
        last, note = self._end()
        return max(note.heartbeat_ns if note is not None else 0, last["timestamp_ns"] if last is not None else 0)

    @property
    def written(self) -> int:
        """How many events the recording has of this session, or had before old parts were removed."""
        if self._counted is None:
            deque(self.iter_events(), maxlen=0)
        return self._counted or 0

    @property
    def dropped(self) -> int:
        """How many events the session could not write."""
        _, note = self._end()
        return note.dropped if note is not None else 0

    @property
    def sessions(self) -> list[SessionInFile]:
        """The sessions of the file, in the order in which they begin; of very many the first."""
        by_id: dict[str, SessionInFile] = {}
        for event in self._open_source().events(lambda _: None):
            if not is_note(event) and (event["session_id"] in by_id or len(by_id) < _MAX_SESSIONS):
                session_id, time_ns = event["session_id"], event["timestamp_ns"]
                session = by_id.get(session_id)
                by_id[session_id] = (
                    SessionInFile(session_id, event["pid"], event["host"], event.get("rank", 0), 1, time_ns, time_ns)
                    if session is None
                    else session._replace(events=session.events + 1, last_timestamp_ns=time_ns)
                )
        return list(by_id.values())

    def iter_events(self) -> Iterator[dict[str, Any]]:
        """Iterate over the events of the session, in the order of the file, as TelemetryEvent v3 dicts."""
        reading = Reading(self.session_id)
        count = 0
        for event in self._open_source().events(reading.report):
            if reading.is_own(event):
                count += 1
                yield event
        self._finish(reading, count)

    def fold(self, watch: SummaryObserver | None = None) -> SummaryFold:
        """Return what a summary is made of, in one fast pass. `watch` looks on: for how the session ended, and what
        grows."""
        reading = Reading(self.session_id)
        source = self._open_source()
        fold: SummaryFold
        if isinstance(source, JsonlSource):
            fold = fold_lines(source, reading, watch)
        elif isinstance(source, ParquetSource):
            fold = fold_rows(source, reading, watch)
        else:
            fold = SummaryFold()
            for event in source.events(reading.report):
                if reading.is_own(event):
                    scope_and_span = fold.add(event)
                    if watch is not None:
                        watch.take(event, *scope_and_span)
        self._finish(reading, fold.events)
        return fold

    def iter_rows(self) -> Iterator[Rows | PackedRows]:
        """Iterate over the same events as `iter_events` gives, in rows for a table."""
        source = self._open_source()
        if not isinstance(source, JsonlSource):
            yield from of_events(self.iter_events())
            return
        reading, count = Reading(self.session_id), 0
        for rows in of_lines(source, reading) if _native.core is None else packed_lines.of_lines(source, reading):
            count += len(rows) + rows.unfit
            yield rows
        self._finish(reading, count)

    def _finish(self, reading: Reading, count: int) -> None:
        """Keep what was counted by a reading that went to the end."""
        removed = self._first_note.events if self._first_note is not None else 0
        note = reading.note
        self._counted = count + removed
        self.problems, self.others = reading.problems, reading.others
        self.missed = removed + (note.missed if note is not None else 0)
        self.damaged = reading.damaged + (note.damaged if note is not None else 0)

    def follow(self, *, from_start: bool = False) -> Iterator[dict[str, Any]]:
        """Iterate over the events that are there, if `from_start`; a recording is not waited on."""
        return self.iter_events() if from_start else iter(())

    def unread(self) -> Iterator[dict[str, Any]]:
        """Iterate over all events at the first call, none afterwards."""
        if self._given:
            return iter(())
        self._given = True
        return self.iter_events()

    def _last(self, count: int) -> list[dict[str, Any]]:
        size = _TAIL_BYTES
        while count > 0 and size <= _MAX_TAIL_BYTES:
            tail = self._open_source().tail(size)
            if tail is None:
                break
            own = [event for event in tail.events if event["session_id"] == self.session_id and not is_note(event)]
            if len(own) >= count or tail.whole:
                return own[-count:]
            size *= 8
        return list(deque(self.iter_events(), maxlen=max(count, 0)))

    def _open_source(self) -> RecordingSource:
        if self._source is None:
            raise ValueError("this reader is closed")
        return self._source

    def _end(self) -> tuple[dict[str, Any] | None, Note | None]:
        """Return the newest event of the session, and its newest note: from the file's tail where that has them."""
        source = self._open_source()
        tail = source.tail(_TAIL_BYTES)
        own = [event for event in tail.events if event["session_id"] == self.session_id] if tail is not None else []
        if not own:
            own = list(
                deque(
                    (e for e in source.events(lambda _: None) if e["session_id"] == self.session_id),
                    maxlen=_TAIL_EVENTS,
                )
            )
        events = [event for event in own if not is_note(event)]
        notes = [note for event in own if is_note(event) and (note := note_in(event)) is not None]
        return (events[-1] if events else None), (notes[-1] if notes else self._first_note)

    def _find(self, session: str | None) -> tuple[str, dict[str, Any], Note | None]:
        """Return the session's id, its first event, and the last note before that."""
        problems: list[Problem] = []
        source = self._open_source()
        wanted = session if session is not None else self._newest(source, problems.append)
        first: dict[str, Any] | None = None
        note: Note | None = None
        for event in source.events(problems.append) if wanted is not None else ():
            session_id = event["session_id"]
            if not session_id.startswith(wanted):
                continue
            first, wanted = first or event, session_id
            if not is_note(event):
                return session_id, event, note
            note = note_in(event) or note
            del problems[MAX_PROBLEMS:]
        if first is not None:
            return first["session_id"], first, note
        what = "no event" if session is None else f'no session "{session}"'
        raise SessionNotFoundError(f"{what} in {self.path}" + (f" ({problems[0]})" if problems else ""))

    @staticmethod
    def _newest(source: RecordingSource, report: Callable[[Problem], object]) -> str | None:
        """Return the session whose events come last. One that is named only once there may be a damaged line."""
        tail = source.tail(_TAIL_BYTES)
        events = tail.events if tail is not None and tail.events else deque(source.events(report), maxlen=_TAIL_EVENTS)
        ids = [event["session_id"] for event in events]
        counts = Counter(ids)
        return next((one for one in reversed(ids) if counts[one] > 1), ids[-1] if ids else None)


def state_by(note: Note | None, is_being_written: Callable[[], bool | None], *, is_stopped: bool) -> str:
    """Return a session's state by its newest note, and by whether its last event is its stop."""
    if is_stopped:
        return "stopped"
    if note is not None and note.end and note.state != "running":
        return note.state
    written = is_being_written()
    if written:
        return "running"
    return "dead" if note is not None and note.inside and written is False else "unknown"


def _constants(first: dict[str, Any], note: Note | None) -> dict[str, Any]:
    if note is not None:
        return dict(note.session)
    rank = first.get("rank", 0)
    return {
        "session_id": first["session_id"],
        "host": first["host"],
        "pid": first["pid"],
        "started_ns": first["timestamp_ns"],
        "job_id": first.get("job_id"),
        "rank": rank,
        "local_rank": first.get("local_rank", rank),
        "world_size": first.get("world_size", 1),
        "sampling_interval_ms": first["sampling_interval_ms"],
    }
