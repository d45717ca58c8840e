"""phase(): what a training calls. With no session it does nothing; with one it writes two events.

Nesting follows `contextvars`, so every thread and every asyncio task has its own. The object that `phase()` gives is
the open phase itself: on the hot path nothing else is made. One object may still be entered again while it is open
(recursion, or one phase shared by threads): each further entry is a twin of its own, found again by its context.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from copyreg import __newobj__  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat
from phasescope.capture import compiled, gc_guard, thread_contexts
from phasescope.capture.attributes import clean_attributes, clean_name, given_name
from phasescope.capture.error_events import OUTSIDE, is_to_report, note_error
from phasescope.capture.exception_info import (
    class_name,
    is_control_flow,
    is_from_signal_handler,
    shortage_in,
    told_at_exit,
)
from phasescope.capture.phase_paths import ROOT
from phasescope.wire.codec import Raw, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeVar

    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.attributes import Scalar
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.event_writer import Recorder
    from phasescope.capture.phase_paths import Path

    F = TypeVar("F", bound=Callable[..., Any])

_MAX_NAMED = 8

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
        self.encoded = Raw(encode((self.ident, _thread_name(self.ident))))


class phase:
    """A named part of the training: `with phase("forward"): ...`, or `@phase("forward")` on a function.

    The decorator takes functions, coroutine functions, generator and asynchronous generator functions. Attributes
    are JSON scalars; anything else becomes a short description made without touching its data. It never raises into
    the training, and never changes an exception that passes through it. Only a function or a class for a name raises,
    a TypeError: a bare `@phase` would take the function's place. It copies and pickles as its name and attributes,
    closed.
    """

    __slots__ = (
        "_allocated",
        "_attributes",
        "_device",
        "_entered_ns",
        "_mask",
        "_measured",
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
    _measured: tuple[int | None, Any]
    _parent: phase | None
    _path: Path
    _sequence: int
    _thread: _Thread

    # A slot of `PreparedPhase`, and None here, so that the hot path need not set it.
    _origin: phase | None = None

    @compiled.seen_as(compiled.begin)
    def __init__(self, name: str, /, **attributes: object) -> None:
        self._name = name if type(name) is str else given_name(name)
        self._attributes = clean_attributes(attributes) if attributes else None
        self._open = False
        self._recorder: Recorder | None = None

    @compiled.seen_as(compiled.enter)
    def __enter__(self) -> phase:
        recorder = _recorder
        if recorder is None:
            return self
        if self._open and self._recorder is recorder:
            _enter_again(self, recorder)
            return self
        # Taken before anything is called: until then no other thread that shares this object comes in between.
        self._open = True
        self._recorder = recorder
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
            self._entered_ns = entered_ns = now()
            recorder.enter(self, entered_ns, counters)
            _set_current(self)
        except BaseException as error:
            theirs = not isinstance(error, Exception)
            try:
                theirs = _broken_off(self, recorder, error, "interrupted while it began")
            except Exception:  # there may be no stack left for the call; the sampler clears up
                self._open = False
            if theirs:
                raise
        return self

    @compiled.seen_as(compiled.leave)
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
            if exc_type is None:
                recorder.exit(scope, now_ns, counters, "ok", None, note, None)
            else:
                _end_with_exception(scope, recorder, now_ns, counters, exc_type, exc, note)
            scope._open = False  # last: from now on another thread may take this object
        except BaseException as error:
            theirs = not isinstance(error, Exception)
            try:
                theirs = _broken_off(scope, recorder, error, "interrupted while it ended")
            except Exception:  # there may be no stack left for the call; the sampler clears up
                scope._open = False
            if theirs:
                raise

    def __call__(self, function: F) -> F:
        from phasescope.capture.decorate import decorate

        return decorate(function, self._name, self._attributes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a closed one. A module may keep a phase, and is copied and saved whatever is open."""
        kind = phase if type(self) is PreparedPhase else type(self)
        state = {"_name": self._name, "_attributes": self._attributes, "_open": False, "_recorder": None}
        return __newobj__, (kind,), (getattr(self, "__dict__", None), state)

    def _close(self, recorder: Recorder, note: str, status: str = "abandoned", error_type: str | None = None) -> None:
        """Write the exit of a phase whose own `__exit__` will not. Nothing to do where it is written already."""
        now = recorder.now()
        device = self._device
        try:
            counters = device.source.read(device.device_id)
        except Exception as error:
            counters = device.source.read_failed(error)
        self._open = False
        recorder.exit(self, now, counters, status, error_type, note, None)


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


def _thread_name(ident: int) -> str:
    """The name of the calling thread. `threading.current_thread` would register one that it does not know for good."""
    try:
        return next(clean_name(thread.name) for thread in threading.enumerate() if thread.ident == ident)
    except Exception:  # no such thread (one of a framework's own), or a `name` that is the training's code
        return f"thread {ident}"


def _nearest_open(scope: phase | None, recorder: Recorder) -> phase | None:
    """The innermost phase, from `scope` outwards, that is still open in this session.

    Those passed over are bent to point there: a chain of tasks that each outlive their parent must not grow forever.
    """
    if scope is _COLLECTING:
        raise _Collecting
    passed = []
    while scope is not None and not (scope._open and scope._recorder is recorder):
        passed.append(scope)
        scope = scope._parent
    for closed in passed:
        if closed not in recorder.open:  # else its exit, which names its parent, is being written right now
            closed._parent = scope
    return scope


