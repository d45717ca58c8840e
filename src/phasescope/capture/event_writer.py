"""The place where every event of a session gets its order and is written: one lock, one ring.

Everything here runs inside the training, most of it at every phase boundary, so calls are few and nothing is looked up
twice. A signal handler or the garbage collector may close a phase while this very thread is writing an event: `Turns`
has it wait until that one is written.

Ctrl-C may land between any two calls. `open` therefore changes right after the write, with no call in between: a phase
is in there from its enter's being written to its exit's, so whoever clears up knows what is left to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope.capture.collector import ALLOCATED_UNKNOWN
from phasescope.capture.exception_info import is_from_signal_handler
from phasescope.capture.turns import BUSY, CLOSED, FREE, Turns
from phasescope.wire import encoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.collectors import Collectors
    from phasescope.capture.phase_paths import Path
    from phasescope.capture.scope import PhaseScope
    from phasescope.wire.ring import RingWriter

_CLOCK_JUMP_NS = 10_000_000
"""By less than this the wall clock is not followed: a thread that had to wait would look like a jump."""


class EventWriter(Turns):
    """Writes events into the ring. Times are monotonic ns; `offset_ns` turns them into wall-clock time.

    Methods may raise only what a caller inside the package catches: callers facing the training guard every call.
    """

    __slots__ = (
        "_append",
        "_wall_ns",
        "irregular",
        "report_exceptions",
        "reported",
        "seen_to_be_over",
    )

    collectors: Collectors
    now: Callable[[], int]
    offset_ns: int
    open: dict[PhaseScope, None]
    ring: RingWriter
    watch: Callable[[PhaseScope], None] | None  # called at ends of phases, in their thread, once they are written
    watch_path: Path | None  # of phases of this path alone, when `watch_left` of them have ended; None: of all
    watch_left: int
    asked: Callable[[PhaseScope], None] | None  # called at the ends of all phases, after `watch`
    _sequence: int

    def __init__(self, ring_writer: RingWriter, now: Callable[[], int], wall_ns: Callable[[], int]) -> None:
        super().__init__()
        self.ring = ring_writer
        self.now = now
        self.offset_ns = wall_ns() - now()
        self.open = _native.core.OpenPhases() if _native.has_phases else {}
        self.irregular = 0
        self.report_exceptions: tuple[type[BaseException], ...] = ()
        self.reported: dict[tuple[int, int], tuple[int, int]] = {}
        self.seen_to_be_over: set[PhaseScope] = set()  # the sampler has ended them; their own exits are to come
        self._append = ring_writer.append
        self._sequence = 0
        self.watch = self.watch_path = self.asked = None
        self.watch_left = 0
        self._wall_ns = wall_ns

    @property
    def sequence(self) -> int:
        """The number of the latest event; 0 before the first."""
        return self._sequence

    def enter(
        self,
        scope: PhaseScope,
        now_ns: int,
        counters: AllocatorCounters,
        encode: Callable[[tuple[Any, ...]], bytes] = encoding.encode,
    ) -> None:
        """Write a phase's `phase_enter`."""
        measures = scope.device_state.measures
        mark = None if measures is None or self._state == CLOSED else measures.mark()
        with self.lock:
            if self._state:
                self._not_now(self.enter, (scope, now_ns, counters))
                if self._state == BUSY:
                    self.open[scope] = None
                return
            try:
                self._state = BUSY
                device = scope.device_state
                counts: dict[str, int] | None = None
                if len(counters) == 5:
                    counts = counters[4]
                    counters = counters[:4]
                allocated, reserved, active, inactive = counters
                last = device.last_allocated
                device.last_allocated = allocated
                self._sequence = scope.enter_sequence = sequence = self._sequence + 1
                parent = scope.parent_scope
                if measures is not None:
                    measures.enter(scope, allocated, not self.open, mark)
                fields = (
                    "phase_enter",
                    now_ns + self.offset_ns,
                    device.encoded,
                    allocated,
                    reserved,
                    active,
                    inactive,
                    allocated - last if last >= 0 else 0,
                    None,
                    counts,
                    sequence,
                    None,
                    parent.enter_sequence if parent is not None else None,
                    scope.entering_thread.encoded,
                    scope.phase_path.encoded,
                    scope.phase_attributes,
                )
                append = self._append
                try:
                    append(encode(fields))
                except Exception as error:
                    self._write_shortened(fields, scope, error)
                self.open[scope] = None
            finally:
                self._state = FREE
                if self._deferred:
                    self._write_deferred()

    def exit(
        self,
        scope: PhaseScope,
        now_ns: int,
        counters: AllocatorCounters,
        status: str,
        error_type: str | None,
        note: str | None,
        extra: dict[str, Any] | None,
        encode: Callable[[tuple[Any, ...]], bytes] = encoding.encode,
    ) -> None:
        """Write a phase's `phase_exit`, unless another thread was quicker to."""
        measures = scope.device_state.measures
        mark = None if measures is None or self._state == CLOSED else measures.mark()
        with self.lock:
            if self._state:
                self._not_now(self.exit, (scope, now_ns, counters, status, error_type, note, extra))
                return
            if scope not in self.open:
                return
            try:
                self._state = BUSY
                device = scope.device_state
                if len(counters) == 5:
                    extra = {**(extra or {}), **counters[4]}
                    counters = counters[:4]
                allocated, reserved, active, inactive = counters
                last = device.last_allocated
                device.last_allocated = allocated
                self._sequence = sequence = self._sequence + 1
                parent = scope.parent_scope
                unknown = (device.mask | scope.mask_on_entry) & ALLOCATED_UNKNOWN
                fields = (
                    "phase_exit",
                    now_ns + self.offset_ns,
                    device.encoded,
                    allocated,
                    reserved,
                    active,
                    inactive,
                    allocated - last if last >= 0 else 0,
                    note,
                    extra,
                    sequence,
                    scope.enter_sequence,
                    parent.enter_sequence if parent is not None else None,
                    scope.entering_thread.encoded,
                    scope.phase_path.encoded,
                    scope.phase_attributes,
                    now_ns - scope.entered_ns,
                    status,
                    error_type,
                    None if unknown else allocated - scope.allocated_on_entry,
                    None if measures is None else measures.exit(scope, allocated, mark),
                )
                append = self._append
                try:
                    append(encode(fields))
                except Exception as error:
                    self._write_shortened(fields, scope, error)
                del self.open[scope]
            finally:
                self._state = FREE
                if self._deferred:
                    self._write_deferred()

    def note(
        self,
        event_type: str,
        device: DeviceState,
        counters: AllocatorCounters | None,
        scope: PhaseScope | None = None,
        context: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Write any other event about a device; `counters` None if they were not measured for it."""
        with self.lock:
            if self._state:
                self._not_now(self.note, (event_type, device, counters, scope, context, extra))
                return
            try:
                self._state = BUSY
                self._write_note(event_type, device, counters, scope, context, extra)
            finally:
                self._state = FREE
                if self._deferred:
                    self._write_deferred()

    def sample(
        self,
        device: DeviceState,
        counters: AllocatorCounters,
        innermost: Callable[[], PhaseScope | None],
        extra: dict[str, Any],
    ) -> PhaseScope | None:
        """Write a `sample` of a device, and return the phase that it names, by `innermost`: none begins or
        ends between asking for it and writing."""
        with self.lock:
            if self._state:
                self._not_now(self.note, ("sample", device, counters, innermost(), None, extra))
                return None
            try:
                self._state = BUSY
                scope = innermost()
                self._write_note("sample", device, counters, scope, None, extra)
                return scope
            finally:
                self._state = FREE
                if self._deferred:
                    self._write_deferred()

    def _write_note(
        self,
        event_type: str,
        device: DeviceState,
        counters: AllocatorCounters | None,
        scope: PhaseScope | None,
        context: str | None,
        extra: dict[str, Any] | None,
    ) -> None:
        change, encoded = 0, device.encoded
        if counters is None:
            counters = (0, 0, None, None)
            encoded = device.encoded_with(device.mask | encoding.NO_ALLOCATOR)
        else:
            if device.last_allocated >= 0:
                change = counters[0] - device.last_allocated
            device.last_allocated = counters[0]
        if len(counters) == 5:
            extra = {**(extra or {}), **counters[4]}
            counters = counters[:4]
        time_ns = self.now() + self.offset_ns
        fields: tuple[Any, ...] = (event_type, time_ns, encoded, *counters, change, context, extra)
        if scope is not None and scope.enter_sequence:
            parent = scope.parent_scope
            fields += (scope.enter_sequence, None, parent.enter_sequence if parent is not None else None)
            fields += (scope.entering_thread.encoded, scope.phase_path.encoded, scope.phase_attributes)
        try:
            self._append(encoding.encode(fields))
        except Exception as error:
            self._write_shortened(fields, scope, error)

    def _write_shortened(self, fields: tuple[Any, ...], scope: PhaseScope | None, error: Exception) -> None:
        """Write an event that does not fit as it is without the user's data; if that fails too, count it as dropped."""
        if is_from_signal_handler(error):
            raise error
        try:
            path = () if scope is None else scope.phase_path.names
            self._append(encoding.encode(encoding.shortened(fields, path)))
        except Exception:
            self.dropped += 1

    def beat(self) -> None:
        """Tell readers that this session is alive, and follow the wall clock if it jumps."""
        with self.lock:
            if self._state != FREE:
                return
            try:
                self._state = BUSY
                before = self.now()
                wall_ns = self._wall_ns()
                after = self.now()
                offset_ns = wall_ns - before
                # Where this thread had to wait in between, the two clocks were not read at one moment.
                if after - before < _CLOCK_JUMP_NS < abs(offset_ns - self.offset_ns):
                    self.offset_ns = offset_ns
                self.ring.beat(wall_ns, self.dropped)
            finally:
                self._state = FREE
                if self._deferred:
                    self._write_deferred()

    def close(self, then: Callable[[], None]) -> None:
        """Write nothing any more, and call `then` once. Where this call interrupts a write of its own thread, both
        come about as soon as that is done."""
        with self.lock:
            if self._state == BUSY:
                self._deferred.append((self.close, (then,)))
            elif self._state == FREE:
                self._write_deferred()
                self.beat()
                self._state = CLOSED
                self.ring.stop()
                then()

    def abandon_in_child(self) -> None:
        """In a forked child, never write, whatever another thread of the parent was doing with the lock."""
        self.watch = self.asked = None
        super().abandon_in_child()
