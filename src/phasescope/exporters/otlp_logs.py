"""Notable events as OpenTelemetry log records, mapped one to one from the envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from phasescope.exporters.otlp_values import SCOPE, cleaned, value_of
from phasescope.wire.envelope import project_telemetry_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from phasescope.exporters.otlp_spans import PhaseSpans
    from phasescope.wire.envelope import ProjectedTelemetryRecord

EVENT_TYPES = ("start", "stop", "warning", "critical", "error", "collector_degraded", "collector_recovered")
"""These events are log records; samples and the boundaries of phases are not."""

SEVERITIES = {
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}


def log_record(event: Mapping[str, Any], resource: Resource, spans: PhaseSpans) -> ReadableLogRecord | None:
    """Return the event as a log record; None if its type is not logged, or it has no envelope."""
    if event.get("event_type") not in EVENT_TYPES:
        return None
    try:
        envelope = project_telemetry_mapping(event)
    except ValueError:
        return None
    record = LogRecord(
        timestamp=envelope.timestamp_ns,
        observed_timestamp=envelope.observed_timestamp_ns,
        context=_context(envelope, spans),
        severity_text=value_of(envelope.severity_text),
        severity_number=SEVERITIES.get(envelope.severity or "", SeverityNumber.UNSPECIFIED),
        body=value_of(envelope.body),
        attributes=_attributes(envelope),
        event_name=f"phasescope.{envelope.event_type}",
    )
    return ReadableLogRecord(record, resource, SCOPE)


def _attributes(envelope: ProjectedTelemetryRecord) -> dict[str, Any]:
    """Return the fields that log records have no place for, under the envelope's own names."""
    return cleaned(
        {
            "phasescope.schema_version": envelope.schema_version,
            "phasescope.record_id": envelope.record_id,
            "phasescope.session_id": envelope.session_id,
            "phasescope.source_kind": envelope.source_kind,
            "phasescope.stage": envelope.stage,
            **{f"phasescope.resource.{key}": value for key, value in envelope.resource.items()},
            **{f"phasescope.attributes.{key}": value for key, value in envelope.attributes.items()},
            **{f"phasescope.correlation.{key}": value for key, value in envelope.correlation.items()},
        }
    )


def _context(envelope: ProjectedTelemetryRecord, spans: PhaseSpans) -> Context:
    """Return the span of the phase in which it happened, if there is one."""
    scope_id, parent_id = envelope.correlation.get("phase.scope_id"), envelope.correlation.get("phase.parent_scope_id")
    context = spans.context(
        scope_id if isinstance(scope_id, str) else None, parent_id if isinstance(parent_id, str) else None
    )
    return Context() if context is None else set_span_in_context(NonRecordingSpan(context), Context())
