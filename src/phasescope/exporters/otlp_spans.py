"""Phases as OpenTelemetry spans, sampled in bursts: a training enters phases far faster than traces can be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from phasescope.analysis.spans import MAX_OPENED
from phasescope.exporters.label_text import path_label
from phasescope.exporters.otlp_values import SCOPE, cleaned, span_id, trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

WINDOW_NS = 10_000_000_000
LONG_NS = 1_000_000_000
MOST_IN_WINDOW = 100
"""The limit of spans exported of a session in each window of ten seconds: this many phases that end one after the
other, and as many again of those that took a second or more or did not end well."""


class Sampling:
    """Chooses spans by the time at which they end. `left_out` counts those not chosen."""

    def __init__(self) -> None:
        self._window = -1
        self._taken = [0, 0]
        self.left_out = 0

    def takes(self, end_ns: int, is_notable: bool) -> bool:
        """Return whether a span that ended then is exported."""
        window = end_ns // WINDOW_NS
        if window > self._window:  # threads may be written a little out of order
            self._window, self._taken = window, [0, 0]
        if self._taken[is_notable] >= MOST_IN_WINDOW:
            self.left_out += 1
            return False
        self._taken[is_notable] += 1
        return True


class PhaseSpans:
    """Makes the spans of one session. All phases inside one outermost entry are one trace."""

    def __init__(self, resource: Resource) -> None:
        self.sampling = Sampling()
        self._resource = resource
        self._outermost: dict[str, str] = {}

    def context(self, scope_id: str | None, parent_id: str | None = None) -> SpanContext | None:
        """Return the context of the span of this entry of a phase; None if it has no id."""
        if scope_id is None:
            return None
        outermost = self._outermost.get(scope_id)
        if outermost is None:
            outermost = scope_id if parent_id is None else self._outermost.get(parent_id, parent_id)
        return SpanContext(trace_id(outermost), span_id(scope_id), is_remote=False, trace_flags=TraceFlags(1))

    def take(self, scope: Scope | None, span: Span | None) -> ReadableSpan | None:
        """Take what an event says of a phase; the span that it ends, if that is chosen and its times are known."""
        if scope is None or scope.action is None or scope.scope_id is None:
            return None
        parent_id = scope.fields.get("parent_scope_id")
        parent_id = parent_id if isinstance(parent_id, str) else None
        if scope.action == "enter":
            if len(self._outermost) < MAX_OPENED:
                outermost = scope.scope_id if parent_id is None else self._outermost.get(parent_id, parent_id)
                self._outermost[scope.scope_id] = outermost
            return None
        made = None if span is None else self._made(scope.scope_id, parent_id, scope, span)
        self._outermost.pop(scope.scope_id, None)
        return made

    def _made(self, scope_id: str, parent_id: str | None, scope: Scope, span: Span) -> ReadableSpan | None:
        if span.end_ns is None or span.start_ns is None or span.exhausted:
            return None
        is_notable = span.status != "ok" or (span.duration_ns or 0) >= LONG_NS
        if not self.sampling.takes(span.end_ns, is_notable):
            return None
        context, parent = self.context(scope_id, parent_id), None
        if context is not None and parent_id is not None:
            parent = SpanContext(context.trace_id, span_id(parent_id), is_remote=False, trace_flags=TraceFlags(1))
        return ReadableSpan(
            name=path_label(span.path[-1:]),
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=cleaned(_attributes(scope.fields, span)),
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if span.status == "error" else StatusCode.UNSET),
            # The duration is monotonic; the start, by the wall clock, may have been set in between.
            start_time=span.start_ns if span.duration_ns is None else span.end_ns - span.duration_ns,
            end_time=span.end_ns,
            instrumentation_scope=SCOPE,
        )


def _attributes(fields: Mapping[str, Any], span: Span) -> dict[str, Any]:
    return {
        "phasescope.phase": path_label(span.path),
        "phasescope.phase.status": span.status,
        "phasescope.phase.sequence": fields.get("sequence"),
        "phasescope.phase.allocated_delta_bytes": span.allocated_delta_bytes,
        "phasescope.phase.peak_allocated_bytes": span.peak_allocated_bytes,
        "thread.id": fields.get("thread_id"),
        "thread.name": fields.get("thread_name"),
        "error.type": span.error_type,
    }
