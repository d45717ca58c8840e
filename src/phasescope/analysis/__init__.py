"""What the events say: pure functions over TelemetryEvent v3 mappings, for live and dead sessions alike."""
