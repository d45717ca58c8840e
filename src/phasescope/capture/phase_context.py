"""The writer of phases, and the phase that is open where the calling code runs.

Nesting follows `contextvars`, so every thread and every asyncio task has its own. `get_current` and `set_current` are
the context variable's own methods, but for two cases in which others take their place: while the garbage collector
runs (`gc_guard`), and threads that inherit the context of whoever started them (`thread_contexts`).
"""

from __future__ import annotations

import gc
import threading
from contextvars import ContextVar

from phasescope import _fork_hooks, _native
from phasescope.capture import gc_guard, thread_contexts
from phasescope.capture.scope import EnteringThread, PhaseScope

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from phasescope.capture.event_writer import EventWriter

event_writer: EventWriter | None = None
"""Writes the events of phases; None: they do nothing."""

threads = threading.local()
"""`threads.this`: the calling thread's `EnteringThread`, once it has entered a phase."""

variable: ContextVar[PhaseScope | None] = ContextVar("phasescope_phase", default=None)
get_current = variable.get
set_current = variable.set

_collecting_thread = 0
_COLLECTING = PhaseScope()
_COLLECTING.is_open = False
_COLLECTING.event_writer = None

entered_again_while_collecting: list[PhaseScope] = []
"""A phase that the collecting thread entered although it was open already: its next exit is not that phase's."""


class CollectingError(Exception):
    """A phase was to begin in the middle of a garbage collection, during which no context variable may be set."""


def nearest_open(scope: PhaseScope | None, writer: EventWriter) -> PhaseScope | None:
    """Return the innermost phase, from `scope` outwards, that is still open in this session.

    Those passed over are bent to point there: a chain of tasks that each outlive their parent must not grow forever.
    """
    if scope is _COLLECTING:
        raise CollectingError
    passed = []
    while scope is not None and not (scope.is_open and scope.event_writer is writer):
        passed.append(scope)
        scope = scope.parent_scope
    for closed in passed:
        if closed not in writer.open:  # else its exit, which names its parent, is being written right now
            closed.parent_scope = scope
    return scope


def is_around(scope: PhaseScope) -> bool:
    """Return whether the calling context still leads to a phase, open or not: one that was closed elsewhere is there
    as long as nothing else was entered or left."""
    around = get_current()
    while around is not None and around is not scope and around is not _COLLECTING:
        around = around.parent_scope
    return around is scope


def calling_thread() -> EnteringThread:
    """Return the calling thread as its phases name it."""
    try:
        entering: EnteringThread = threads.this
    except AttributeError:
        entering = threads.this = EnteringThread()
    return entering


def is_collecting() -> bool:
    """Return whether the calling thread is in the middle of a garbage collection."""
    return _collecting_thread != 0 and threading.get_ident() == _collecting_thread


def get_interrupted() -> PhaseScope | None:
    """Return the phase that a garbage collection has interrupted: it is still the context's."""
    return variable.get()


def _get_while_collecting() -> PhaseScope | None:
    return _COLLECTING if is_collecting() else variable.get()


def _set_while_collecting(scope: PhaseScope | None) -> object:
    return None if is_collecting() else variable.set(scope)


def _interpret(flag: bool) -> None:
    """Let each phase be entered and left in Python, whose functions look here first; or in the compiled core again."""
    if _native.has_phases:
        _native.core.interpret(flag)


def _begin_collection() -> None:
    """Let no phase begin in this thread; a phase that ends there leaves its context as it is (see `gc_guard`)."""
    global _collecting_thread, get_current, set_current
    _collecting_thread = threading.get_ident()
    _interpret(True)
    get_current, set_current = _get_while_collecting, _set_while_collecting  # type: ignore[assignment]


def _end_collection() -> None:
    global _collecting_thread, get_current, set_current
    _collecting_thread = 0
    _interpret(False)
    get_current, set_current = variable.get, variable.set
    entered_again_while_collecting.clear()


_compiled_callbacks = None
if gc_guard.IS_NEEDED and _native.has_phases:
    _compiled_callbacks = _native.core.collection_callbacks(
        globals(),
        {"get_current": _get_while_collecting, "set_current": _set_while_collecting},
        {"get_current": variable.get, "set_current": variable.set},
        entered_again_while_collecting,
        gc.callbacks,
    )
_collections = gc_guard.Collections(_begin_collection, _end_collection, _compiled_callbacks)


def _get_own() -> PhaseScope | None:
    """Return the current phase, but not the one that was open where this thread was started."""
    scope = variable.get()
    if (
        scope is None
        or scope.entering_thread is getattr(threads, "this", None)
        or not thread_contexts.is_in_first_context()
    ):
        return scope
    return None


if thread_contexts.IS_ON:
    get_current = _get_own  # type: ignore[assignment]


def set_event_writer(writer: EventWriter | None) -> None:
    """Let phases be written by this writer from now on; None: they do nothing."""
    global event_writer
    if gc_guard.IS_NEEDED:
        if _collecting_thread:  # stopped in the middle of one, or forked there
            _end_collection()
        _collections.unwatch() if writer is None else _collections.watch()
    event_writer = writer
    if _native.has_phases:
        _native.core.set_event_writer(writer)


def unset_event_writer(writer: EventWriter) -> None:
    """Let phases do nothing any more, if this is the writer that writes them."""
    if event_writer is writer:
        set_event_writer(None)


def _forget_in_child() -> None:
    """In a forked child, forget the session: it has none, and its one thread may go by another name."""
    global threads
    set_event_writer(None)
    threads = threading.local()
    if _native.has_phases:
        _native.core.forget_threads()


_fork_hooks.after_fork_in_child(_forget_in_child)
