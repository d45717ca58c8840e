"""The ranks of a dataset's job: the engine sums up many sessions at a time, and what it cannot say is read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.analysis.diagnosis.ending import EndingFold
from phasescope.analysis.event_fields import scope_of
from phasescope.analysis.jobs.grouping import group
from phasescope.analysis.jobs.member import Member
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.spans import SpanBuilder
from phasescope.analysis.statistics.quantiles import EXACT_LIMIT, SCALE, KnownQuantiles, Quantiles
from phasescope.fleet import queries
from phasescope.fleet.engine import UnreadableError
from phasescope.fleet.sums import SHARES, SessionSums
from phasescope.readers.reader import SessionNotFoundError
from phasescope.recordings.dataset_reader import reader_of
from phasescope.recordings.event_parser import upgraded
from phasescope.recordings.notes import is_note, note_in
from phasescope.recordings.reader import state_by
from phasescope.wire.event import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from phasescope.fleet.engine import Engine, Row
    from phasescope.recordings.dataset import SessionFiles
    from phasescope.recordings.notes import Note

_BATCH_BYTES = 64 << 20
_MOST_BOUNDARIES = 4096

_decode = msgspec.json.Decoder().decode


class DatasetSession(NamedTuple):
    """A session of a dataset: its files, the recorder's word about it, and what it said of itself."""

    files: SessionFiles
    note: Note | None
    constants: Mapping[str, Any]


def jobs_of(engine: Engine, sessions: Sequence[SessionFiles]) -> list[list[DatasetSession]]:
    """Return the sessions by job, as those of rings are: the newest job first, each by rank."""
    notes = _notes(engine, sessions)
    members = []
    for session in sessions:
        note = notes.get(session.files[-1].path)
        constants = note.session if note is not None else _constants(session)
        if constants is not None:
            members.append(DatasetSession(session, note, constants))
    return [[members[index] for index in run] for run in group(each.constants for each in members)]


def members_of(engine: Engine, job: Sequence[DatasetSession]) -> list[Member]:
    """Return the ranks of one job, as a comparison takes them. Raises OSError for a store that cannot be read."""
    members: list[Member] = []
    clocks: dict[str, tuple[DatasetSession, SessionSums]] = {}
    for batch in _batches(job):
        for session, member, sums in _of_batch(engine, batch):
            members.append(member)
            if sums is not None:
                clocks.setdefault(str(session.constants.get("host")), (session, sums))
    if len({str(session.constants.get("host")) for session in job}) > 1:
        _take_boundaries(engine, list(clocks.values()))
    return members


def _batches(job: Sequence[DatasetSession]) -> Iterator[list[DatasetSession]]:
    """Yield batches that the engine has room for: time grows with the number of ranks, and no faster."""
    batch: list[DatasetSession] = []
    size = 0
    for session in job:
        if batch and size + session.files.size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(session)
        size += session.files.size
    if batch:
        yield batch


def _of_batch(
    engine: Engine, batch: Sequence[DatasetSession]
) -> Iterator[tuple[DatasetSession, Member, SessionSums | None]]:
    try:
        engine.look_at(session.files for session in batch)
        sums = _sums(engine)
        quantiles = _quantiles(engine)
        endings = _endings(engine, batch, sums)
    except UnreadableError:  # one of them: each by itself, then
        sums, quantiles, endings = {}, {}, {}
    for session in batch:
        session_id = str(session.constants.get("session_id"))
        summed = sums.get(session_id)
        if summed is None or not summed.is_regular:
            member = _read(session)
            if member is not None:
                yield session, member, None
            continue
        note = session.note
        percentiles = {summed.path_of(names): each for names, each in quantiles.get(session_id, {}).items()}
        summary = summed.summary(percentiles, 0 if note is None else note.missed, 0 if note is None else note.damaged)
        state = _state(session, summed)
        heartbeat_ns = max(0 if note is None else note.heartbeat_ns, summed.last_event_ns)
        ending = endings[session_id].ending(
            state, summed.open_spans(), heartbeat_ns=heartbeat_ns, now_ns=time.time_ns()
        )
        yield session, Member(session.constants, summed, summary, ending), summed


def _read(session: DatasetSession) -> Member | None:
    """Return a session read event by event; None if it is not there any more, or holds no event."""
    try:
        with reader_of(session.files) as reader:
            view = SessionView()
            view.feed(reader.iter_events())
            ending = view.ending(reader.state, heartbeat_ns=reader.heartbeat_ns or None, now_ns=time.time_ns())
            return Member(reader.constants, view, view.summary(reader.missed, reader.damaged), ending)
    except (SessionNotFoundError, FileNotFoundError):
        return None


def _constants(session: SessionFiles) -> Mapping[str, Any] | None:
    """Return a session's constants by its events; None if there is none."""
    try:
        with reader_of(session) as reader:
            return reader.constants
    except (SessionNotFoundError, FileNotFoundError):
        return None


