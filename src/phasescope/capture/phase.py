"""phase(): what a training calls. With no session it does nothing; with one it writes two events.

The object that `phase()` gives is the open phase itself: on the hot path nothing else is made. One object may still be
entered again while it is open (recursion, or one phase shared by threads): each further entry is a twin of its own,
found again by its context.
"""

from __future__ import annotations

from phasescope import _native
from phasescope.capture import compiled, phase_context, thread_contexts
from phasescope.capture.attributes import clean_attributes, given_name
from phasescope.capture.phase_context import nearest_open
from phasescope.capture.phase_paths import ROOT, Path
from phasescope.capture.scope import EnteringThread, PhaseScope

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    from phasescope.capture import exception_info, irregular_exits  # noqa: TC004 - see load_irregular_exits()
    from phasescope.capture.attributes import Scalar
    from phasescope.capture.event_writer import EventWriter

    F = TypeVar("F", bound=Callable[..., Any])


_BEGAN, _ENDED = "interrupted while it began", "interrupted while it ended"


class phase(PhaseScope):
    """A named part of the training: `with phase("forward"): ...`, or `@phase("forward")` on a function.

    The decorator takes functions, coroutine functions, generator and asynchronous generator functions. Attributes
    are JSON scalars; anything else becomes a short description, made without touching its data. A phase never raises
    into the training, and never changes an exception that passes through it. The only exception of its own is a
    TypeError if the name is a function or a class: a bare `@phase` would replace the function. Copies and pickles of a
    phase keep its name and attributes, and are closed.
    """

    __slots__ = ()

    @compiled.seen_as(compiled.begin)
    def __init__(self, name: str, /, **attributes: object) -> None:
        self.phase_name = name if type(name) is str else given_name(name)
        self.phase_attributes = clean_attributes(attributes) if attributes else None
        self.is_open = False
        self.event_writer = None

    @compiled.seen_as(compiled.enter)
    def __enter__(self) -> phase:
        writer = phase_context.event_writer
        if writer is None:
            return self
        if self.event_writer is writer and phase_context.is_around(self):
            _enter_again(self, writer)  # or it would be its own parent
            return self
        if self.is_open and self.event_writer is writer:
            _enter_again(self, writer)
            return self
        # Taken before anything is called: until then no other thread that shares this object comes in between.
        self.is_open = True
        self.event_writer = writer
        try:
            parent = phase_context.get_current()
            if parent is None:
                path = ROOT
            else:
                if not (parent.is_open and parent.event_writer is writer):
                    parent = nearest_open(parent, writer)
                path = ROOT if parent is None else parent.phase_path
            name = self.phase_name
            self.phase_path = path.children[name] if name in path.children else path.child(name)
            self.parent_scope = parent
            self.enter_sequence = 0
            try:
                self.entering_thread = phase_context.threads.this
            except AttributeError:
                self.entering_thread = phase_context.threads.this = EnteringThread()
            collectors = writer.collectors
            device = collectors.only
            if device is None:
                device = collectors.device_state()
            self.device_state = device
            collector = device.collector
            read, now = collector.read, writer.now  # bound first: CPython calls a method so, but not an attribute
            try:
                counters = read(device.device_id)
            except Exception as error:
                counters = collector.read_failed(error)
            self.allocated_on_entry = counters[0]
            self.mask_on_entry = device.mask
            self.entered_ns = entered_ns = now()
            writer.enter(self, entered_ns, counters)
            phase_context.set_current(self)
        except Exception as error:  # not asked by isinstance(): there may be no stack left for a call
            try:
                theirs = irregular_exits.break_off(self, writer, error, _BEGAN)
            except Exception:
                theirs = self.is_open = False  # the sampler clears up
            if theirs:
                raise
        except BaseException as error:
            try:
                irregular_exits.break_off(self, writer, error, _BEGAN)
            except Exception:
                self.is_open = False
            raise
        return self

    @compiled.seen_as(compiled.leave)
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        writer = self.event_writer
        if writer is None:
            return
        scope: PhaseScope = self
        note, goes_on_outside = None, True
        try:
            if not self.is_open or writer is not phase_context.event_writer or phase_context.get_current() is not self:
                closing = irregular_exits.resolve_exit(self, writer, exc_type)
                if closing is None:
                    return
                scope, note, goes_on_outside = closing
            now = writer.now
            now_ns = now()
            if goes_on_outside:
                parent = scope.parent_scope
                if parent is not None and not parent.is_open:
                    parent = nearest_open(parent, writer)
                phase_context.set_current(parent)
            device = scope.device_state
            collector = device.collector
            read = collector.read
            try:
                counters = read(device.device_id)
            except Exception as error:
                counters = collector.read_failed(error)
            if exc_type is None:
                writer.exit(scope, now_ns, counters, "ok", None, note, None)
            else:
                irregular_exits.end_with_exception(scope, writer, now_ns, counters, exc_type, exc, note)
            scope.is_open = False  # last: from now on another thread may take this object
        except Exception as error:  # as in __enter__()
            try:
                theirs = irregular_exits.break_off(scope, writer, error, _ENDED)
            except Exception:
                theirs = scope.is_open = False
            if theirs:
                raise
            return
        except BaseException as error:
            try:
                irregular_exits.break_off(scope, writer, error, _ENDED)
            except Exception:
                scope.is_open = False
            raise
        if writer.watch is not None and exc_type is None:
            _tell_watch(scope, writer)
        asked = writer.asked
        if asked is not None and exc_type is None:
            asked(scope)

    def __call__(self, function: F) -> F:
        from phasescope.capture.decorate import decorate

        name, attributes = self.phase_name, self.phase_attributes
        return decorate(function, lambda: PreparedPhase(name, attributes))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a closed one. A module may keep a phase, and is copied and saved whatever is open."""
        from copyreg import __newobj__  # type: ignore[attr-defined]  # whoever copies or pickles has loaded it

        kind = phase if type(self) in _OWN else type(self)
        made_with = {"phase_name": self.phase_name, "phase_attributes": self.phase_attributes}
        state = {**made_with, "is_open": False, "event_writer": None}
        return __newobj__, (kind,), (getattr(self, "__dict__", None), state)


class PreparedPhase(phase):
    """A phase that this package makes itself, of attributes that are clean already.

    `reentry_of` is the phase that it is a further entry of, if it is one.
    """

    __slots__ = ("reentry_of",)

    def __init__(self, name: str, attributes: dict[str, Scalar] | None, reentry_of: PhaseScope | None = None) -> None:
        super().__init__(name)
        self.phase_attributes = attributes
        self.reentry_of = reentry_of


def load_irregular_exits() -> None:
    """Load what phases need under a session alone. Once one runs, it is too late: memory may be running out by then."""
    global exception_info, irregular_exits
    from phasescope.capture import exception_info, irregular_exits


def _break_off(scope: PhaseScope, writer: EventWriter, error: BaseException, note: str) -> bool:
    return irregular_exits.break_off(scope, writer, error, note)


def _tell_watch(scope: PhaseScope, writer: EventWriter) -> None:
    """Tell whoever watches the ends of phases, if this is one that it waits for."""
    watch, path = writer.watch, writer.watch_path
    if path is not None:
        if path is not scope.phase_path:
            return
        writer.watch_left -= 1
        if writer.watch_left > 0:
            return
    if watch is not None:
        watch(scope)


def _enter_again(scope: phase, writer: EventWriter) -> None:
    """Enter a phase that is open already: as a twin, found again by its context."""
    if phase_context.is_collecting():
        phase_context.entered_again_while_collecting.append(scope)
        return
    try:
        twin = PreparedPhase(scope.phase_name, scope.phase_attributes, scope)
    except Exception as error:
        writer.dropped += 1
        if exception_info.is_from_signal_handler(error):
            raise
    else:
        twin.__enter__()


def _compiled() -> type[phase]:
    """Let calls of `phase` and `PreparedPhase` give phases of a type derived from `phase`, whose boundaries are the
    compiled core's; torch's compiler still sees the Python class. Return the type, or `phase` if that cannot be."""
    if not _native.has_phases:
        return phase
    try:
        made: type[phase] = _native.core.compile_phase(
            phase=phase,
            prepared=PreparedPhase,
            path_class=Path,
            thread_class=EnteringThread,
            variable=phase_context.variable,
            root=ROOT,
            enter_again=_enter_again,
            break_off=_break_off,
            this_thread=phase_context.calling_thread,
            inherits=thread_contexts.IS_ON,
        )
    except TypeError:  # this module was loaded before
        return phase
    return made


_OWN = (PreparedPhase, _compiled())
