"""Events of an exception beside the exits of the phases that it leaves.

An `error` event, once, if the exception calls for one; and the exception that ended the script, which may have left no
phase at all.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from phasescope.capture.exception_info import (
    class_name,
    fingerprint,
    shortage_in,
    told_at_exit,
    whose_memory,
    with_causes,
)
from phasescope.capture.shortages import at_shortage

if TYPE_CHECKING:
    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.exception_info import Shortage
    from phasescope.capture.scope import PhaseScope

OUTSIDE = 0
"""Stands for the number of the phase once an exception has left them all."""

_MAX_REPORTED = 64


def is_to_report(
    writer: EventWriter,
    exc_type: type[BaseException],
    exc: BaseException | None,
    shortage: Shortage | None,
    left_phase: int,
    outer: int | None,
) -> bool:
    """Return whether an exception that leaves the phase `left_phase` for `outer` gets an `error` event."""
    if shortage is None and not issubclass(exc_type, writer.report_exceptions):
        return False
    return not _is_reported(writer, exc if shortage is None else shortage.exc, left_phase, outer)


def _is_reported(writer: EventWriter, exc: BaseException | None, left_phase: int, outer: int | None) -> bool:
    """Return whether an exception was reported further in already, and note its way out through the outer phases."""
    seen = writer.reported.pop((id(exc), left_phase), None)
    reported = seen is not None and fingerprint(exc, seen[0]) == seen
    if outer is not None:
        while len(writer.reported) >= _MAX_REPORTED:
            writer.reported.pop(next(iter(writer.reported)), None)
        writer.reported[id(exc), outer] = fingerprint(exc)
    return reported


def note_error(
    writer: EventWriter,
    device: DeviceState,
    counters: AllocatorCounters,
    scope: PhaseScope | None,
    exc_type: type[BaseException],
    exc: BaseException | None,
    shortage: Shortage | None,
) -> None:
    """Write an `error` event; `scope` is the phase that the exception has left last, if it has left one."""
    current: AllocatorCounters | None = counters
    what = {"error_type": class_name(exc_type), "out_of_memory": shortage is not None}
    if shortage is not None:
        whose = whose_memory(shortage)
        device, current, details = at_shortage(writer.collectors, device, counters, whose, shortage.exc)
        what |= details
    writer.note("error", device, current, scope, with_causes(exc_type, exc, scope is None), what)


def innermost_open(writer: EventWriter) -> PhaseScope | None:
    """Return the phase that this thread has entered last and not left; None if there is none."""
    ident = threading.get_ident()
    mine = (scope for scope in reversed(list(writer.open)) if scope.entering_thread.ident == ident)
    return next(mine, None)


def note_end(writer: EventWriter, exc: BaseException | None, is_end: bool = True) -> dict[str, Any]:
    """Return the stop's details of the exception that ends the script; none if it ended normally.

    An `error` event is written at once, for the figures, if the exception calls for one and has left no phase with it.
    It is about the innermost phase that is open: an integration opens phases that only the next call in the loop would
    end.
    """
    if exc is None:
        return {"exit_code": 0}
    exc_type = type(exc)
    shortage = shortage_in(exc_type, exc, is_end)
    if is_to_report(writer, exc_type, exc, shortage, OUTSIDE, None):
        device = writer.collectors.device_state()
        try:
            counters = device.collector.read(device.device_id)
        except Exception as error:
            counters = device.collector.read_failed(error)
        note_error(writer, device, counters, innermost_open(writer), exc_type, exc, shortage)
    return {"error_type": class_name(exc_type), **(told_at_exit(exc_type, exc, shortage, True, is_end) or {})}
