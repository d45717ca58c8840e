"""The events of a session about itself: its start and its stop, and what becomes of its collectors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from phasescope import _log
from phasescope.capture import error_events, process_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.capture.collector import Collector
    from phasescope.capture.collectors import Collectors
    from phasescope.capture.event_writer import EventWriter

_LAST_WORDS_SECONDS = 0.1


class SessionEvents:
    """Writes them. Nothing is raised; `degraded` counts the failures of collectors."""

    writer: EventWriter
    collectors: Collectors

    def __init__(self) -> None:
        self.degraded = 0
        self._pid = os.getpid()
        self._has_stopped = False
        self._ended_by: dict[str, Any] | None = None

    def note_start(self) -> None:
        """Write the first event."""
        self._note("start", None)

    def note_end(self, error: BaseException | None, is_end: bool = True) -> None:
        """Keep for the stop the exception that ended the script (or that left this session, if not `is_end`)."""
        if self._ended_by is None and not self.writer.closed and os.getpid() == self._pid:
            try:
                self._ended_by = error_events.note_end(self.writer, error, is_end)
            except Exception:
                self.writer.dropped += 1

    def note_stop(self, context: str | None) -> None:
        """Write the last event, once."""
        if not self._has_stopped:
            self._has_stopped = True
            self._note("stop", context, self._ended_by)

    def note_os_exit(self, code: int) -> None:
        """Write the stop of a process that leaves by `os._exit`.

        Wait for nothing and ask no backend: a watchdog ends a process so that hangs. The ring stays mapped, since the
        sampler may be writing to it.
        """
        if os.getpid() != self._pid or not self.writer.lock.acquire(timeout=_LAST_WORDS_SECONDS):
            return
        try:
            if self._has_stopped or self.writer.closed:
                return
            self._has_stopped = True
            of_script = self._ended_by if self._ended_by and "error_type" in self._ended_by else {"exit_code": code}
            state = self.collectors.boundary.any_state()
            self.writer.note("stop", state, None, None, process_end.LEFT_AT_ONCE, of_script)
            self.writer.close(lambda: None)
        finally:
            self.writer.lock.release()

    def note_os_exec(self) -> Callable[[], None]:
        """Write the stop of a process whose place another program takes, and return what takes it back.

        No other thread writes anything in between.
        """
        if os.getpid() != self._pid or not self.writer.lock.acquire(timeout=_LAST_WORDS_SECONDS):
            return lambda: None
        if self._has_stopped or self.writer.closed:
            return self.writer.lock.release
        state = self.collectors.boundary.any_state()
        self.writer.note("stop", state, None, None, process_end.REPLACED, {"exit_code": 0})
        self.writer.ring.stop()

        def undo() -> None:
            try:
                self.writer.ring.go_on()
                self.writer.note("start", state, None, None, "os.exec failed: the session goes on", None)
            finally:
                self.writer.lock.release()

        return undo

    def note_collector(self, event_type: str, collector: Collector, text: str) -> None:
        """Write that a collector has failed or recovered."""
        if event_type == "collector_degraded":
            self.degraded += 1
            _log.log_once(f"degraded {text}", "%s", text)
        self.writer.note(event_type, collector.any_state(), None, None, text)

    def _note(self, event_type: str, context: str | None, extra: dict[str, Any] | None = None) -> None:
        try:
            state = self.collectors.device_state()
            try:
                counters = state.collector.read(state.device_id)
            except Exception as error:
                counters = state.collector.read_failed(error)
            self.writer.note(event_type, state, counters, None, context, extra)
        except Exception as error:
            self.writer.dropped += 1
            _log.log_once(f"note {event_type}", "%s could not be written: %s", event_type, type(error).__name__)
