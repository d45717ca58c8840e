"""One session as a view shows it, fed with events as they come: a view pays only for what is new."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.ending import Ending, EndingFold
from phasescope.analysis.jobs.clock_skew import Boundaries
from phasescope.analysis.summary.summary import SummaryFold
from phasescope.analysis.timeline.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.summary.summary import Summary
    from phasescope.analysis.timeline.timeline import Mark

    from .devices import DeviceRow
    from .spans import Span

__all__ = ["SessionView"]

_RECENT_EVENTS = 200


class SessionView:
    """Summary, timeline and end of one session, in one pass over its events and in bounded memory.

    `feed` it with events, the oldest first; everything else may be asked at any time. Not safe for several threads
    at once.
    """

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.events = 0
        self.sequence: int | None = None
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=_RECENT_EVENTS)
        self.boundaries = Boundaries()
        self._summary = SummaryFold()
        self._ending = EndingFold()

    def feed(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Take the next events; how many there were. `recent` keeps the last 200 of them, `sequence` is the number of
        the last phase boundary."""
        before = self.events
        for event in events:
            self.events += 1
            scope, span = self._summary.add(event)
            self.timeline.take(event, scope, span)
            self._ending.take(event, scope, span)
            self.boundaries.take(event, scope)
            self.recent.append(event)
            if scope is not None and scope.action is not None:
                sequence = scope.fields.get("sequence")
                self.sequence = sequence if type(sequence) is int else self.sequence
        return self.events - before

    def summary(self, missed: int = 0, damaged: int = 0) -> Summary:
        """The table by phase, and how the devices stand."""
        return self._summary.summary(missed, damaged)

    def devices(self) -> tuple[DeviceRow, ...]:
        """How the devices stand, without the cost of the whole summary."""
        return self._summary.device_rows()

    def open_spans(self) -> list[Span]:
        """The phases that are open, the outer before the inner."""
        return self._summary.open_spans()

    def current(self) -> list[Span]:
        """The innermost phase open in each thread, the one entered last at the end."""
        spans = self.open_spans()
        outer = {span.path[:-1] for span in spans}
        return [span for span in spans if span.path not in outer]

    def marks(self, since_ns: int | None = None) -> list[Mark]:
        """Warnings, errors and the like, oldest first; the timeline keeps the last 256."""
        return [mark for mark in self.timeline.marks if since_ns is None or mark.timestamp_ns >= since_ns]

    def ending(self, state: str, *, heartbeat_ns: int | None = None, now_ns: int | None = None) -> Ending:
        """How it fares or ended. `state` is the reader's; see `Ending`."""
        return self._ending.ending(state, self.open_spans(), heartbeat_ns=heartbeat_ns, now_ns=now_ns)
