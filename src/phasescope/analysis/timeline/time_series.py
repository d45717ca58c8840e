"""A device's figures over time in bounded memory: the whole session coarsely, its last minutes finely, no peak lost.

Events are gathered in buckets of time. Each keeps the smallest, the largest and the last of every figure, so a peak of
one event is still there when its bucket covers minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FIGURES = ("allocated_bytes", "reserved_bytes", "used_bytes", "total_bytes")
"""The figures that are kept over time, in the order in which `DeviceSeries.add` takes it."""

WHOLE_BUCKETS = 1024
RECENT_BUCKETS = 1200
RECENT_WIDTH_NS = 250_000_000
"""The last 1200 buckets of 250 ms: five minutes."""

_FIRST_WIDTH_NS = 1 << 20
_STEP = 3  # min, max and last of each figure


class Range(NamedTuple):
    """One figure in one bucket, in bytes: smallest (`min`), largest (`max`) and `last`. None means: not known."""

    min: int | None
    max: int | None
    last: int | None


_UNKNOWN = Range(None, None, None)


class Point(NamedTuple):
    """One bucket of time: the wall-clock time of its last event, and the range of each figure."""

    timestamp_ns: int
    allocated_bytes: Range
    reserved_bytes: Range
    used_bytes: Range
    total_bytes: Range


class Buckets:
    """At most `most` buckets of one width. When there are more the width doubles, or, if `forget` is True, the bucket
    begun first goes.

    A bucket's number is its time divided by the width, whatever the time of the others: a clock that jumps makes
    neither many empty buckets nor a wrong one.
    """

    __slots__ = ("_buckets", "_forget", "_most", "forgotten", "width_ns")

    def __init__(self, most: int, width_ns: int = _FIRST_WIDTH_NS, *, forget: bool = False) -> None:
        self.width_ns = width_ns
        self.forgotten = 0
        self._most = most
        self._forget = forget
        self._buckets: dict[int, list[int | None]] = {}

    def add(self, time_ns: int, figures: Sequence[int | None]) -> None:
        """Take the figures of one event, in the order of `FIGURES`."""
        bucket = self._buckets.get(time_ns // self.width_ns)
        if bucket is None:
            self._buckets[time_ns // self.width_ns] = _new_bucket(time_ns, figures)
            while len(self._buckets) > self._most:
                self._make_room()
            return
        if time_ns > bucket[0]:  # type: ignore[operator]
            bucket[0] = time_ns
        column = 1
        for value in figures:
            if value is not None:
                least, most = bucket[column], bucket[column + 1]
                if least is None or value < least:
                    bucket[column] = value
                if most is None or value > most:
                    bucket[column + 1] = value
                bucket[column + 2] = value
            column += _STEP

    def _make_room(self) -> None:
        if self._forget:
            del self._buckets[next(iter(self._buckets))]
            self.forgotten += 1
            return
        self.width_ns *= 2
        halved: dict[int, list[int | None]] = {}
        for number in sorted(self._buckets):
            bucket = self._buckets[number]
            first = halved.get(number // 2)
            if first is None:
                halved[number // 2] = bucket
            else:
                _merge(first, bucket)
        self._buckets = halved

    def points(self, since_ns: int | None = None) -> list[Point]:
        """Return the buckets by time, those that reach to `since_ns` or all."""
        first = None if since_ns is None else since_ns // self.width_ns
        return [_point(self._buckets[number]) for number in sorted(self._buckets) if first is None or number >= first]


class DeviceSeries:
    """One device's figures over the whole session, and finely over the last minutes."""

    __slots__ = ("_recent", "_whole")

    def __init__(self, whole_buckets: int = WHOLE_BUCKETS, recent_buckets: int = RECENT_BUCKETS) -> None:
        self._whole = Buckets(whole_buckets)
        self._recent = Buckets(recent_buckets, RECENT_WIDTH_NS, forget=True)

    def add(self, time_ns: int, figures: Sequence[int | None]) -> None:
        """Take the figures of one event, in the order of `FIGURES`, in bytes."""
        self._whole.add(time_ns, figures)
        self._recent.add(time_ns, figures)

    def points(self, since_ns: int | None = None) -> list[Point]:
        """Return the points of the session by time, all or since `since_ns`: the last minutes as finely as known."""
        points = self._points()
        return points if since_ns is None else [point for point in points if point.timestamp_ns >= since_ns]

    def recent(self, since_ns: int | None = None) -> list[Point]:
        """Return only the last minutes, by time; those since `since_ns`, or all."""
        return [p for p in self._recent.points(since_ns) if since_ns is None or p.timestamp_ns >= since_ns]

    def _points(self) -> list[Point]:
        if self._whole.width_ns <= RECENT_WIDTH_NS:
            return self._whole.points()
        recent = self._recent.points()
        if not self._recent.forgotten:
            return recent
        begins_ns, width_ns = recent[0].timestamp_ns, self._whole.width_ns
        # A coarse bucket that reaches into the fine ones stays: its first part is nowhere else.
        older = [
            point._replace(timestamp_ns=min(point.timestamp_ns, begins_ns - 1))
            for point in self._whole.points()
            if point.timestamp_ns - width_ns < begins_ns
        ]
        return [*older, *recent]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Thin points to at most `most` that stand for all of them: neighbours are put together, no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // most)
    return [_together(points[index : index + size]) for index in range(0, len(points), size)]


def columns(points: Iterable[Point]) -> dict[str, Any]:
    """Return points as columns of JSON types: `timestamp_ns`, and for each figure `min`, `max` and `last`."""
    taken = list(points)
    lists: dict[str, Any] = {"timestamp_ns": [point.timestamp_ns for point in taken]}
    for index, figure in enumerate(FIGURES, start=1):
        lists[figure] = {key: [getattr(point[index], key) for point in taken] for key in Range._fields}
    return lists


def _new_bucket(time_ns: int, figures: Sequence[int | None]) -> list[int | None]:
    bucket: list[int | None] = [time_ns]
    for value in figures:
        bucket += (value, value, value)
    return bucket


def _merge(first: list[int | None], second: list[int | None]) -> None:
    """Put the later bucket into the earlier one."""
    first[0] = second[0]
    for column in range(1, len(first), _STEP):
        merged = _joined(Range(*first[column : column + _STEP]), Range(*second[column : column + _STEP]))
        first[column : column + _STEP] = merged


def _point(bucket: list[int | None]) -> Point:
    ranges = [Range(*bucket[column : column + _STEP]) for column in range(1, len(bucket), _STEP)]
    return Point(bucket[0] or 0, *ranges)


def _together(points: Sequence[Point]) -> Point:
    ranges = [_UNKNOWN] * len(FIGURES)
    for point in points:
        ranges = [_joined(kept, new) for kept, new in zip(ranges, point[1:], strict=True)]
    return Point(points[-1].timestamp_ns, *ranges)


def _joined(first: Range, second: Range) -> Range:
    if first.last is None:
        return second
    if second.last is None or second.min is None or second.max is None or first.min is None or first.max is None:
        return first
    return Range(min(first.min, second.min), max(first.max, second.max), second.last)
