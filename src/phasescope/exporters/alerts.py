"""Alerts: conditions that come true in live sessions, each once per cause, as data for a program or a web hook."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.cause import GROWTH as GROWS
from phasescope.analysis.diagnosis.cause import PHASE_RISES, WORKERS_GROW
from phasescope.analysis.diagnosis.verdict import verdict
from phasescope.analysis.event_fields import counter_of, device_label, device_of, unavailable
from phasescope.analysis.formatting import duration_text, elide, printable, share_text, size_text
from phasescope.analysis.judged_view import JudgedView
from phasescope.analysis.liveness import silence_ns
from phasescope.exporters.alert_conditions import DIED, FIGURES, GROWTH, OOM, SILENT
from phasescope.exporters.label_text import path_label, text_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span
    from phasescope.exporters.alert_conditions import Condition
    from phasescope.exporters.live_sessions import LiveSession, LiveSessions

VERSION = 1
"""The version of an alert's fields; it rises if one changes its meaning or goes away."""

JUDGE_AGAIN_S = 5.0
"""How often it is judged whether memory grows: that costs much more than an event."""

_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Alert:
    """A condition that came true in a session. docs/alerts.md lists the fields of `to_dict()`."""

    condition: str
    text: str
    constants: Mapping[str, Any]
    timestamp_ns: int
    device: str | None = None
    phase: str | None = None
    value_bytes: int | None = None
    limit_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the alert as JSON types."""
        time = datetime.fromtimestamp(self.timestamp_ns / 1e9, tz=timezone.utc)
        named = f"{self.constants.get('session_id')} {self.condition} {self.device} {self.timestamp_ns}"
        names = ("session_id", "host", "pid", "job_id", "rank", "world_size")
        return {
            "version": VERSION,
            "alert_id": hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:32],
            "condition": self.condition,
            "text": self.text,
            "time": time.isoformat(timespec="milliseconds"),
            "timestamp_ns": self.timestamp_ns,
            "session": {name: _plain(self.constants.get(name)) for name in names},
            "device": self.device,
            "phase": self.phase,
            "value_bytes": self.value_bytes,
            "limit_bytes": self.limit_bytes,
        }


class _AlertedSession:
    """One session: what was said of it already, and what has to be said."""

    def __init__(self, session: LiveSession, conditions: Sequence[Condition]) -> None:
        self.session = session
        self._thresholds = [(each.text, each.threshold) for each in conditions if each.threshold is not None]
        self._kinds = {each.kind: each.text for each in conditions}
        self._view = JudgedView() if GROWTH in self._kinds else None
        self._said: set[tuple[str, str | None]] = set()
        self._newest: dict[str, Mapping[str, Any]] = {}
        self._found: list[Alert] = []
        self._caught_up = False
        self._was_running = session.state == "running"
        self._judge_again_s = 0.0

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event. What was before the watching began is news only if it still holds."""
        if self._view is not None:
            self._view.feed((event,))
        key = device_of(event)
        if key is not None and self._thresholds:
            self._newest[device_label(*key)] = event
            if self._caught_up:
                self._compare(device_label(*key), event, scope)
        metadata = event.get("metadata")
        ran_out = isinstance(metadata, dict) and metadata.get("out_of_memory") is True
        if self._caught_up and ran_out and event.get("event_type") == "error" and OOM in self._kinds:
            text = f"out of memory: {event.get('context')}"
            device = None if key is None else text_label(device_label(*key))
            self._found.append(self._alert(OOM, text, event, scope, device=device))

    def due(self, now_s: float) -> list[Alert]:
        """Return what came true since the last time."""
        if not self.session.behind:
            if not self._caught_up:
                self._caught_up = True
                for device, event in self._newest.items():
                    self._compare(device, event, None)
            self._look_at_state()
            if self._view is not None and (now_s >= self._judge_again_s or self.session.state != "running"):
                self._judge_again_s = now_s + JUDGE_AGAIN_S
                self._judge(self._view)
        alerts, self._found = self._found, []
        return alerts

    def _compare(self, device: str, event: Mapping[str, Any], scope: Scope | None) -> None:
        unknown = unavailable(event)
        total = counter_of(event, unknown, "device_total_bytes")
        for text, threshold in self._thresholds:
            field = FIGURES[threshold.figure]
            size_bytes = counter_of(event, unknown, field)
            limit = threshold.limit_bytes(total)
            if size_bytes is None or limit is None:
                continue
            key = (text, device)
            if key in self._said:
                if threshold.is_back(size_bytes, limit):
                    self._said.discard(key)
            elif threshold.is_passed(size_bytes, limit):
                self._said.add(key)
                share = f" ({share_text(size_bytes / total)})" if total else ""
                said = f"{threshold.figure} on {device} is {size_text(size_bytes)}{share}, {text}"
                figures = {"device": text_label(device), "value_bytes": size_bytes, "limit_bytes": round(limit)}
                self._found.append(self._alert(text, said, event, scope, **figures))

    def _look_at_state(self) -> None:
        state, heartbeat_ns = self.session.state, self.session.heartbeat_ns
        if state == "dead" and self._was_running and DIED in self._kinds and self._once(DIED):
            self._found.append(self._alert(DIED, "the process died without ending its session", {}, None))
        if SILENT not in self._kinds or heartbeat_ns is None:
            return
        interval_ms = self.session.constants.get("sampling_interval_ms")
        silent_ns = silence_ns(state, heartbeat_ns, interval_ms, time.time_ns())
        if silent_ns is None:
            self._said.discard((SILENT, None))
        elif self._once(SILENT):
            text = f"no sign of life for {duration_text(silent_ns)}: the process is stopped, or hangs"
            self._found.append(self._alert(SILENT, text, {}, None))

    def _judge(self, view: JudgedView) -> None:
        answer = view.explanation(
            self.session.state,
            heartbeat_ns=self.session.heartbeat_ns,
            now_ns=time.time_ns(),
            missed=(self.session.missed, self.session.damaged),
            constants=self.session.constants,
        )
        cause = answer.cause
        if cause.kind not in (GROWS, WORKERS_GROW, PHASE_RISES):
            return
        growth = cause.growth
        device = None if growth is None else growth.device
        if self._once(GROWTH, f"{cause.kind} {device}"):
            rise = cause.rise
            phases = growth.phases if growth is not None else () if rise is None else (rise.path,)
            path = phases[0] if len(phases) == 1 else None
            text = verdict(answer).text.removesuffix(" (see explain)")
            self._found.append(
                Alert(
                    GROWTH,
                    text,
                    self.session.constants,
                    time.time_ns(),
                    None if device is None else text_label(device),
                    None if path is None else path_label(path),
                )
            )

    def _once(self, condition: str, about: str | None = None) -> bool:
        is_new = (condition, about) not in self._said
        self._said.add((condition, about))
        return is_new

    def _alert(self, condition: str, text: str, event: Mapping[str, Any], scope: Scope | None, **more: Any) -> Alert:
        time_ns = event.get("timestamp_ns")
        return Alert(
            condition,
            elide(printable(text), _LONGEST_TEXT),
            self.session.constants,
            time_ns if type(time_ns) is int else time.time_ns(),
            phase=None if scope is None else path_label(scope.path),
            **more,
        )


class Watching:
    """Looks at sessions for conditions that come true."""

    def __init__(
        self,
        sessions: LiveSessions,
        conditions: Sequence[Condition],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conditions = conditions
        self._now_s = now_s
        self._watched: dict[LiveSession, _AlertedSession] = {}
        self._last: list[Alert] = []
        sessions.opened.append(self._open)
        sessions.closed.append(self._close)

    def due(self) -> list[Alert]:
        """Return the alerts since the last time, in the order of their times. Call it after each poll."""
        alerts, self._last = self._last, []
        for watched in self._watched.values():
            alerts += watched.due(self._now_s())
        return sorted(alerts, key=lambda alert: alert.timestamp_ns)

    @property
    def is_over(self) -> bool:
        """Whether every session is over and was read to its end."""
        return all(each.state != "running" and not each.behind for each in self._watched)

    def _open(self, session: LiveSession) -> None:
        watched = self._watched[session] = _AlertedSession(session, self._conditions)
        session.watches.append(watched.take)

    def _close(self, session: LiveSession) -> None:
        self._last += self._watched.pop(session).due(self._now_s())


def _plain(value: object) -> str | int | None:
    return value if value is None or type(value) is int else text_label(value)
