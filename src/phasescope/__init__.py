"""phasescope: which phase of a training uses the memory, on which device, and why it grows. Live, and after a crash."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, which alone would cost more than all else here
if TYPE_CHECKING:
    from phasescope._attach import attach
    from phasescope._log import PhasescopeWarning
    from phasescope._version import VERSION as __version__
    from phasescope.capture.backend_selection import BackendUnavailableError
    from phasescope.capture.phases import phase
    from phasescope.capture.session import (
        Session,
        current,
        start,
        stop,
    )
    from phasescope.capture.track import track
    from phasescope.readers.reader import Reader, SessionNotFoundError
    from phasescope.wire.envelope import (
        TELEMETRY_PROJECTION_SCHEMA_VERSION,
        ProjectedTelemetryRecord,
        project_telemetry_mapping,
        projected_record_to_dict,
        unique_projected_correlations,
        unique_projected_resources,
    )
    from phasescope.wire.event import InvalidEventError, validate_event
    from phasescope.wire.ring import RingError

# Loaded at first use: `import phasescope` itself costs a fraction of a millisecond.
_HOMES = {
    "BackendUnavailableError": "capture.backend_selection",
    "InvalidEventError": "wire.event",
    "PhasescopeWarning": "_log",
    "ProjectedTelemetryRecord": "wire.envelope",
    "Reader": "readers.reader",
    "RingError": "wire.ring",
    "Session": "capture.session",
    "SessionNotFoundError": "readers.reader",
    "TELEMETRY_PROJECTION_SCHEMA_VERSION": "wire.envelope",
    "attach": "_attach",
    "current": "capture.session",
    "phase": "capture.phases",
    "project_telemetry_mapping": "wire.envelope",
    "projected_record_to_dict": "wire.envelope",
    "start": "capture.session",
    "stop": "capture.session",
    "track": "capture.track",
    "unique_projected_correlations": "wire.envelope",
    "unique_projected_resources": "wire.envelope",
    "validate_event": "wire.event",
}

_BEFORE_A_SESSION = ("current", "stop")
"""What does nothing as long as there can be no session."""

__all__ = [
    "TELEMETRY_PROJECTION_SCHEMA_VERSION",
    "BackendUnavailableError",
    "InvalidEventError",
    "PhasescopeWarning",
    "ProjectedTelemetryRecord",
    "Reader",
    "RingError",
    "Session",
    "SessionNotFoundError",
    "__version__",
    "attach",
    "current",
    "phase",
    "project_telemetry_mapping",
    "projected_record_to_dict",
    "start",
    "stop",
    "track",
    "unique_projected_correlations",
    "unique_projected_resources",
    "validate_event",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from phasescope._version import VERSION

        return VERSION
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'phasescope' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"phasescope.{home}")
    if name in _BEFORE_A_SESSION and not hasattr(module, name):  # a signal handler, while the module is being loaded
        return lambda: None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
