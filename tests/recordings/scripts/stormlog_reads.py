"""What a Stormlog makes of a recording of ours: its loader, its projection, its replay of phases. JSON on stdout."""

from __future__ import annotations

import json
import sys

from stormlog.phases import PhaseReplayIndex
from stormlog.telemetry import load_telemetry_events, load_telemetry_sessions
from stormlog.telemetry_model import projected_record_to_dict

path = sys.argv[1]
(session,) = load_telemetry_sessions(path, permissive_legacy=False)
replay = PhaseReplayIndex.from_events(session.events)
spans = replay.spans_for(session_id=session.summary.session_id)
print(
    json.dumps(
        {
            "session_id": session.summary.session_id,
            "status": session.summary.status,
            "events": len(load_telemetry_events(path)),
            "records": [projected_record_to_dict(record) for record in session.telemetry_records()],
            "resources": session.resources(),
            "spans": sorted(
                [span.scope_id, list(span.path), span.start_ns, span.end_ns, span.synthetic_end] for span in spans
            ),
        }
    )
)
