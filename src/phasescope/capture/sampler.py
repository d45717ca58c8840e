"""The background thread: measures every device at a steady period and tells readers that the session is alive."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from phasescope import _native
from phasescope._forks import WorkingThread
from phasescope._log import log_once, logger
from phasescope.capture.clock import SystemClock
from phasescope.capture.other_threads import stacks_of_threads
from phasescope.capture.scope import close_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set

    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.census.census import Census
    from phasescope.capture.clock import Clock
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.collectors import Collectors, Regular
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.other_threads import Stacks
    from phasescope.capture.requests import Requests
    from phasescope.capture.scope import PhaseScope
    from phasescope.capture.sites import Sites
    from phasescope.capture.thresholds import Thresholds

    StacksOf = Callable[[Set[int]], dict[int, Stacks]]
    WhatIsOver = Callable[[StacksOf], Iterable[tuple[PhaseScope, str | None]]]

MAX_OPEN_PHASES = 10_000
_RELIES_NS = 10_000_000_000
"""For as long the core ticks, at most, before a tick of ours looks at everything again."""

_NOT_IN_ITS_FILE = (
    "the ring file %s; the session goes on in this process's memory, where others cannot look in, and comes back to "
    "its file when that can be written again"
)


if TYPE_CHECKING or not _native.has_phases:

    class _Slots:
        """The fields that a tick needs. Without the compiled core only `Sampler` ticks."""

        __slots__ = (
            "_collectors",
            "_details_due_ns",
            "_due_ns",
            "_has_request",
            "_home_thread",
            "_interval_ns",
            "_request_path",
            "_sampled_sequence",
            "_writer",
            "asks",
        )

        def _tick_in_core(self, _late_ns: int) -> bool:
            return False

        def _wait_in_core(self) -> bool:
            raise NotImplementedError

        def _wake(self) -> None:
            pass

        def _rely_on(self, *_: object) -> None:
            pass

else:
    _Slots = _native.core.SamplerSlots


class Sampler(_Slots):
    """One daemon thread. It schedules by the monotonic clock, so a wall clock that jumps moves nothing.

    A period that could not be kept is made up for by leaving periods out, never by a burst; how late a sample came
    is in its metadata (`sampling_late_ns`).

    The compiled core does the ticks in which nothing happens, see `_native/tick.c`; after each of its own this class
    says what the core may rely on.
    """

    _collectors: Collectors
    _details_due_ns: int
    _due_ns: int
    _has_request: bool
    _home_thread: int
    _interval_ns: int
    _request_path: bytes | None
    _sampled_sequence: int
    _writer: EventWriter
    asks: list[WhatIsOver]
    """The functions that are asked which phases are over, and by which class of exception each ended."""

    def __init__(
        self,
        writer: EventWriter,
        collectors: Collectors,
        clock: Clock,
        interval_ms: int,
        thresholds: Thresholds,
        session_id: str,
    ) -> None:
        self._writer = writer
        self._collectors = collectors
        self._clock = clock
        self._interval_ns = interval_ms * 1_000_000
        self._due_ns = 0
        self._sampled_sequence = 0
        self._thresholds = thresholds
        self._session_id = session_id
        self.census: Census | None = None
        self.requests: Requests | None = None
        self.sites: Sites | None = None
        self.asks = []
        self._request_path = None
        self._has_request = False
        self._regular: Regular | None = None
        self._looked_ns = 0
        self._home_thread = threading.get_ident()
        self._stop = threading.Event()
        self._thread = WorkingThread(self._run, "phasescope-sampler")
        self._waits_in_core = _native.has_phases and sys.platform == "linux" and type(clock) is SystemClock

    def answer(self, requests: Requests) -> None:
        """Look for requests too, from now on."""
        self.requests = requests
        self._request_path = os.fsencode(requests.path)

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
        self._wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def last_look(self) -> None:
        """Measure the host once more before the session ends, and write down what devices have finished by now.

        What phases keep after the last sample could not be judged without: a `stop` does not say how much is mapped.
        """
        is_news = self._writer.sequence != self._sampled_sequence
        if is_news and not self._thread.is_alive():  # else a driver holds the thread in the middle of its measuring
            for state, counters in self._collectors.sample_host():
                self._write(state, counters, 0)
        for collector in self._collectors.admitted:
            for state in list(collector.states.values()):
                self._note_device_times(state)
                self._collectors.report_endings(state)
        if self.requests is not None and not self._thread.is_alive():
            self.requests.end()

    def _run(self) -> None:
        while not self._wait():
            with self._thread.work:
                self._measure()

    def _wait(self) -> bool:
        """Wait until a tick is due that is not the core's; return whether the thread is to end."""
        return self._wait_in_core() if self._waits_in_core else self._clock.wait_until(self._stop, self._due_ns)

    def _measure(self) -> None:
        late = max(0, self._clock.monotonic_ns() - self._due_ns)
        self.tick(late)
        if self.sites is not None:
            self.sites.look(self._writer, self._collectors, self.census)
        if self.requests is not None:
            self.requests.look()
            self._has_request = self.requests.is_answering
        self._due_ns += (late // self._interval_ns + 1) * self._interval_ns

    def tick(self, late_ns: int) -> None:
        """Measure all devices once. Never raises: a failure is counted and said once."""
        writer = self._writer
        try:
            for ask in self.asks:
                for scope, error_type in ask(stacks_of_threads):
                    self._end(scope, error_type)
            if self._regular is not None:
                self._find_details(self._regular)
                if self._tick_in_core(late_ns):
                    return
                self._let_core_tick(None)
            for state, counters in self._collectors.sample():
                self._write(state, counters, late_ns)
                self._note_device_times(state)
                self._collectors.report_endings(state)
            self._sampled_sequence = writer.sequence
            self._close_leaked()
            if self.census is not None:
                self.census.look_again()
            writer.beat()
            trouble = writer.ring.trouble
            if trouble:
                log_once("ring file", _NOT_IN_ITS_FILE, trouble)
            self._let_core_tick(self._collectors.regular() if self.census is None else None)
        except Exception as error:
            writer.dropped += 1
            logger.debug("a sample failed: %s", type(error).__name__, exc_info=True)

    def _let_core_tick(self, regular: Regular | None) -> None:
        """Let the core tick where this holds that `Collectors.regular` has found; None: not before a tick of ours."""
        self._regular = regular
        if regular is None:
            self._rely_on()
            return
        self._looked_ns = self._clock.monotonic_ns()
        self._details_due_ns = regular.details_due_ns
        self._rely_on(regular.state, regular.admitted, regular.figures, *self._thresholds.quiet(regular.state))

    def _find_details(self, regular: Regular) -> None:
        """Find out, once a second, what the core cannot; the sample that comes next takes it along."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._details_due_ns and now_ns - self._looked_ns < _RELIES_NS:
            due_ns = self._collectors.find_details(regular)
            if due_ns is not None:
                self._details_due_ns = due_ns

    def _end(self, scope: PhaseScope, error_type: str | None) -> None:
        if scope in self._writer.open:
            self._writer.seen_to_be_over.add(scope)
            close_scope(scope, self._writer, None, "ok" if error_type is None else "error", error_type)

    def _write(self, state: DeviceState, counters: AllocatorCounters, late_ns: int) -> None:
        extra = {"sampling_late_ns": late_ns, **state.take_extra()}
        scope = self._writer.sample(state, counters, self._innermost, extra)
        crossing = self._thresholds.crossed(state, counters)
        if crossing is not None:
            self._writer.note(crossing.event_type, state, counters, scope, crossing.context, crossing.extra)

    def _note_device_times(self, state: DeviceState) -> None:
        if state.measures is not None and state.measures.timer is not None:
            for portion in state.measures.timer.resolved(self._session_id):
                self._writer.note("device_time", state, None, None, None, {"device_times": portion})

    def _innermost(self) -> PhaseScope | None:
        """Return the phase that samples name: the latest opened in the thread that started the session, else in any."""
        scopes = list(self._writer.open)
        at_home = (scope for scope in reversed(scopes) if scope.entering_thread.ident == self._home_thread)
        return next(at_home, scopes[-1] if scopes else None)

    def _close_leaked(self) -> None:
        """Close the oldest phases of a training that enters and never leaves, so that they cannot fill the memory."""
        writer = self._writer
        scopes = list(writer.open)
        for index, scope in enumerate(scopes):
            if index < len(scopes) - MAX_OPEN_PHASES:
                close_scope(scope, writer, f"one of more than {MAX_OPEN_PHASES} open phases")
                scope.parent_scope = None  # all further out are closed too; a chain of them would stay in memory
            elif not scope.is_open:
                close_scope(scope, writer, "its end could not be written")
