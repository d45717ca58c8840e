"""What a session may be asked to do at boundaries beyond the counters: exact peaks, the time on the device, and labels.

All are off by default. Everything here runs under the recorder's lock, but for `DeviceTimer.resolved`, which is the
sampler's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from phasescope._log import log_once
from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope.capture.oom_snapshots import Labels, Snapshots
    from phasescope.capture.phases import phase

MAX_PENDING = 10_000
"""Phases whose device time is still to come; what a device is further behind by is not waited for."""

_MAX_PEAKS = 4096

_AT_ONCE = 50
"""Device times per event, so that they always fit one record."""


class PeakTrack:
    """Exact peaks that nest, from an allocator that has only one peak and one way to reset it.

    At every boundary the peak is read, noted and reset. A phase's own peak is the largest one noted since it began, so
    an outer phase's is never below an inner one's, whichever threads they are in. Between the reading and the resetting
    another thread may allocate: that sliver is lost, and only there a peak can come out too low.

    The largest since any point needs only the maxima that nothing later exceeds: `_peaks`, falling, `_marks` beside it.
    """

    def __init__(self, read: Callable[[int], int], reset: Callable[[int], object], device: int) -> None:
        self._read = read
        self._reset = reset
        self._device = device
        self._now = 0
        self._lost = -1  # phases that began at this mark or before have no exact peak any more
        self._down = False
        self._marks: list[int] = []
        self._peaks: list[int] = []

    def enter(self, allocated: int, alone: bool) -> int:
        """The mark of a phase that begins. `alone`: no other is open, so nothing earlier matters any more."""
        self._note(allocated)
        if alone:
            self._marks.clear()
            self._peaks.clear()
        self._now += 1
        return self._now

    def exit(self, mark: int, allocated: int) -> int | None:
        """The peak since `mark`, in bytes; None where it could not be read all the time."""
        self._note(allocated)
        if mark <= self._lost:
            return None
        return self._peaks[bisect_left(self._marks, mark)]

    def _note(self, allocated: int) -> None:
        if self._down:
            self._lost = self._now
            return
        try:
            self._push(max(self._read(self._device), allocated))
            self._reset(self._device)
        except Exception as error:
            self._down, self._lost = True, self._now
            if is_from_signal_handler(error):
                raise
            log_once("peaks", "no exact peaks any more: %s", type(error).__name__)

    def _push(self, peak: int) -> None:
        marks, peaks = self._marks, self._peaks
        while peaks and peaks[-1] <= peak:
            peaks.pop()
            marks.pop()
        if len(peaks) == _MAX_PEAKS:  # memory that only ever falls, inside one phase: rather no peak than no bound
            self._lost = self._now
            marks.clear()
            peaks.clear()
        marks.append(self._now)
        peaks.append(peak)

    def retry(self) -> None:
        """Ask again: the source answers."""
        self._down = False


class DeviceTimer:
    """How long the device worked on a phase, by marks in its queue that are looked at later and never waited for."""

    def __init__(self, mark: Callable[[int], Any], between_ms: Callable[[Any, Any], float | None], device: int) -> None:
        self._mark = mark
        self._between_ms = between_ms
        self._device = device
        self._pending: deque[tuple[int, tuple[str, ...], Any, Any]] = deque()
        self._down = False
        self.unresolved = 0

    def mark(self) -> Any:
        """A mark in the device's queue, None where it can not be had."""
        if self._down:
            return None
        try:
            return self._mark(self._device)
        except Exception as error:
            self._fail(error)
            return None

    def ended(self, scope: phase, begin: Any) -> None:
        """Remember a phase that ended now and began at the mark `begin`."""
        end = None if begin is None else self.mark()
        if end is None or len(self._pending) >= MAX_PENDING:
            self.unresolved += 1
        else:
            self._pending.append((scope._sequence, scope._path.names, begin, end))

    def resolved(self, session_id: str) -> Iterator[list[dict[str, Any]]]:
        """What the device is done with by now, in portions: `scope_id`, `path` and `duration_ns` of each phase."""
        done = self._done(session_id)
        while portion := list(islice(done, _AT_ONCE)):
            yield portion

    def _done(self, session_id: str) -> Iterator[dict[str, Any]]:
        while self._pending:
            sequence, path, begin, end = self._pending[0]
            try:
                elapsed_ms = self._between_ms(begin, end)
            except Exception as error:
                self._pending.clear()
                self._fail(error)
                return
            if elapsed_ms is None:  # the queue is worked off in order: the later ones are not done either
                return
            self._pending.popleft()
            yield {
                "scope_id": f"{session_id}:{sequence}",
                "path": list(path),
                "duration_ns": max(0, round(elapsed_ms * 1e6)),
            }

    def _fail(self, error: Exception) -> None:
        self._down = True
        if is_from_signal_handler(error):
            raise error
        log_once("device time", "no device times any more: %s", type(error).__name__)

    def retry(self) -> None:
        """Ask again: the source answers."""
        self._down = False


class Measures:
    """All of it, as far as it is wanted of one device and its backend has it."""

    __slots__ = ("labels", "peaks", "timer")

    def __init__(self, peaks: PeakTrack | None, timer: DeviceTimer | None, labels: Labels | None) -> None:
        self.peaks = peaks
        self.timer = timer
        self.labels = labels

    def enter(self, scope: phase, allocated: int, alone: bool) -> None:
        """A phase begins; `alone` where no other is open."""
        peak_mark = None if self.peaks is None else self.peaks.enter(allocated, alone)
        if self.labels is not None:
            self.labels.enter(scope)
        scope._measured = (peak_mark, None if self.timer is None else self.timer.mark())

    def exit(self, scope: phase, allocated: int) -> int | None:
        """A phase ends; its exact peak in bytes where there is one."""
        peak_mark, begin = scope._measured
        if self.timer is not None:
            self.timer.ended(scope, begin)
        if self.labels is not None:
            self.labels.exit(scope)
        return None if self.peaks is None or peak_mark is None else self.peaks.exit(peak_mark, allocated)

    def retry(self) -> None:
        """Ask again: the source answers."""
        for part in (self.peaks, self.timer):  # labels cost nothing to be without
            if part is not None:
                part.retry()


def measures(
    backend: Any, device: int, *, peaks: bool, device_time: bool, snapshots: Snapshots | None
) -> Measures | None:
    """What is wanted and can be had of a device; None where that is nothing. A backend has its methods or has not."""
    track = timer = None
    if peaks and hasattr(backend, "peak") and hasattr(backend, "reset_peak"):
        track = PeakTrack(backend.peak, backend.reset_peak, device)
    if device_time and hasattr(backend, "time_mark") and hasattr(backend, "time_between"):
        timer = DeviceTimer(backend.time_mark, backend.time_between, device)
    labels = None if snapshots is None else snapshots.begin(backend)
    return None if track is None and timer is None and labels is None else Measures(track, timer, labels)
