"""Live sessions to an OpenTelemetry collector, by OTLP over HTTP: what it does not take waits in a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics

from phasescope.analysis.formatting import plural
from phasescope.exporters.otlp_answers import LOGS, METRICS, TRACES, Answers
from phasescope.exporters.otlp_deltas import Deltas, are_preferred
from phasescope.exporters.otlp_logs import log_record
from phasescope.exporters.otlp_metrics import SessionMetrics, exporter_metrics
from phasescope.exporters.otlp_spans import PhaseSpans
from phasescope.exporters.otlp_values import own_resource, resource_of
from phasescope.exporters.quiet_threads import end_of_quiet, quiet_for_now, quiet_this_thread
from phasescope.exporters.remarks import safely

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span
    from phasescope.exporters.addresses import Endpoint
    from phasescope.exporters.live_sessions import LiveSession, LiveSessions

NOT_SAMPLED = "traces_not_sampled"

QUEUE_LIMIT = 2048
"""The limit of spans, and of log records, that wait for the collector; then the oldest are dropped and counted."""

TIMEOUT_S = 5.0

_BATCH = 512
_SESSIONS_A_REQUEST = 16
_REFUSALS_A_ROUND = 12
_MOST_ENDED = 256
_JOIN_S = TIMEOUT_S
_ONCE_MORE_S = 1.5  # the SDK waits about a second before it tries again


class Queue:
    """What waits for the collector, the oldest first, at most `QUEUE_LIMIT`. `dropped` counts what had no room."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._lock = threading.Lock()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: object) -> None:
        """Add the newest."""
        with self._lock:
            self._items.append(item)
            self._trim()

    def take(self, most: int) -> list[Any]:
        """Remove the oldest."""
        with self._lock:
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def give_back(self, items: list[Any]) -> None:
        """Put back what was taken last, in front of all others."""
        with self._lock:
            self._items.extendleft(reversed(items))
            self._trim()

    def _trim(self) -> None:
        while len(self._items) > QUEUE_LIMIT:
            self._items.popleft()
            self.dropped += 1


class _Exported:
    """What is made of one session."""

    def __init__(self, session: LiveSession, queues: Mapping[str, Queue]) -> None:
        self._queues = queues
        self.metrics = SessionMetrics(session)
        self._resource = resource_of(session.constants)
        self.spans = PhaseSpans(self._resource)

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        record = log_record(event, self._resource, self.spans)
        if record is not None:
            self._queues[LOGS].put(record)
        made = self.spans.take(scope, span)
        if made is not None:
            self._queues[TRACES].put(made)


