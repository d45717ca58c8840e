"""The contract of both sides: TelemetryEvent v3, its envelope, the codec, the ring and where ring files lie.

May import the ground (`_log`, `_os_compat`, `_json`, `_version`) only.
"""
