"""The meaning of events: pure functions over TelemetryEvent v3 mappings, for live and dead sessions alike.

May import nothing else of this package but the ground that does no I/O (`_json`, `_native`, `_version`): events in,
data out.
"""