def _notes(engine: Engine, sessions: Sequence[SessionFiles]) -> dict[str, Note]:
    engine.reach(session.files[-1] for session in sessions)
    try:
        said = engine.notes(session.files[-1].path for session in sessions)
    except UnreadableError:
        return {}
    notes = {}
    for path, text in said:
        try:
            event = upgraded(_decode(text))
        except (InvalidEventError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        note = note_in(event) if is_note(event) else None
        if note is not None:
            notes[path] = note
    return notes


def _sums(engine: Engine) -> dict[str, SessionSums]:
    rows: dict[str, list[Row]] = {}
    for row in engine.rows(queries.FIGURES):
        rows.setdefault(row["session_id"], []).append(row)
    return {session_id: SessionSums(its_rows) for session_id, its_rows in rows.items()}


def _quantiles(engine: Engine) -> dict[str, dict[str, KnownQuantiles]]:
    """Return the percentiles of each phase: of many entries by the same buckets as elsewhere."""
    by_session: dict[str, dict[str, KnownQuantiles]] = {}
    many = []
    for row in engine.rows(queries.PERCENTILES):
        if row["phase_names"] is None:
            continue
        if row["entries"] > EXACT_LIMIT:
            many.append((row["session_id"], row["phase_names"]))
        percentiles = dict(zip(SHARES, row["durations_ns"], strict=True))
        phases = by_session.setdefault(row["session_id"], {})
        phases[row["phase_names"]] = KnownQuantiles(row["entries"], percentiles, is_exact=True)
    if many:
        engine.take("many", {"session_id": "VARCHAR", "phase_names": "VARCHAR"}, many)
        buckets: dict[tuple[str, str], dict[int, int]] = {}
        for row in engine.rows(queries.BUCKETS, {"scale": SCALE}):
            buckets.setdefault((row["session_id"], row["phase_names"]), {})[row["bucket"]] = row["entries"]
        for (session_id, names), counted in buckets.items():
            quantiles = Quantiles.in_buckets(counted)
            percentiles = dict(zip(SHARES, quantiles.at(*SHARES), strict=True))
            by_session[session_id][names] = KnownQuantiles(quantiles.count, percentiles, is_exact=False)
    return by_session


def _state(session: DatasetSession, sums: SessionSums) -> str:
    return state_by(session.note, lambda: False, is_stopped=sums.last_type == "stop")


def _endings(engine: Engine, batch: Sequence[DatasetSession], sums: Mapping[str, SessionSums]) -> dict[str, EndingFold]:
    """Return what shows how each session ended: the rare events, and the last ones."""
    rows = engine.events(queries.RARE)
    tails = [
        (session_id, thread, since)
        for session_id, each in sums.items()
        for thread, since in each.threads_with_errors.items()
    ]
    if tails:
        engine.take("tails", {"session_id": "VARCHAR", "phase_thread_id": "BIGINT", "since": "BIGINT"}, tails)
        rows += engine.events(queries.TAILS)
    by_id = {str(session.constants.get("session_id")): session for session in batch}
    dead = [
        (session_id,)
        for session_id, each in sums.items()
        if session_id in by_id and _state(by_id[session_id], each) == "dead"
    ]
    if dead:
        engine.take("dead", {"session_id": "VARCHAR"}, dead)
        rows += engine.events(queries.HOST_SAMPLES)
    endings = {session_id: EndingFold() for session_id in sums}
    spans: dict[str, SpanBuilder] = {}
    for event in _in_order(rows):
        session_id = event["session_id"]
        scope = scope_of(event)
        span = spans.setdefault(session_id, SpanBuilder()).feed(event, scope)
        endings[session_id].take(event, scope, span)
    for session_id, each in sums.items():
        endings[session_id].note_time(each.last_ns)
    return endings


def _in_order(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield the events that these rows hold, each once."""
    seen = set()
    for row in sorted(rows, key=lambda row: row["place"]):
        place = row.pop("place")
        if place in seen:
            continue
        seen.add(place)
        try:
            row["metadata"] = _decode(row["metadata"] or "null")
            yield upgraded(row)
        except (InvalidEventError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue


def _take_boundaries(engine: Engine, clocks: Sequence[tuple[DatasetSession, SessionSums]]) -> None:
    """Give one rank of each host the times of some of its boundaries: the clocks of hosts are compared by them."""
    by_id = {str(session.constants.get("session_id")): (session, sums) for session, sums in clocks}
    strides = []
    for session_id, (_, sums) in by_id.items():
        stride = 1
        while (sums.sequence or 0) // stride > _MOST_BOUNDARIES:
            stride *= 2
        strides.append((session_id, stride))
    for batch in _batches([session for session, _ in clocks]):
        engine.look_at(session.files for session in batch)
        engine.take("clocks", {"session_id": "VARCHAR", "stride": "BIGINT"}, strides)
        for row in engine.rows(queries.BOUNDARIES):
            scope = {"action": row["phase_action"], "sequence": row["phase_sequence"]}
            event = {
                "timestamp_ns": row["timestamp_ns"],
                "metadata": {"phase_scope": {**scope, "path": _decode(row["phase_names"])}},
            }
            by_id[row["session_id"]][1].boundaries.take(event, scope_of(event))
