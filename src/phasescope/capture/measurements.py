"""Measurements at boundaries beyond the counters, on request: exact peaks, the time on the device, and labels.

All are off by default. Everything here runs under the writer's lock, but for the marks in a device's queue, which wait
while that is full, and for `DeviceTimer.resolved`, which is the sampler's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from phasescope.capture.exception_info import is_from_signal_handler, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope.capture.oom_snapshots import Labels, SnapshotFiles
    from phasescope.capture.scope import PhaseScope
    from phasescope.capture.sites import Sites

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
        self.ending: str | None = None
        self._marks: list[int] = []
        self._peaks: list[int] = []

    def enter(self, allocated: int, alone: bool) -> int:
        """Return the mark of a phase that begins. `alone`: no other is open, so nothing earlier matters any more."""
        self._note(allocated)
        if alone:
            self._marks.clear()
            self._peaks.clear()
        self._now += 1
        return self._now

    def exit(self, mark: int, allocated: int) -> int | None:
        """Return the peak since `mark`, in bytes; None if it could not be read all the time."""
        self._note(allocated)
        if mark <= self._lost:
            return None
        return self._peaks[bisect_left(self._marks, mark)]

    def has_newest(self, mark: int) -> bool:
        """Return whether no phase has begun since `mark`."""
        return mark == self._now

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
            self.ending = f"no exact peaks any more: {one_line(type(error), error)}"

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
        """Ask again: the collector answers."""
        self._down = False


class DeviceTimer:
    """How long the device worked on a phase, by marks in its queue that are looked at later and never waited for."""

    def __init__(self, mark: Callable[[int], Any], between_ms: Callable[[Any, Any], float | None], device: int) -> None:
        self._mark = mark
        self._between_ms = between_ms
        self._device = device
        self._pending: deque[tuple[int, tuple[str, ...], Any, Any]] = deque()
        self._down = False
        self.ending: str | None = None
        self.unresolved = 0

    def mark(self) -> Any:
        """Return a mark in the device's queue, None if it cannot be had."""
        if self._down:
            return None
        try:
            return self._mark(self._device)
        except Exception as error:
            self._fail(error)
            return None

    def ended(self, scope: PhaseScope, begin: Any, end: Any) -> None:
        """Remember a phase that lasted from one mark to the other; None if that could not be had."""
        if begin is None or end is None or len(self._pending) >= MAX_PENDING:
            self.unresolved += 1
        else:
            self._pending.append((scope.enter_sequence, scope.phase_path.names, begin, end))

    def resolved(self, session_id: str) -> Iterator[list[dict[str, Any]]]:
        """Yield the phases that the device has finished, in portions: `scope_id`, `path` and `duration_ns` of each."""
        done = self._done(session_id)
        while portion := list(islice(done, _AT_ONCE)):
            yield portion

    def _done(self, session_id: str) -> Iterator[dict[str, Any]]:
        """Yield the phases that are done.

        Each queue is worked off in order: after a mark that is not done yet none of the same queue is.
        """
        waiting: set[Any] = set()
        for _ in range(len(self._pending)):
            sequence, path, begin, end = entry = self._pending.popleft()
            queue = getattr(end, "stream", None)
            elapsed_ms = None
            if queue not in waiting:
                try:
                    elapsed_ms = self._between_ms(begin, end)
                except Exception as error:
                    self._pending.clear()
                    self._fail(error)
                    return
            if elapsed_ms is None:
                waiting.add(queue)
                self._pending.append(entry)
                continue
            yield {
                "scope_id": f"{session_id}:{sequence}",
                "path": list(path),
                "duration_ns": max(0, round(elapsed_ms * 1e6)),
            }

    def _fail(self, error: Exception) -> None:
        self._down = True
        if is_from_signal_handler(error):
            raise error
        self.ending = f"no device times any more: {one_line(type(error), error)}"

    def retry(self) -> None:
        """Ask again: the collector answers."""
        self._down = False


class Measures:
    """All of it, as far as it is wanted of one device and its backend has it."""

    __slots__ = ("_temporary_bytes", "labels", "peaks", "timer")

    def __init__(self, peaks: PeakTrack | None, timer: DeviceTimer | None, labels: Labels | None) -> None:
        self.peaks = peaks
        self.timer = timer
        self.labels = labels
        self._temporary_bytes: int | None = None

    def mark(self) -> Any:
        """Return a mark in the device's queue, for `enter` or `exit`; None if none is wanted or to be had.

        Not under the writer's lock: a device whose queue is full keeps the caller waiting, and must keep nobody else.
        """
        return None if self.timer is None else self.timer.mark()

    def enter(self, scope: PhaseScope, allocated: int, alone: bool, mark: Any) -> None:
        """Note that a phase begins; `alone` if no other is open."""
        peak_mark = None if self.peaks is None else self.peaks.enter(allocated, alone)
        if self.labels is not None:
            self.labels.enter(scope)
        scope.measure_marks = (peak_mark, mark)

    def exit(self, scope: PhaseScope, allocated: int, mark: Any) -> int | None:
        """Note that a phase ends; return its exact peak in bytes if there is one."""
        peak_mark, begin = scope.measure_marks
        if self.timer is not None:
            self.timer.ended(scope, begin, mark)
        if self.labels is not None:
            self.labels.exit(scope)
        if self.peaks is None or peak_mark is None:
            return None
        peak = self.peaks.exit(peak_mark, allocated)
        if peak is not None and self.peaks.has_newest(peak_mark):
            beyond = peak - max(allocated, scope.allocated_on_entry)
            self._temporary_bytes = max(beyond, self._temporary_bytes or 0)
        return peak

    def take_temporary(self) -> int | None:
        """Return what an innermost phase had at its peak beyond both of its ends, the most since the last call.

        None if no peak was measured since.
        """
        temporary, self._temporary_bytes = self._temporary_bytes, None
        return temporary

    def take_endings(self) -> list[str]:
        """Return why a measurement ended since the last call, once for each that did."""
        endings = []
        for part in (self.peaks, self.timer):
            if part is not None and part.ending is not None:
                endings.append(part.ending)
                part.ending = None
        return endings

    def retry(self) -> None:
        """Ask again: the collector answers."""
        for part in (self.peaks, self.timer):  # labels cost nothing to be without
            if part is not None:
                part.retry()


def measures(
    backend: Any,
    device: int,
    *,
    peaks: bool,
    device_time: bool,
    snapshots: SnapshotFiles | None,
    sites: Sites | None = None,
) -> Measures | None:
    """Return the measurements that are wanted and possible on a device; None if there are none."""
    track = timer = None
    if peaks and hasattr(backend, "peak") and hasattr(backend, "reset_peak"):
        track = PeakTrack(backend.peak, backend.reset_peak, device)
    if device_time and hasattr(backend, "time_mark") and hasattr(backend, "time_between"):
        timer = DeviceTimer(backend.time_mark, backend.time_between, device)
    labels = None if snapshots is None else snapshots.begin(backend)
    if sites is not None:
        sites.begin_on(backend)
    return None if track is None and timer is None and labels is None else Measures(track, timer, labels)
