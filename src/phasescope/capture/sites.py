"""start(sites=True): which lines allocate what stays, by torch's record on its devices and by tracemalloc on the host.

Tracing begins once the step is known. The lines are looked at when a census was taken, in the sampler's thread: the
list of what is traced has no object of the training's. What grew with the steps is written as an event. In the end all
is as it was.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from phasescope._log import log_once, logger
from phasescope.capture.census.histories import Histories
from phasescope.capture.exception_info import is_from_signal_handler
from phasescope.capture.snapshot import traced

if TYPE_CHECKING:
    from collections.abc import Hashable

    from phasescope.capture.census.census import Census
    from phasescope.capture.census.histories import Risen
    from phasescope.capture.collectors import Collectors
    from phasescope.capture.event_writer import EventWriter

_MOST_GROWN = 10
_LEAST_BYTES = 4096  # that a line's blocks became more by
_LONGEST = 300
_HOST = "host"
_PACKAGE = __name__.partition(".")[0]


class Sites:
    """The recording of lines that one session has switched on, and its looks."""

    def __init__(self) -> None:
        self._traces = self._has_begun = False
        self._recording: list[Any] = []
        self._asked: list[Any] = []
        self._histories = Histories()
        self._seen = 0
        self._spent_ns = 0

    def begin(self) -> None:
        """Trace on the host from now on, unless the training does so already: then it goes on as that has it."""
        if traced.is_tracing():
            return
        import tracemalloc

        tracemalloc.start(1)
        self._traces = True

    def begin_on(self, backend: Any) -> None:
        """Let a backend record by which lines its blocks were allocated, if it can."""
        if not hasattr(backend, "sites_begin") or any(backend is other for other in self._asked):
            return
        self._asked.append(backend)
        try:
            backend.sites_begin()
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            log_once("sites", "cannot tell which lines allocate on %s: %s", backend.name, str(error))
            return
        self._recording.append(backend)

    def end(self) -> None:
        """Switch off what was switched on here."""
        for backend in self._recording:
            with contextlib.suppress(Exception):
                backend.sites_end()
        self._recording.clear()
        self._end_tracing()

    def abandon_in_child(self) -> None:
        """Trace no more in a forked child: nobody looks, and it costs."""
        self._end_tracing()

    def _end_tracing(self) -> None:
        if self._traces:
            self._traces = False
            sys.modules["tracemalloc"].stop()

    def look(self, writer: EventWriter, collectors: Collectors, census: Census | None) -> None:
        """Look at the lines, if there was a census since the last time. For the sampler's thread; raises nothing."""
        if census is None:
            return
        if not self._has_begun and census.knows_step:
            # Not before: what imports and the making of a model allocate is a million blocks, and does not grow.
            self._has_begun = True
            self.begin()
        if census.taken == self._seen:
            return
        if census.taken < self._seen:  # steps are counted from 0 again
            self._histories.clear()
        self._seen, step = census.taken, census.steps_so_far()
        try:
            began_ns = time.thread_time_ns()
            by_line, why_not = self._lines(collectors)
            self._spent_ns += time.thread_time_ns() - began_ns
            self._histories.add(step, {key: size for key, (size, _) in by_line.items()})
            figures: dict[str, Any] = {
                "number": self._seen,
                "step": step,
                "lines": len(by_line),
                "bytes": sum(size for size, _ in by_line.values()),
                "grown": self._grown(by_line),
                "spent_ns": self._spent_ns,
            }
            if why_not:
                figures["why_not"] = why_not
            writer.note(
                "allocation_lines", collectors.boundary.any_state(), None, None, None, {"allocation_lines": figures}
            )
        except Exception as error:
            writer.dropped += 1
            logger.debug("a look at the lines failed: %s", type(error).__name__, exc_info=True)

    def _lines(self, collectors: Collectors) -> tuple[dict[Hashable, tuple[int, int]], str]:
        """Return bytes and blocks by device, file and line, and what keeps some of it from being known."""
        by_line: dict[Hashable, tuple[int, int]] = {}
        why_not = ""
        if not traced.is_tracing():
            why_not = "tracemalloc was stopped"
        else:
            try:
                for (file, line), sizes in traced.lines().items():
                    if not _is_ours(file):
                        by_line[_HOST, file, line] = sizes
            except traced.TooManyTracesError as error:
                why_not = str(error)
        for collector in collectors.admitted:
            if any(collector.backend is backend for backend in self._recording):
                backend: Any = collector.backend
                for device in backend.live_blocks():
                    label = f"{collector.name}:{device['index']}"
                    for entry in device["lines"]:
                        key = label, entry["file"], entry["line"]
                        size, count = by_line.get(key, (0, 0))
                        by_line[key] = size + entry["bytes"], count + entry["count"]
        return by_line, why_not

    def _grown(self, lines: dict[Hashable, tuple[int, int]]) -> list[dict[str, Any]]:
        risen = [(key, self._histories.risen(key)) for key in lines]
        grown = [(key, rise) for key, rise in risen if rise is not None and lines[key][0] - rise.before >= _LEAST_BYTES]
        grown.sort(key=lambda each: -each[1].per_step)
        return [_told(key, lines[key], rise) for key, rise in grown[:_MOST_GROWN]]


def _told(key: Any, sizes: tuple[int, int], risen: Risen) -> dict[str, Any]:
    device, file, line = key
    return {
        "device": device,
        "file": file[-_LONGEST:],
        "line": line,
        "bytes": sizes[0],
        "count": sizes[1],
        "before": risen.before,
        "since_step": risen.since_step,
        "per_step": round(risen.per_step, 1),
        "looks": risen.censuses,
    }


def _is_ours(file: str) -> bool:
    """Return whether a line is of this package, whose own memory is bounded."""
    return f"/{_PACKAGE}/" in file.replace("\\", "/") or file.endswith("tracemalloc.py")
