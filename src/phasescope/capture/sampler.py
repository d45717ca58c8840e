"""The background thread: measures every device at a steady period and tells readers that the session is alive."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from phasescope._log import log_once, logger

if TYPE_CHECKING:
    from phasescope.capture.clock import Clock
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.collectors import Sources
    from phasescope.capture.event_writer import Recorder
    from phasescope.capture.phases import phase
    from phasescope.capture.thresholds import Thresholds

MAX_OPEN_PHASES = 10_000
_NOT_IN_ITS_FILE = (
    "the ring file %s; the session goes on in this process's memory, where others can not look in, and comes back to "
    "its file when that can be written again"
)


class Sampler:
    """One daemon thread. It schedules by the monotonic clock, so a wall clock that jumps moves nothing.

    A period that could not be kept is made up for by leaving periods out, never by a burst; how late a sample came
    is in its metadata (`sampling_late_ns`).
    """

    def __init__(
        self,
        recorder: Recorder,
        sources: Sources,
        clock: Clock,
        interval_ms: int,
        thresholds: Thresholds,
        session_id: str,
    ) -> None:
        self._recorder = recorder
        self._sources = sources
        self._clock = clock
        self._interval_ns = interval_ms * 1_000_000
        self._due_ns = 0
        self._thresholds = thresholds
        self._session_id = session_id
        self._home_thread = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="phasescope-sampler", daemon=True)

    def start(self) -> None:
        """Measure once, here, so that the first phase already knows its device; then go on in the background."""
        # Counted from here, not from when the thread comes to run: how long that took is lateness too.
        self._due_ns = self._clock.monotonic_ns() + self._interval_ns
        self.tick(0)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to exit
            log_once("no sampler", "no samples between phases: %s", str(error))  # a kept record must not keep frames

    def stop(self) -> None:
        """End the thread. Returns when it is done, or after a second if a driver holds it."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def last_look(self) -> None:
        """Before the session ends: write down what devices have finished by now."""
        for source in self._sources.admitted:
            for state in list(source.states.values()):
                self._note_device_times(state)

    def _run(self) -> None:
        while not self._clock.wait_until(self._stop, self._due_ns):
            late = max(0, self._clock.monotonic_ns() - self._due_ns)
            self.tick(late)
            self._due_ns += (late // self._interval_ns + 1) * self._interval_ns

    def tick(self, late_ns: int) -> None:
        """One round over all devices. Never raises: whatever goes wrong is counted and said once."""
        recorder = self._recorder
        try:
            for state, counters in self._sources.sample():
                extra = {"sampling_late_ns": late_ns, **state.take_extra()}
                with recorder.lock:  # so that no phase begins or ends between asking for it and writing
                    scope = self._innermost()
                    recorder.note("sample", state, counters, scope, None, extra)
                crossing = self._thresholds.crossed(state, counters)
                if crossing is not None:
                    recorder.note(crossing.event_type, state, counters, scope, crossing.context, crossing.extra)
                self._note_device_times(state)
            self._close_leaked()
            recorder.beat()
            trouble = recorder.ring.trouble
            if trouble:
                log_once("ring file", _NOT_IN_ITS_FILE, trouble)
        except Exception as error:
            recorder.dropped += 1
            logger.debug("a sample failed: %s", type(error).__name__, exc_info=True)

    def _note_device_times(self, state: DeviceState) -> None:
        if state.measures is not None and state.measures.timer is not None:
            for portion in state.measures.timer.resolved(self._session_id):
                self._recorder.note("device_time", state, None, None, None, {"device_times": portion})

    def _innermost(self) -> phase | None:
        """The phase that samples speak of: the latest opened in the thread that started the session, else in any."""
        scopes = list(self._recorder.open)
        at_home = (scope for scope in reversed(scopes) if scope._thread.ident == self._home_thread)
        return next(at_home, scopes[-1] if scopes else None)

    def _close_leaked(self) -> None:
        """Close the oldest phases of a training that enters and never leaves, so that they can not fill the memory."""
        recorder = self._recorder
        scopes = list(recorder.open)
        for index, scope in enumerate(scopes):
            if index < len(scopes) - MAX_OPEN_PHASES:
                scope._close(recorder, f"one of more than {MAX_OPEN_PHASES} open phases")
                scope._parent = None  # all further out are closed too; a chain of them would stay in memory
            elif not scope._open:
                scope._close(recorder, "its end could not be written")
