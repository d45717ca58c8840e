"""A session: wires backends, phases, sampler and ring, and takes them apart again."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from phasescope import _log, _native
from phasescope.capture import (
    backend_selection,
    categories,
    identity,
    os_exec,
    os_exit,
    phase_context,
    process_end,
)
from phasescope.capture.clock import SystemClock
from phasescope.capture.collector import Collector, DeviceState
from phasescope.capture.collectors import Collectors
from phasescope.capture.event_writer import EventWriter
from phasescope.capture.oom_snapshots import SnapshotFiles
from phasescope.capture.optional_parts import OptionalParts
from phasescope.capture.requests import Requests
from phasescope.capture.ring_handle import RingHandle
from phasescope.capture.sampler import Sampler
from phasescope.capture.scope import close_scope
from phasescope.capture.session_events import SessionEvents
from phasescope.capture.session_header import session_constants
from phasescope.capture.thresholds import Thresholds
from phasescope.wire.encoding import Raw, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.summary.summary import Summary
    from phasescope.capture.clock import Clock
    from phasescope.capture.options import Options
    from phasescope.capture.sampler import WhatIsOver
    from phasescope.readers.reader import Reader
    from phasescope.readers.subscription import Subscription
    from phasescope.wire.envelope import ProjectedTelemetryRecord

_SUBSCRIBERS_SECONDS = 1.0


class Session:
    """A running or finished session of this process, named by `pid` and `session_id`. Made by `start()`.

    It reads everything back from its own ring, as any other process would.
    """

    def __init__(
        self, options: Options, on_ending: Callable[[Session], None], on_over: Callable[[Session], None]
    ) -> None:
        self.options = options
        self.pid = os.getpid()
        self.identity = identity.identity(options)
        self.session_id = os.urandom(16).hex()
        self._clock: Clock = options.clock or SystemClock()
        self._ending = threading.RLock()
        self._events = SessionEvents()
        self._on_ending, self._on_over = on_ending, on_over
        self._subscriptions: list[Subscription] = []
        self._optional = OptionalParts(options)
        chosen, drivers = backend_selection.choose(options.backends)
        self._collectors = Collectors(
            chosen,
            drivers,
            options.devices,
            self._clock.monotonic_ns,
            self._events.note_collector,
            peaks=options.peaks,
            device_time=options.device_time,
            snapshots=SnapshotFiles(options.oom_snapshot, self.session_id) if options.oom_snapshot else None,
            sites=self._optional.sites,
        )
        names = [backend.name for backend in chosen]
        constants = session_constants(self.session_id, self.pid, self._clock.wall_ns(), self.identity, options, names)
        self._own_reader: Reader | None = None
        self._ring = RingHandle(constants, options.capacity_bytes, options.directory)
        try:
            self._writer = EventWriter(self._ring.writer, self._clock.monotonic_ns, self._clock.wall_ns)
            self._writer.report_exceptions = options.report_exceptions
            self._writer.collectors = self._events.collectors = self._collectors
            self._events.writer = self._writer
            thresholds = Thresholds(
                (options.critical_share, options.warning_share), (options.critical_bytes, options.warning_bytes)
            )
            self._sampler = Sampler(
                self._writer, self._collectors, self._clock, options.interval_ms, thresholds, self.session_id
            )
            self._optional.count_objects(self._writer)
            self._sampler.census, self._sampler.sites = self._optional.census, self._optional.sites
            if options.requests and self._ring.path is not None:
                self._sampler.answer(Requests(self._ring.path, self._writer, self._collectors))
            self._optional.open(self._ring, self._writer, constants, self.identity.local_rank or 0)
        except BaseException:
            self._optional.discard()
            self._ring.discard()
            raise

    def _begin(self) -> None:
        with contextlib.suppress(Exception):
            list(self._collectors.sample())  # so that the first event already knows its device
        self._events.note_start()
        self._sampler.start()
        self._optional.start()
        phase_context.set_event_writer(self._writer)
        os_exit.watch(self._events.note_os_exit)
        os_exec.watch(self._events.note_os_exec)
        if self._optional.census is not None:
            self._optional.census.begin()

    def stop(self) -> None:
        """End the session. Close the phases that are open as `abandoned`. A second call does nothing."""
        error = sys.exc_info()[0]  # of an `except` or a `finally` around this; it is not known which
        self._end(None if error is None else f"stopped after {error.__name__}")

    def _note_end(self, error: BaseException | None, is_end: bool = True) -> None:
        self._events.note_end(error, is_end)

    def _end_at_exit(self) -> None:
        error = process_end.last_error()
        if process_end.has_ended_script(error):
            self._events.note_end(error)
        self._end(process_end.exit_context(error))

    def _end_at_end_of_child(self) -> None:
        self._end(process_end.exit_context(None))

    def _end(self, context: str | None) -> None:
        """End all of a session. Called again, it takes up what an exception (Ctrl-C) broke off."""
        if os.getpid() != self.pid or self._ring.released:
            return
        with self._ending:
            self._on_ending(self)
            if self._optional.census is not None:
                self._optional.census.end()
            self._sampler.stop()
            self._close_phases()
            with self._writer.lock:  # a thread that was in the middle of a boundary comes before the end, or not at all
                self._close_phases()
                with contextlib.suppress(Exception):
                    self._sampler.last_look()
                self._events.note_stop(context)
                self._writer.close(self._ring.release)
            if self._optional.sites is not None:
                self._optional.sites.end()
            self._collectors.close()
            if self._writer.closed:  # else `stop` was called inside of a write, which goes on when this returns
                self._ring.release()
                self._join_subscriptions()
                self._optional.finish()
            os_exit.let_go()
            os_exec.let_go()
            self._on_over(self)

    def _leave_phases(self) -> None:
        phase_context.unset_event_writer(self._writer)

    def _close_phases(self) -> None:
        for scope in reversed(list(self._writer.open)):
            with contextlib.suppress(Exception):
                close_scope(scope, self._writer, "the session stopped while it was open")

    def _join_subscriptions(self) -> None:
        deadline = time.monotonic() + _SUBSCRIBERS_SECONDS
        for subscription in self._subscriptions:
            subscription.join(max(0.0, deadline - time.monotonic()))

    def _forget_in_child(self) -> None:
        """In a forked child, let go: the ring, and the lock that says its writer lives, are the parent's alone."""
        os_exit.let_go()
        os_exec.let_go()
        self._writer.abandon_in_child()
        if self._sampler.requests is not None:
            self._sampler.requests.abandon_in_child()
        self._optional.abandon_in_child()
        self._ring.abandon_in_child()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            self._events.note_end(exc, is_end=False)
        self._end(None if exc_type is None else f"left after {exc_type.__name__}")

    def __repr__(self) -> str:
        state = "stopped" if self._writer.closed else "running"
        return f"<phasescope.Session {self.session_id}, {state}, {self.path or 'in memory'}>"

    def _repr_html_(self) -> str | None:
        """Return the HTML for a notebook, as a reader does. None, and so the plain text, on failure."""
        try:
            with self.reader() as reader:
                return reader._repr_html_()
        except (OSError, ValueError):
            return None

    @property
    def path(self) -> str | None:
        """The ring file, or None if the ring is in memory."""
        return self._ring.path

    @property
    def core(self) -> str:
        """The core that measures its phases: `compiled`, or `python`, which does the same and takes longer."""
        return _native.name

    @property
    def written(self) -> int:
        """The number of events that were written."""
        return self._ring.writer.sequence

    @property
    def dropped(self) -> int:
        """The number of events that could not be written."""
        return self._writer.dropped

    @property
    def degraded(self) -> int:
        """How often a source of counters stopped answering."""
        return self._events.degraded

    @property
    def irregular(self) -> int:
        """How many phases were closed twice, or after the session that they belong to."""
        return self._writer.irregular

    @property
    def _reader(self) -> Reader:
        """The session's own reader, made when something is read for the first time."""
        if self._own_reader is None:
            self._own_reader = self.reader()
        return self._own_reader

    def reader(self) -> Reader:
        """Return a reader of this session, as `attach()` does, even if the ring file was removed."""
        return self._ring.open_reader(self._writer.beat)

    def events(self, last: int | None = None) -> list[dict[str, Any]]:
        """Return the events that the ring holds, or only the `last` ones, oldest first, as TelemetryEvent v3 dicts."""
        return self._reader.events(last)

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """Return the events that the ring holds, or only the `last` ones, as envelopes."""
        return self._reader.records(last)

    def latest(self) -> dict[str, Any] | None:
        """Return the newest event, or None if there is none."""
        return self._reader.latest()

    def summary(self) -> Summary:
        """Sum up the events that the ring still holds. `print()` shows the summary as a table."""
        return self._reader.summary()

    def explain(self) -> Explanation:
        """Explain the memory so far; `str()` of it is the text for a person."""
        return self._reader.explain()

    def allocated_bytes(self, device: str) -> int | None:
        """Return the bytes that live objects hold on a device (`cuda:0`) now, as its allocator counts them.

        None if that is not known, or the device is not measured; of the host (`cpu`) it never is.
        """
        if self._writer.closed or os.getpid() != self.pid:
            return None
        try:
            return categories.allocated_bytes(self._collectors, device)
        except Exception:  # the backend stopped answering: the sampler reports it
            return None

    def note_categories(
        self,
        found: Mapping[str, Mapping[str, int]],
        *,
        moment: str = "step",
        activations_are_exact: bool = False,
        looks: int = 1,
        looks_ns: int = 0,
        batch_size: int | None = None,
        batch_elements: int | None = None,
        modules: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None,
    ) -> None:
        """Note what live memory is made of, as integrations do.

        Args:
            found: the bytes of each category by device (`cuda:0`, `cpu`). The categories are `parameters`, `buffers`,
                `gradients`, `optimizer_state` and `inputs`, counted at this moment, and `activations`, what the
                forward of this step left behind. One that is not known is left out; `other`, the rest of what is
                allocated, is added. `parameters_float32`, `gradients_float32` and so on say how much of one is of that
                type, if that is known.
            moment: "step" at the end of a step, "forward" at the beginning of a forward, "failure" after memory ran
                out.
            activations_are_exact: whether they were counted themselves, rather than found as a difference.
            looks: the number of times that they were counted so far.
            looks_ns: the time that those took.
            batch_size: the number of samples that a forward of this step was given, None if that is not sure.
                `phasescope fit` is based on it.
            batch_elements: the elements of all its tensors together: with them it shows whether samples differ in
                size.
            modules: the bytes of each category by device and part of the model; only the event itself has them.
        """
        if self._writer.closed or os.getpid() != self.pid:
            return
        try:
            about: dict[str, int | str] = {"moment": moment, "activations_are_exact": activations_are_exact}
            batch = {"batch_size": batch_size, "batch_elements": batch_elements}
            about |= {"looks": looks, "looks_ns": looks_ns, **{k: v for k, v in batch.items() if v is not None}}
            categories.note(self._writer, self._collectors, found, about, modules or {})
        except Exception as error:
            self._writer.dropped += 1
            _log.log_once("categories", "categories could not be written: %s", type(error).__name__)

    def ask_what_is_over(self, ask: WhatIsOver) -> None:
        """Ask at each sample, in the sampler's thread, which phases are over, and end those, as integrations do.

        For phases around code that nobody can put a `with` around: where a loop was left is seen a little later. Each
        comes with the class name of the exception that ended it, or None. Leaving it once more is not irregular.
        `ask` is called with a function from the ids of other threads to their stacks.
        """
        self._sampler.asks.append(ask)

    def subscribe(self, callback: Callable[[ProjectedTelemetryRecord], object]) -> Subscription:
        """Call `callback` with each new envelope, in a thread of its own, until the subscription or session ends.

        A callback that is too slow misses envelopes, counted in `missed`. After one that raises, counted in `errors`,
        the next envelope follows. Raises TypeError if `callback` is not callable.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not a {type(callback).__name__}")
        from phasescope.readers.subscription import Subscription  # with the envelope, and so hashlib and OpenSSL

        subscription = Subscription(self._ring.open_reader(self._writer.beat), callback)
        self._subscriptions = [each for each in self._subscriptions if each.running] + [subscription]
        return subscription


if _native.has_phases:
    with contextlib.suppress(TypeError):  # this module was loaded before
        _native.core.know_classes(
            writer_class=EventWriter,
            device_class=DeviceState,
            collector_class=Collector,
            collectors_class=Collectors,
            system_clock=time.perf_counter_ns,
            system_wall_clock=time.time_ns,
            raw=Raw,
            encode=encode,
        )
