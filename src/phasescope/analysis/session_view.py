"""One session as a view shows it, fed with events as they come: a view pays only for new events."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.ending import Ending, EndingFold
from phasescope.analysis.jobs.clock_skew import Boundaries
from phasescope.analysis.jobs.member import innermost
from phasescope.analysis.steps import EndedPhases
from phasescope.analysis.summary.summary import SummaryFold
from phasescope.analysis.timeline.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.summary.summary import Summary
    from phasescope.analysis.timeline.timeline import Mark

    from .devices import DeviceRow
    from .event_fields import Scope
    from .spans import Span

__all__ = ["SessionView"]

_RECENT_EVENTS = 200


class SessionView:
    """Summary, timeline and ending of one session that is still being written, in one pass and in bounded memory.

    Call `feed()` with events, oldest first; call everything else at any time. `timeline` is its `Timeline`, `events`
    the number of events so far, and `recent` holds the last 200 of them. Not safe for several threads at once.
    """

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.events = 0
        self.sequence: int | None = None
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=_RECENT_EVENTS)
        self.boundaries = Boundaries()
        self.ended = EndedPhases()
        self._summary = SummaryFold()
        self._ending = EndingFold()

    def feed(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Take the next events, and return their number."""
        before = self.events
        for event in events:
            self.events += 1
            scope, span = self._summary.add(event)
            self._take(event, scope, span)
            if scope is not None and scope.action is not None:
                sequence = scope.fields.get("sequence")
                self.sequence = sequence if type(sequence) is int else self.sequence
        return self.events - before

    def _take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event with its `scope_of` and the span that it ends, if any."""
        self.timeline.take(event, scope, span)
        self._ending.take(event, scope, span)
        self.boundaries.take(event, scope)
        self.ended.take(span)
        self.recent.append(event)

    def summary(self, missed: int = 0, damaged: int = 0) -> Summary:
        """Return the summary so far. `missed` and `damaged` are the reader's counts."""
        return self._summary.summary(missed, damaged)

    def devices(self) -> tuple[DeviceRow, ...]:
        """Return the newest figures of each device, without the cost of the whole summary."""
        return self._summary.device_rows()

    def open_spans(self) -> list[Span]:
        """Return the phases that are open, the outer before the inner."""
        return self._summary.open_spans()

    def current(self) -> list[Span]:
        """Return the innermost phase open in each thread, the one entered last at the end."""
        return innermost(self.open_spans())

    @property
    def entries(self) -> Mapping[tuple[str, ...], Any]:
        """The phases that have ended, by path."""
        return self.ended.entries

    @property
    def peaks(self) -> Mapping[str, int]:
        """The largest allocation of each device, by its label."""
        return {line.label: line.peak.allocated_bytes for line in self.timeline.devices if line.peak is not None}

    def marks(self, since_ns: int | None = None) -> list[Mark]:
        """Return the notable events since `since_ns`, oldest first; the timeline keeps the last 256."""
        return [mark for mark in self.timeline.marks if since_ns is None or mark.timestamp_ns >= since_ns]

    def ending(self, state: str, *, heartbeat_ns: int | None = None, now_ns: int | None = None) -> Ending:
        """Return how the session is doing, or how it ended. `state` and `heartbeat_ns` are the reader's."""
        return self._ending.ending(state, self.open_spans(), heartbeat_ns=heartbeat_ns, now_ns=now_ns)
