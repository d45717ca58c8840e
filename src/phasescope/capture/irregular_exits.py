"""Exits of phases that are not plain: broken off, out of order, in another context, or by an exception."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from phasescope.capture import phase_context
from phasescope.capture.error_events import OUTSIDE, is_to_report, note_error
from phasescope.capture.exception_info import (
    class_name,
    is_control_flow,
    is_from_signal_handler,
    shortage_in,
    told_at_exit,
)
from phasescope.capture.scope import Exhausted, close_scope, thread_name

if TYPE_CHECKING:
    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.scope import PhaseScope

_MAX_NAMED = 8


def break_off(scope: PhaseScope, writer: EventWriter, error: BaseException, note: str) -> bool:
    """Clear up after an exception in the middle of a boundary, so that nothing stays open, and nothing nests inside.

    Return whether the exception is the training's own (Ctrl-C, or raised by one of its signal handlers) and goes on.
    """
    scope.is_open = False
    if isinstance(error, phase_context.CollectingError):
        scope.event_writer = None
        return False
    theirs = not isinstance(error, Exception) or is_from_signal_handler(error)
    if phase_context.get_current() is scope:
        phase_context.set_current(phase_context.nearest_open(scope.parent_scope, writer))
    if scope in writer.open:
        close_scope(scope, writer, note if theirs else "the profiler failed", "error", class_name(type(error)))
    elif not theirs:
        writer.dropped += 1
    return theirs


def resolve_exit(
    scope: PhaseScope, writer: EventWriter, exc_type: type[BaseException] | None
) -> tuple[PhaseScope, str | None, bool] | None:
    """Find what a `with` closes that is not the innermost phase of its context, and the event's text about it.

    Return the phase, a note, and whether the calling context is the one that goes on in the enclosing phase; None if
    there is nothing to close, or nothing left to write into.
    """
    active_writer = phase_context.event_writer
    if writer is not active_writer:  # the session is over, or this is a forked child
        scope.is_open = False
        writer.irregular += 1
        if phase_context.get_current() is scope:  # or the context would keep the session's ring
            phase_context.set_current(
                None if active_writer is None else phase_context.nearest_open(scope.parent_scope, active_writer)
            )
        return None
    is_collecting = phase_context.is_collecting()
    if is_collecting and scope in phase_context.entered_again_while_collecting:
        phase_context.entered_again_while_collecting.remove(scope)
        return None
    inner = []
    candidate = phase_context.get_interrupted() if is_collecting else phase_context.get_current()
    while candidate is not None:
        if candidate.is_open and candidate.event_writer is writer:
            if candidate is scope or candidate.reentry_of is scope:
                break
            inner.append(candidate.phase_path.names[-1])
        candidate = candidate.parent_scope
    if candidate is not None:
        note = f"closed before the phases inside it: {', '.join(inner[:_MAX_NAMED])}" if inner else None
        # The garbage collector closes a generator wherever it happens to run: phases open there stay open.
        return candidate, note, not (is_collecting or (inner and exc_type is GeneratorExit))
    if not scope.is_open:
        if not is_collecting and phase_context.get_current() is scope:
            phase_context.set_current(phase_context.nearest_open(scope.parent_scope, writer))
        if scope in writer.seen_to_be_over:
            writer.seen_to_be_over.discard(scope)
        else:
            writer.irregular += 1
        return None
    return scope, _closed_from(scope), False


def _closed_from(scope: PhaseScope) -> str:
    """Describe the closing of a phase that is not among those of the calling context."""
    ident = threading.get_ident()
    if ident != scope.entering_thread.ident:
        return f"closed from thread {thread_name(ident)!r}"
    parent = scope.parent_scope
    late = parent is not None and not parent.is_open
    return "closed after the phase around it" if late else "closed from another context"


def end_with_exception(
    scope: PhaseScope,
    writer: EventWriter,
    now_ns: int,
    counters: AllocatorCounters,
    exc_type: type[BaseException],
    exc: BaseException | None,
    note: str | None,
) -> None:
    """Write the exit of a phase that an exception passes through, and an `error` if the exception calls for one."""
    if is_control_flow(exc_type):
        extra = {"exhausted": True} if exc_type is Exhausted else None
        writer.exit(scope, now_ns, counters, "ok", None, note, extra)
        return
    shortage, parent = shortage_in(exc_type, exc), scope.parent_scope
    outer = OUTSIDE if parent is None or not parent.is_open else parent.enter_sequence
    extra = told_at_exit(exc_type, exc, shortage, outer == OUTSIDE)
    writer.exit(scope, now_ns, counters, "error", class_name(exc_type), note, extra)
    if is_to_report(writer, exc_type, exc, shortage, scope.enter_sequence, outer):
        note_error(writer, scope.device_state, counters, scope, exc_type, exc, shortage)
