"""phasescope: which phase of a training uses the memory, on which device, and why it grows. Live, and after a crash."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, which alone would cost more than all else here
if TYPE_CHECKING:
    from phasescope._attach import attach
    from phasescope._log import PhasescopeWarning
    from phasescope._version import VERSION as __version__
    from phasescope.analysis.breakdown import Breakdown, Part
    from phasescope.analysis.categories import Categories, Category, ModulePart
    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.diagnosis.cause import Cause
    from phasescope.analysis.diagnosis.ending import Ending, OpenPhase
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.session_view import SessionView
    from phasescope.analysis.summary.phase_tree import Row
    from phasescope.analysis.summary.summary import Summary
    from phasescope.analysis.timeline.bands import Band, Strip
    from phasescope.analysis.timeline.time_series import Point, Range
    from phasescope.analysis.timeline.timeline import DeviceLine, Mark, Peak, Timeline
    from phasescope.capture.backend_selection import BackendUnavailableError
    from phasescope.capture.phase import phase
    from phasescope.capture.running import current, start, stop
    from phasescope.capture.session import Session
    from phasescope.capture.track import track
    from phasescope.readers.reader import Reader, SessionNotFoundError
    from phasescope.readers.subscription import Subscription
    from phasescope.recordings.source import Problem
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
    "Band": "analysis.timeline.bands",
    "Breakdown": "analysis.breakdown",
    "Categories": "analysis.categories",
    "Category": "analysis.categories",
    "Cause": "analysis.diagnosis.cause",
    "DeviceLine": "analysis.timeline.timeline",
    "DeviceRow": "analysis.devices",
    "Ending": "analysis.diagnosis.ending",
    "Explanation": "analysis.diagnosis.explanation",
    "InvalidEventError": "wire.event",
    "Mark": "analysis.timeline.timeline",
    "ModulePart": "analysis.categories",
    "OpenPhase": "analysis.diagnosis.ending",
    "Part": "analysis.breakdown",
    "Peak": "analysis.timeline.timeline",
    "PhasescopeWarning": "_log",
    "Point": "analysis.timeline.time_series",
    "Problem": "recordings.source",
    "ProjectedTelemetryRecord": "wire.envelope",
    "Range": "analysis.timeline.time_series",
    "Reader": "readers.reader",
    "RingError": "wire.ring",
    "Row": "analysis.summary.phase_tree",
    "Session": "capture.session",
    "SessionNotFoundError": "readers.reader",
    "SessionView": "analysis.session_view",
    "Strip": "analysis.timeline.bands",
    "Subscription": "readers.subscription",
    "Summary": "analysis.summary.summary",
    "TELEMETRY_PROJECTION_SCHEMA_VERSION": "wire.envelope",
    "Timeline": "analysis.timeline.timeline",
    "attach": "_attach",
    "current": "capture.running",
    "phase": "capture.phase",
    "project_telemetry_mapping": "wire.envelope",
    "projected_record_to_dict": "wire.envelope",
    "start": "capture.running",
    "stop": "capture.running",
    "track": "capture.track",
    "unique_projected_correlations": "wire.envelope",
    "unique_projected_resources": "wire.envelope",
    "validate_event": "wire.event",
}

_BEFORE_A_SESSION = ("current", "stop")
"""Names that do nothing as long as there can be no session."""

__all__ = [
    "TELEMETRY_PROJECTION_SCHEMA_VERSION",
    "BackendUnavailableError",
    "Band",
    "Breakdown",
    "Categories",
    "Category",
    "Cause",
    "DeviceLine",
    "DeviceRow",
    "Ending",
    "Explanation",
    "InvalidEventError",
    "Mark",
    "ModulePart",
    "OpenPhase",
    "Part",
    "Peak",
    "PhasescopeWarning",
    "Point",
    "Problem",
    "ProjectedTelemetryRecord",
    "Range",
    "Reader",
    "RingError",
    "Row",
    "Session",
    "SessionNotFoundError",
    "SessionView",
    "Strip",
    "Subscription",
    "Summary",
    "Timeline",
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


def _loaded(name: str) -> object:
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


if not TYPE_CHECKING:  # a type checker would take any name for one of these
    __getattr__ = _loaded


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
