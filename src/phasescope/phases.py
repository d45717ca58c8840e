"""phase(): what a training calls. With no session it does nothing; with one it writes two events.

Nesting follows `contextvars`, so every thread and every asyncio task has its own. The object that `phase()` gives is
the open phase itself: on the hot path nothing else is made. One object may still be entered again while it is open
(recursion, or one phase shared by threads): each further entry is a twin of its own, found again by its context.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from phasescope import system
from phasescope.attributes import clean_attributes, clean_name
from phasescope.codec import Raw, encode
from phasescope.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from phasescope.attributes import Scalar
    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.paths import Path
    from phasescope.recorder import Recorder
    from phasescope.sources import DeviceState
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

_GONE = object()

_recorder: Recorder | None = None
_current: ContextVar[phase | None] = ContextVar("phasescope_phase", default=None)
_get_current = _current.get
_set_current = _current.set
_threads = threading.local()


class _Thread:
    """The thread that entered a phase, already encoded for the ring; made once per thread."""

    __slots__ = ("encoded", "ident")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.encoded = Raw(encode((self.ident, clean_name(threading.current_thread().name))))


class phase:
    """A named part of the training: `with phase("forward"): ...`, or `@phase("forward")` on a function.

    The decorator takes functions, coroutine functions, generator and asynchronous generator functions. Attributes
    are JSON scalars; anything else becomes a short description made without touching its data. It never raises into
    the training, and never changes an exception that passes through it.
    """

    __slots__ = (
        "_allocated",
        "_attributes",
        "_device",
        "_entered_ns",
        "_mask",
        "_name",
        "_open",
        "_parent",
        "_path",
        "_recorder",
        "_sequence",
        "_thread",
    )

    # Set when the phase is entered under a session.
    _allocated: int
    _device: DeviceState
    _entered_ns: int
    _mask: int
    _parent: phase | None
    _path: Path
    _sequence: int
    _thread: _Thread

    # A slot of `PreparedPhase`, and None here, so that the hot path need not set it.
    _origin: phase | None = None

    def __init__(self, name: str, /, **attributes: object) -> None:
        self._name = name if type(name) is str else clean_name(name)
        self._attributes = clean_attributes(attributes) if attributes else None
        self._open = False
        self._recorder: Recorder | None = None

    def __enter__(self) -> phase:
        recorder = _recorder
        if recorder is None:
            return self
        if self._open:
            PreparedPhase(self._name, self._attributes, self).__enter__()
            return self
        try:
            parent = _get_current()
            if parent is None:
                path = ROOT
            else:
                if not (parent._open and parent._recorder is recorder):
                    parent = _nearest_open(parent, recorder)
                path = ROOT if parent is None else parent._path
            name = self._name
            self._path = path.children[name] if name in path.children else path.child(name)
            self._parent = parent
            self._recorder = recorder
            self._sequence = 0
            try:
                self._thread = _threads.this
            except AttributeError:
                self._thread = _threads.this = _Thread()
            sources = recorder.sources
            device = sources.only
            if device is None:
                device = sources.device_state()
            self._device = device
            source = device.source
            read, now = source.read, recorder.now  # bound first: CPython calls a method so, but not an attribute
            try:
                counters = read(device.device_id)
            except Exception as error:
                counters = source.read_failed(error)
            self._allocated = counters[0]
            self._mask = device.mask
            # Open before it is written: Ctrl-C may come in between, and then `stop` still finds it.
            self._open = True
            recorder.open[self] = None
            self._entered_ns = entered_ns = now()
            recorder.enter(self, entered_ns, counters)
            _set_current(self)
        except Exception:
            recorder.dropped += 1
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        scope, note, here = self, None, True
        try:
            if not self._open or recorder is not _recorder or _get_current() is not self:
                closing = _irregular(self, recorder, exc_type)
                if closing is None:
                    return
                scope, note, here = closing
            now = recorder.now
            now_ns = now()
            scope._open = False
            if here:
                parent = scope._parent
                if parent is not None and not parent._open:
                    parent = _nearest_open(parent, recorder)
                _set_current(parent)
            device = scope._device
            source = device.source
            read = source.read
            try:
                counters = read(device.device_id)
            except Exception as error:
                counters = source.read_failed(error)
            if recorder.open.pop(scope, _GONE) is _GONE:
                return  # `stop`, in another thread, was quicker
            if exc_type is None:
                recorder.exit(scope, now_ns, counters, "ok", None, note, None)
            else:
                _end_with_exception(scope, recorder, now_ns, counters, exc_type, exc, note)
        except Exception:
            recorder.dropped += 1

    def __call__(self, function: F) -> F:
        from phasescope.decorate import decorate

        return decorate(function, self._name, self._attributes)

    def _abandon(self, recorder: Recorder, note: str) -> None:
        """Close it on behalf of a session that ends, or of a training that never will."""
        now = recorder.now()
        if recorder.open.pop(self, _GONE) is _GONE:
            return
        self._open = False
        device = self._device
        try:
            counters = device.source.read(device.device_id)
        except Exception as error:
            counters = device.source.read_failed(error)
        recorder.exit(self, now, counters, "abandoned", None, note, None)


class Exhausted(StopIteration):
    """Tells the exit of a fetch that it found no further item. Never raised."""


class PreparedPhase(phase):
    """A phase that this package makes itself, of attributes that are clean already.

    `origin` is the phase that it is a further entry of, if it is one.
    """

    __slots__ = ("_origin",)

    def __init__(self, name: str, attributes: dict[str, Scalar] | None, origin: phase | None = None) -> None:
        super().__init__(name)
        self._attributes = attributes
        self._origin = origin


def _nearest_open(scope: phase | None, recorder: Recorder) -> phase | None:
    """The innermost phase, from `scope` outwards, that is still open in this session."""
    while scope is not None and not (scope._open and scope._recorder is recorder):
        scope = scope._parent
    return scope


def _irregular(
    scope: phase, recorder: Recorder, exc_type: type[BaseException] | None
) -> tuple[phase, str | None, bool] | None:
    """What a `with` closes that is not the innermost phase of its context, and what the event says of it.

    The phase, a note, and whether the calling context is the one that goes on in the enclosing phase. None where
    there is nothing to close, or nothing left to write into.
    """
    if recorder is not _recorder:  # the session is over, or this is a forked child
        scope._open = False
        recorder.irregular += 1
        return None
    inner = []
    found = _get_current()
    while found is not None and not (found._open and (found is scope or found._origin is scope)):
        inner.append(found._name)
        found = found._parent
    if found is not None:
        note = f"closed before the phases inside it: {', '.join(inner[:8])}" if inner else None
        # The garbage collector closes a generator wherever it happens to run: what is open there stays so.
        return found, note, not (inner and exc_type is GeneratorExit)
    if not scope._open:
        recorder.irregular += 1
        return None
    elsewhere = threading.get_ident() != scope._thread.ident
    closer = f"thread {threading.current_thread().name!r}" if elsewhere else "another context"
    return scope, f"closed from {closer}", False


def _end_with_exception(
    scope: phase,
    recorder: Recorder,
    now_ns: int,
    counters: AllocatorCounters,
    exc_type: type[BaseException],
    exc: BaseException | None,
    note: str | None,
) -> None:
    """Write the exit of a phase that an exception passes through, and an `error` where the exception calls for one."""
    from phasescope.failures import is_out_of_memory, is_control_flow, one_line

    if is_control_flow(exc_type):
        extra = {"exhausted": True} if exc_type is Exhausted else None
        recorder.exit(scope, now_ns, counters, "ok", None, note, extra)
        return
    recorder.exit(scope, now_ns, counters, "error", exc_type.__name__, note, None)
    key = (id(exc), scope._sequence)
    out_of_memory = is_out_of_memory(exc_type, exc)
    if out_of_memory or issubclass(exc_type, recorder.report_exceptions):
        # Reported where it was raised; on its way out through the enclosing phases it is the same one.
        if recorder.reported != key:
            what = {"error_type": exc_type.__name__, "out_of_memory": out_of_memory}
            recorder.note("error", scope._device, counters, scope, one_line(exc_type, exc), what)
        parent = scope._parent
        recorder.reported = (id(exc), None if parent is None else parent._sequence)


def set_recorder(recorder: Recorder | None) -> None:
    """From now on phases are written by this recorder; None: they do nothing."""
    global _recorder
    _recorder = recorder


def _forget_in_child() -> None:
    """A forked child has no session, and its one thread may go by another name."""
    global _threads
    set_recorder(None)
    _threads = threading.local()


system.after_fork_in_child(_forget_in_child)
