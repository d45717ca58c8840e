"""What an engine is asked about the rows of `fleet`, a view of the files that a question is about.

`place` is the place of a row in its session. What these sum up is what reading the events gives: see `SessionSums`.
"""

from __future__ import annotations

FIGURES = """
SELECT session_id, phase_names, phase_thread_id, phase_action, phase_status, phase_exhausted,
       backend, device_id, unavailable, event_type,
       count(*) AS events, min(place) AS first_at, max(place) AS last_at,
       min(timestamp_ns) AS first_ns, max(timestamp_ns) AS last_ns,
       count(phase_duration_ns) AS timed, sum(phase_duration_ns) AS total_ns,
       count(phase_allocated_delta_bytes) AS deltas, sum(phase_allocated_delta_bytes) AS delta_bytes,
       count(phase_peak_allocated_bytes) AS peaks, max(phase_peak_allocated_bytes) AS peak_bytes,
       max(allocator_allocated_bytes) AS allocated_bytes, max(allocator_reserved_bytes) AS reserved_bytes,
       max(allocator_reserved_bytes - allocator_allocated_bytes) AS slack_bytes,
       max_by(allocator_allocated_bytes, place) AS last_allocated_bytes,
       max_by(allocator_reserved_bytes, place) AS last_reserved_bytes,
       max_by(timestamp_ns, place) AS newest_ns,
       count(phase_sequence) AS numbered, min(phase_sequence) AS first_sequence, max(phase_sequence) AS last_sequence,
       count(phase_entry) AS linked, min(phase_entry) AS first_entry, min(phase_parent) AS first_parent
FROM fleet
GROUP BY session_id, phase_names, phase_thread_id, phase_action, phase_status, phase_exhausted,
         backend, device_id, unavailable, event_type
"""
"""Of each session, phase, thread and device how its events add up."""

PERCENTILES = """
SELECT session_id, phase_names, count(*) AS entries,
       quantile_disc(phase_duration_ns, [0.25, 0.5, 0.75, 0.95]) AS durations_ns
FROM fleet
WHERE phase_action = 'exit' AND phase_exhausted IS NULL AND phase_duration_ns IS NOT NULL
GROUP BY session_id, phase_names
"""
"""The values of nearest rank."""

BUCKETS = """
SELECT session_id, phase_names,
       CASE WHEN phase_duration_ns > 0 THEN CAST(ceil(ln(CAST(phase_duration_ns AS DOUBLE)) * $scale) AS BIGINT)
            ELSE -1 END AS bucket,
       count(*) AS entries
FROM fleet JOIN many USING (session_id, phase_names)
WHERE phase_action = 'exit' AND phase_exhausted IS NULL AND phase_duration_ns IS NOT NULL
GROUP BY ALL
"""
"""Of phases with very many entries, how many lie in each bucket: see `Quantiles`."""

RARE = """
SELECT {columns}
FROM fleet
WHERE is_rare = 1
ORDER BY place
"""
"""The events that are few, whole."""

TAILS = """
SELECT {columns}
FROM fleet JOIN tails USING (session_id, phase_thread_id)
WHERE (phase_action IS NOT NULL AND phase_sequence >= since)
ORDER BY place
"""
"""What came after the last entry in each thread, whole: an exception on its way out."""

HOST_SAMPLES = """
SELECT {columns}
FROM fleet JOIN dead USING (session_id)
WHERE event_type = 'sample' AND device_id = -1
QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY place DESC) <= 64
ORDER BY place
"""
"""The last samples of the host, whole: of sessions whose process disappeared."""

BOUNDARIES = """
SELECT session_id, timestamp_ns, phase_action, phase_names, phase_sequence
FROM fleet JOIN clocks USING (session_id)
WHERE phase_action IS NOT NULL AND phase_sequence % stride = 0
ORDER BY place
"""
"""When a session passed some of its boundaries: to compare the clocks of hosts."""
