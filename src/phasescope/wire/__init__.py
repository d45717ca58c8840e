"""The contract of both sides: TelemetryEvent v3, its envelope, the codec, the ring and where ring files lie.

May import the ground (`_native`, `_os_compat`, …) only.
"""
