"""What a recorder says of itself, in a recording: events of the type `recording` from the collector
`phasescope.recordings`.

Each part of a recording begins with one, and one follows what was missed and ends it. It is a valid TelemetryEvent v3,
so that whoever reads events can read the file; a reader of ours takes it for what it is and never gives it out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._version import VERSION
from phasescope.wire.event import COUNTERS, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_TYPE = "recording"
COLLECTOR = "phasescope.recordings"

_MAY_BE_NULL = (
    "allocator_active_bytes",
    "allocator_inactive_bytes",
    "device_free_bytes",
    "device_total_bytes",
)
_MAX_INT = 1 << 62


class Note(NamedTuple):
    """The recorder's own figures, as of the note.

    `events` of this session were recorded before it, those included whose parts were removed since. `missed` were
    overwritten before the recorder had them, `damaged` could not be read, `dropped` the session could not write.
    `state` is the session's, `inside` whether the recorder runs in the process that it records, `end` whether nothing
    follows.
    """

    session: Mapping[str, Any]
    events: int = 0
    missed: int = 0
    damaged: int = 0
    dropped: int = 0
    state: str = "running"
    heartbeat_ns: int = 0
    inside: bool = False
    end: bool = False

    def to_event(self) -> dict[str, Any]:
        """Return the note as an event of now."""
        session = self.session
        return {
            "schema_version": SCHEMA_VERSION,
            "session_id": session["session_id"],
            "timestamp_ns": time.time_ns(),
            "event_type": EVENT_TYPE,
            "collector": COLLECTOR,
            "sampling_interval_ms": session["sampling_interval_ms"],
            "pid": session["pid"],
            "host": session["host"],
            "device_id": -1,
            **{counter: None if counter in _MAY_BE_NULL else 0 for counter in COUNTERS},
            "context": None,
            "job_id": session.get("job_id"),
            "rank": session.get("rank", 0),
            "local_rank": session.get("local_rank", 0),
            "world_size": session.get("world_size", 1),
            "metadata": {
                "backend": "cpu",
                "unavailable": list(COUNTERS),
                "recording": {**self._asdict(), "session": dict(session), "version": VERSION},
            },
        }


def is_note(event: Mapping[str, Any]) -> bool:
    """Return whether an event is a recorder's word about itself."""
    return bool(event["event_type"] == EVENT_TYPE and event["collector"] == COLLECTOR)


def note_in(event: Mapping[str, Any]) -> Note | None:
    """Return the note that an event is; None if its contents are nothing that can be believed."""
    fields = event["metadata"].get("recording")
    if not isinstance(fields, dict) or not isinstance(fields.get("session"), dict):
        return None
    counts: dict[str, int] = {}
    for name in ("events", "missed", "damaged", "dropped", "heartbeat_ns"):
        count = fields.get(name)
        if type(count) is not int or not 0 <= count < _MAX_INT:
            return None
        counts[name] = count
    state = fields.get("state")
    constants = {name: event.get(name) for name in ("session_id", "pid", "host", "sampling_interval_ms")}
    return Note(
        {**fields["session"], **constants},
        events=counts["events"],
        missed=counts["missed"],
        damaged=counts["damaged"],
        dropped=counts["dropped"],
        heartbeat_ns=counts["heartbeat_ns"],
        state=state if state in ("running", "stopped", "dead") else "unknown",
        inside=fields.get("inside") is True,
        end=fields.get("end") is True,
    )