class Delivery:
    """Sends the figures, spans and log records of the sessions every `interval_s`, in a thread of its own.

    `lock` guards the sessions; it is not held while sending. `say` is called with a line once the collector no longer
    takes a signal, and once it does again. Raises ValueError if an environment variable of the SDK has no valid value.
    """

    patience_s = 2.5

    def __init__(
        self,
        endpoint: Endpoint,
        sessions: LiveSessions,
        lock: threading.Lock,
        *,
        interval_s: float,
        say: Callable[[str], object],
    ) -> None:
        self.shown = f"sending to {endpoint.shown}"
        self._shown = endpoint.shown
        self._lock = lock
        self._interval_s = interval_s
        self._say = safely(say)
        self._queues = {TRACES: Queue(), LOGS: Queue()}
        self._answers = {signal: Answers(signal) for signal in (METRICS, TRACES, LOGS)}
        with quiet_for_now():  # a variable with a value that the SDK does not know
            self._exporters = {
                signal: kind(
                    endpoint=f"{endpoint.url}/v1/{signal}",
                    headers=dict(endpoint.headers),
                    timeout=TIMEOUT_S,
                    session=self._answers[signal].session,
                )
                for signal, kind in ((METRICS, OTLPMetricExporter), (TRACES, OTLPSpanExporter), (LOGS, OTLPLogExporter))
            }
        self._exported: dict[LiveSession, _Exported] = {}
        self._ended_sessions: deque[ResourceMetrics] = deque()
        self._not_sampled = self._ended_dropped = 0
        self._refused: Counter[str] = Counter()
        self._taken: set[str] = set()
        self._failing: set[str] = set()
        self._remarked: set[str] = set()
        self._deltas = Deltas() if are_preferred() else None
        self._failures: Counter[str] = Counter(dict.fromkeys(self._exporters, 0))
        self._resource = own_resource()
        self._began_ns = time.time_ns()
        self._hurried = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="phasescope-otlp", daemon=True)
        sessions.opened.append(self._open)
        sessions.closed.append(self._close_session)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Send what is there, and end. A collector that was away a moment ago may be back: it is asked once more."""
        self._ended.set()
        self._thread.join(_ONCE_MORE_S if self._failing else _JOIN_S)
        if self._thread.is_alive():  # it tries again and again, or an answer comes byte by byte
            self.hurry()
            self._thread.join(_JOIN_S)
        self.hurry()

    def hurry(self) -> None:
        """Give up what is tried again, and whatever follows."""
        if not self._hurried:
            self._hurried = True
            for exporter in self._exporters.values():
                exporter.shutdown()

    def dropped(self) -> dict[str, int]:
        """Return how many spans and log records were not delivered, those that still wait among them, by signal."""
        lost = self._lost()
        return {signal: lost[signal] + len(queue) for signal, queue in self._queues.items()}

    def remarks(self) -> list[str]:
        """Return what was not delivered, a line for each signal."""
        return [
            f"{plural(count, 'item')} of {signal} not delivered" for signal, count in self.dropped().items() if count
        ]

    def abandon_in_child(self) -> None:
        """In a forked child, do nothing: no socket of the parent's is used there."""

    def deliver(self) -> None:
        """Send everything that is there now."""
        with self._lock:
            ended = list(self._ended_sessions)
            batch = [*ended, *(exported.metrics.metrics() for exported in self._exported.values())]
            batch.append(self._own_metrics())
        for first in range(0, len(batch), _SESSIONS_A_REQUEST):
            some = batch[first : first + _SESSIONS_A_REQUEST]
            if not self._sent(METRICS, MetricsData(some if self._deltas is None else self._deltas.of(some))):
                break
            if self._deltas is not None:
                self._deltas.note(some)
            with self._lock:
                for metrics in ended[first : first + len(some)]:
                    self._forget_ended(metrics)
        for signal, queue in self._queues.items():
            self._empty(signal, queue)

    def _forget_ended(self, metrics: ResourceMetrics) -> None:
        if metrics in self._ended_sessions:
            self._ended_sessions.remove(metrics)
        if self._deltas is not None:
            self._deltas.forget(metrics)

    def _empty(self, signal: str, queue: Queue) -> None:
        """Send what waits. What the collector refuses as wrong or too large is sent in halves, until the one item is
        found and dropped: otherwise all the others would wait behind it."""
        size, refusals = _BATCH, 0
        while items := queue.take(size):
            if self._sent(signal, items):
                self._taken.add(signal)
                size = min(2 * size, _BATCH)
                continue
            refusals += 1
            if not self._answers[signal].refuses_content or refusals > _REFUSALS_A_ROUND:
                queue.give_back(items)
                break
            if len(items) > 1:
                queue.give_back(items)
                size = len(items) // 2
            elif signal in self._taken:
                self._refused[signal] += 1
            else:  # it never took any: perhaps the address is wrong, and the item is not
                queue.give_back(items)
                break

    def _run(self) -> None:
        quiet_this_thread()
        is_last = False
        while not is_last:
            is_last = self._ended.wait(self._interval_s)
            try:
                self.deliver()
            except Exception as error:  # the next round must come, whatever this one met
                self._say(f"{type(error).__name__} while sending to {self._shown}")
        end_of_quiet()

    def _sent(self, signal: str, batch: Any) -> bool:
        answers = self._answers[signal]
        if answers.rests or self._hurried:
            return False
        answers.forget()
        done = self._exporters[signal].export(batch)
        if done.name == "SUCCESS" and not answers.is_elsewhere:
            if signal in self._failing:
                self._failing.discard(signal)
                self._say(f"{self._shown} takes {signal} again")
            if answers.remark is not None and signal not in self._remarked:
                self._remarked.add(signal)
                self._say(f"{self._shown} takes {signal}, but {answers.remark}")
            return True
        self._failures[signal] += 1
        if signal not in self._failing and not self._ended.is_set():
            again = f"the exporter tries again every {self._interval_s:g} s"
            self._say(f"{self._shown} does not take {signal}; {again} ({answers.reason})")
        self._failing.add(signal)
        return False

    def _own_metrics(self) -> ResourceMetrics:
        dropped = self._lost()
        dropped[NOT_SAMPLED] = self._not_sampled + sum(each.spans.sampling.left_out for each in self._exported.values())
        return exporter_metrics(self._resource, self._began_ns, dropped, self._failures)

    def _lost(self) -> dict[str, int]:
        lost = {METRICS: self._ended_dropped, **{signal: queue.dropped for signal, queue in self._queues.items()}}
        return {
            signal: count + self._refused[signal] + self._answers[signal].rejected for signal, count in lost.items()
        }

    def _open(self, session: LiveSession) -> None:
        exported = self._exported[session] = _Exported(session, self._queues)
        session.watches.append(exported.take)

    def _close_session(self, session: LiveSession) -> None:
        exported = self._exported.pop(session)
        self._not_sampled += exported.spans.sampling.left_out
        self._ended_sessions.append(exported.metrics.metrics())
        while len(self._ended_sessions) > _MOST_ENDED:
            self._forget_ended(self._ended_sessions[0])
            self._ended_dropped += 1