def _enter_again(scope: phase, recorder: Recorder) -> None:
    """Enter a phase that is open already: as a twin, found again by its context."""
    if _is_collecting():
        _ignored.append(scope)
        return
    try:
        twin = PreparedPhase(scope._name, scope._attributes, scope)
    except Exception as error:
        recorder.dropped += 1
        if is_from_signal_handler(error):
            raise
    else:
        twin.__enter__()


def _broken_off(scope: phase, recorder: Recorder, error: BaseException, note: str) -> bool:
    """Clear up after an exception in the middle of a boundary, so that nothing stays open, and nothing nests inside.

    Whether the exception is the training's own (Ctrl-C, or raised by one of its signal handlers) and goes on.
    """
    scope._open = False
    if isinstance(error, _Collecting):
        scope._recorder = None
        return False
    theirs = not isinstance(error, Exception) or is_from_signal_handler(error)
    if _get_current() is scope:
        _set_current(_nearest_open(scope._parent, recorder))
    if scope in recorder.open:
        scope._close(recorder, note if theirs else "the profiler failed", "error", class_name(type(error)))
    elif not theirs:
        recorder.dropped += 1
    return theirs


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
        if _get_current() is scope:  # or the context would keep the session's ring
            _set_current(None if _recorder is None else _nearest_open(scope._parent, _recorder))
        return None
    is_collecting = _is_collecting()
    if is_collecting and scope in _ignored:
        _ignored.remove(scope)
        return None
    inner = []
    found = _current.get() if is_collecting else _get_current()
    while found is not None:
        if found._open and found._recorder is recorder:
            if found is scope or found._origin is scope:
                break
            inner.append(found._path.names[-1])
        found = found._parent
    if found is not None:
        note = f"closed before the phases inside it: {', '.join(inner[:_MAX_NAMED])}" if inner else None
        # The garbage collector closes a generator wherever it happens to run: what is open there stays so.
        return found, note, not (is_collecting or (inner and exc_type is GeneratorExit))
    if not scope._open:
        recorder.irregular += 1
        return None
    return scope, _closed_from(scope), False


def _closed_from(scope: phase) -> str:
    """What is to be said of a phase that is not among those of the calling context."""
    ident = threading.get_ident()
    if ident != scope._thread.ident:
        return f"closed from thread {_thread_name(ident)!r}"
    parent = scope._parent
    late = parent is not None and not parent._open
    return "closed after the phase around it" if late else "closed from another context"


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
    if is_control_flow(exc_type):
        extra = {"exhausted": True} if exc_type is Exhausted else None
        recorder.exit(scope, now_ns, counters, "ok", None, note, extra)
        return
    shortage, parent = shortage_in(exc_type, exc), scope._parent
    outer = OUTSIDE if parent is None or not parent._open else parent._sequence
    extra = told_at_exit(exc_type, exc, shortage, outer == OUTSIDE)
    recorder.exit(scope, now_ns, counters, "error", class_name(exc_type), note, extra)
    if is_to_report(recorder, exc_type, exc, shortage, scope._sequence, outer):
        note_error(recorder, scope._device, counters, scope, exc_type, exc, shortage)


class _Collecting(Exception):
    """A phase was to begin in the middle of a garbage collection, where no context variable may be set."""


_COLLECTING = phase("garbage collection")
_collecting_thread = 0
_ignored: list[phase] = []
"""What the collecting thread entered although it was open already: its next exit is not that phase's."""


def _is_collecting() -> bool:
    return _collecting_thread != 0 and threading.get_ident() == _collecting_thread


def _get_while_collecting() -> phase | None:
    return _COLLECTING if _is_collecting() else _current.get()


def _set_while_collecting(scope: phase | None) -> object:
    return None if _is_collecting() else _current.set(scope)


def _begin_collection() -> None:
    """No phase begins in this thread, and what ends there leaves its context as it is (see `collecting`)."""
    global _collecting_thread, _get_current, _set_current
    _collecting_thread = threading.get_ident()
    _get_current, _set_current = _get_while_collecting, _set_while_collecting  # type: ignore[assignment]


def _end_collection() -> None:
    global _collecting_thread, _get_current, _set_current
    _collecting_thread = 0
    _get_current, _set_current = _current.get, _current.set
    _ignored.clear()


_collections = gc_guard.Collections(_begin_collection, _end_collection)


def _get_own() -> phase | None:
    """Where threads inherit their context: without the phase that was open where this thread was started."""
    scope = _current.get()
    if scope is None or scope._thread is getattr(_threads, "this", None) or not thread_contexts.is_in_first_context():
        return scope
    return None


if thread_contexts.IS_ON:
    _get_current = _get_own  # type: ignore[assignment]


def set_recorder(recorder: Recorder | None) -> None:
    """From now on phases are written by this recorder; None: they do nothing."""
    global _recorder
    if gc_guard.IS_NEEDED:
        if _collecting_thread:  # stopped in the middle of one, or forked there
            _end_collection()
        _collections.unwatch() if recorder is None else _collections.watch()
    _recorder = recorder


def unset_recorder(recorder: Recorder) -> None:
    """Phases do nothing any more, if this is the recorder that writes them."""
    if _recorder is recorder:
        set_recorder(None)


def _forget_in_child() -> None:
    """A forked child has no session, and its one thread may go by another name."""
    global _threads
    set_recorder(None)
    _threads = threading.local()


_os_compat.after_fork_in_child(_forget_in_child)
