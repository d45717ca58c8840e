"""What is written of an exception beside the exits of the phases that it leaves: an `error` event, once, where it calls
for one; and what ended the script, which may have left no phase at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.capture.exception_info import (
    class_name,
    fingerprint,
    shortage_in,
    told_at_exit,
    whose_memory,
    with_causes,
)

if TYPE_CHECKING:
    from phasescope.backends.protocol import AllocatorCounters
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.event_writer import Recorder
    from phasescope.capture.exception_info import Shortage
    from phasescope.capture.phases import phase

OUTSIDE = 0
"""Stands for the number of the phase where an exception has left them all."""

_MAX_REPORTED = 64


def is_to_report(
    recorder: Recorder,
    exc_type: type[BaseException],
    exc: BaseException | None,
    shortage: Shortage | None,
    here: int,
    outer: int | None,
) -> bool:
    """Whether an `error` event is to be written of what leaves the phase with the number `here` for `outer`."""
    if shortage is None and not issubclass(exc_type, recorder.report_exceptions):
        return False
    return not _is_reported(recorder, exc if shortage is None else shortage.exc, here, outer)


def _is_reported(recorder: Recorder, exc: BaseException | None, here: int, outer: int | None) -> bool:
    """Whether an exception was reported further in already. Its way out through the enclosing phases is noted."""
    seen = recorder.reported.pop((id(exc), here), None)
    reported = seen is not None and fingerprint(exc, seen[0]) == seen
    if outer is not None:
        while len(recorder.reported) >= _MAX_REPORTED:
            recorder.reported.pop(next(iter(recorder.reported)), None)
        recorder.reported[id(exc), outer] = fingerprint(exc)
    return reported


def note_error(
    recorder: Recorder,
    device: DeviceState,
    counters: AllocatorCounters,
    scope: phase | None,
    exc_type: type[BaseException],
    exc: BaseException | None,
    shortage: Shortage | None,
) -> None:
    """Write an `error` event; `scope` is the phase that the exception has left last, if it has left one."""
    known: AllocatorCounters | None = counters
    what = {"error_type": class_name(exc_type), "out_of_memory": shortage is not None}
    if shortage is not None:
        whose = whose_memory(shortage)
        device, known, details = recorder.sources.out_of_memory(device, counters, whose, shortage.exc)
        what |= details
    recorder.note("error", device, known, scope, with_causes(exc_type, exc, scope is None), what)


def note_end(recorder: Recorder, exc: BaseException | None, is_end: bool = True) -> dict[str, Any]:
    """What the stop is to say of the exception that ends the script, None of one that came to its end.

    An `error` event is written at once, for the figures, where it calls for one and has left no phase with it.
    """
    if exc is None:
        return {"exit_code": 0}
    exc_type = type(exc)
    shortage = shortage_in(exc_type, exc, is_end)
    if is_to_report(recorder, exc_type, exc, shortage, OUTSIDE, None):
        device = recorder.sources.device_state()
        try:
            counters = device.source.read(device.device_id)
        except Exception as error:
            counters = device.source.read_failed(error)
        note_error(recorder, device, counters, None, exc_type, exc, shortage)
    return {"error_type": class_name(exc_type), **(told_at_exit(exc_type, exc, shortage, True, is_end) or {})}
