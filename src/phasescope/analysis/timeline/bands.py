"""Phases as bands along a timeline, in bounded memory: the longest of the session, and the latest, however short.

Where a session has more of them than are kept, strips say which phase took most of a stretch of time.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

LONGEST = 1024
LATEST = 512
FAILED = 64
"""The most bands kept of each kind. A phase that encloses one of the longest is longer still, so it is kept too."""

STRIP_BUCKETS = 240
_STRIP_PATHS = 128
_FIRST_WIDTH_NS = 1 << 28

_MAX_OPEN = 65_536
_MAX_THREADS = 256
_LONGEST_NAME = 100


class Band(NamedTuple):
    """One entry of a phase, by wall clock. `end_ns` is None while it is open.

    `status` is `ok`, `error`, `abandoned` (open when the session stopped) or `open`.
    """

    start_ns: int
    end_ns: int | None
    path: tuple[str, ...]
    thread_id: int | None
    status: str

    @property
    def length_ns(self) -> int:
        """How long it took; 0 while it is open."""
        return 0 if self.end_ns is None else self.end_ns - self.start_ns


class Strip(NamedTuple):
    """A stretch of time in which `path` took longest, `busy_ns`, of all phases of its depth in its thread."""

    start_ns: int
    end_ns: int
    path: tuple[str, ...]
    thread_id: int | None
    busy_ns: int


class Bands:
    """Collects the bands of one session. `dropped` counts those that are kept no more."""

    def __init__(self) -> None:
        self.ended = 0
        self.threads: dict[int, str] = {}
        self._longest: list[Band] = []
        self._too_short_ns = -1
        self._latest: deque[Band] = deque(maxlen=LATEST)
        self._failed: deque[Band] = deque(maxlen=FAILED)
        self._thread_of: dict[str, int] = {}
        self._busy: dict[tuple[int | None, tuple[str, ...]], dict[int, int]] = {}
        self._buckets: set[int] = set()
        self._width_ns = _FIRST_WIDTH_NS

    def see(self, scope: Scope, span: Span | None) -> None:
        """Take an event that names a phase, and the span that it ends, if it ends one."""
        thread_id = scope.fields.get("thread_id")
        thread_id = thread_id if type(thread_id) is int else None
        if thread_id is not None and thread_id not in self.threads and len(self.threads) < _MAX_THREADS:
            name = scope.fields.get("thread_name")
            self.threads[thread_id] = name[:_LONGEST_NAME] if isinstance(name, str) else ""
        if span is not None:
            self._thread_of.pop(scope.scope_id or "", None)
            if span.start_ns is not None and span.end_ns is not None and not span.exhausted:
                self._end(Band(span.start_ns, max(span.start_ns, span.end_ns), span.path, thread_id, span.status))
        elif thread_id is not None and scope.scope_id is not None and len(self._thread_of) < _MAX_OPEN:
            self._thread_of[scope.scope_id] = thread_id

    def _end(self, band: Band) -> None:
        self.ended += 1
        self._latest.append(band)
        self._add_busy(band)
        if band.status != "ok":
            self._failed.append(band)
        if band.length_ns > self._too_short_ns:
            self._longest.append(band)
            if len(self._longest) > 2 * LONGEST:
                self._longest.sort(key=attrgetter("length_ns"), reverse=True)
                del self._longest[LONGEST:]
                self._too_short_ns = self._longest[-1].length_ns

    def _add_busy(self, band: Band) -> None:
        key = (band.thread_id, band.path)
        busy = self._busy.get(key)
        if busy is None:
            if len(self._busy) >= _STRIP_PATHS:
                return
            busy = self._busy[key] = {}
        number = band.start_ns // self._width_ns
        # A phase that is longer than its bucket is among the longest, and drawn itself.
        busy[number] = busy.get(number, 0) + min(band.length_ns, self._width_ns)
        self._buckets.add(number)
        while len(self._buckets) > STRIP_BUCKETS:
            self._widen()

    def _widen(self) -> None:
        self._width_ns *= 2
        self._buckets = {number // 2 for number in self._buckets}
        for key, busy in self._busy.items():
            halved: dict[int, int] = {}
            for number, busy_ns in busy.items():
                halved[number // 2] = halved.get(number // 2, 0) + busy_ns
            self._busy[key] = halved

    def strips(self) -> list[Strip]:
        """Return the spans that took longest, by time, for each thread and depth.

        Stretches of one phase are put together.
        """
        most: dict[tuple[int | None, int, int], tuple[int, tuple[str, ...]]] = {}
        for (thread_id, path), busy in self._busy.items():
            for number, busy_ns in busy.items():
                place = (thread_id, len(path), number)
                most[place] = max(most.get(place, (0, ())), (busy_ns, path))
        strips: list[Strip] = []
        for (thread_id, _, number), (busy_ns, path) in sorted(most.items(), key=_place):
            start_ns = number * self._width_ns
            last = strips[-1] if strips else None
            if last is not None and (last.path, last.thread_id, last.end_ns) == (path, thread_id, start_ns):
                strips[-1] = last._replace(end_ns=start_ns + self._width_ns, busy_ns=last.busy_ns + busy_ns)
            else:
                strips.append(Strip(start_ns, start_ns + self._width_ns, path, thread_id, busy_ns))
        return strips

    def bands(self, open_spans: Iterable[Span], since_ns: int | None = None) -> list[Band]:
        """Return those that are kept and those that are open, by their start.

        `since_ns`: only those that reach beyond it.
        """
        kept = {*self._longest, *self._latest, *self._failed}
        for span in open_spans:
            if span.start_ns is not None:
                thread_id = self._thread_of.get(span.scope_id or "")
                kept.add(Band(span.start_ns, None, span.path, thread_id, "open"))
        chosen = (band for band in kept if since_ns is None or band.end_ns is None or band.end_ns >= since_ns)
        return sorted(chosen, key=lambda band: (band.start_ns, len(band.path), band.path))

    @property
    def dropped(self) -> int:
        """How many bands have ended and are not kept."""
        return self.ended - len({*self._longest, *self._latest, *self._failed})


def _place(item: tuple[tuple[int | None, int, int], object]) -> tuple[int, int, int]:
    (thread_id, depth, number), _ = item
    return (-1 if thread_id is None else thread_id, depth, number)
