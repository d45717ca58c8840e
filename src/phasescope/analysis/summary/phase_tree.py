"""Phases by their path: times, memory and how they ended, kept in a tree of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.analysis.statistics.quantiles import Quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from phasescope.analysis.spans import Span

MAX_PATHS = 4096
MAX_DEPTH = 64
_MAX_DEVICES = 256
"""What goes beyond either is counted together in one last row, whose path is empty."""


@dataclass(frozen=True)
class Row:
    """All entries of one phase path. Times in ns, memory in bytes; None is: not known.

    `count` entries have ended, with whatever status; total, mean, percentiles and deltas are over those.
    Fetches that only found the end of a tracked iterable are in `exhausted` and nowhere else. `total_ns` adds
    up over threads, so `share` (of the wall time observed, with the time of what is open now) can pass 1.
    `allocated_delta_bytes` is the net sum of the entries' deltas. The peak is exact only where every entry
    measured it; else it is the largest figure seen at the boundaries and in the samples of this phase and of
    those in it: the true peak is that or higher. `low` and `high` are how far chance may have moved the mean, the
    median and the 95th percentile, by the scatter of these entries (three standard errors). `device_time_ns` is how
    long the device worked on those entries of which that is known, where it was asked for. `open_ns` is how long those
    open now have been so, as far as the events tell. `devices` are those that it spoke of.
    """

    path: tuple[str, ...]
    depth: int
    count: int
    total_ns: int | None
    mean_ns: int | None
    p25_ns: int | None
    p50_ns: int | None
    p75_ns: int | None
    p95_ns: int | None
    percentiles_are_exact: bool
    mean_low_ns: int | None
    mean_high_ns: int | None
    p50_low_ns: int | None
    p50_high_ns: int | None
    p95_low_ns: int | None
    p95_high_ns: int | None
    share: float | None
    allocated_delta_bytes: int | None
    allocated_delta_mean_bytes: int | None
    peak_allocated_bytes: int | None
    peak_is_exact: bool
    device_time_ns: int | None
    errors: int
    abandoned: int
    exhausted: int
    open: int
    open_ns: int | None
    devices: tuple[str, ...]


class PhaseTree:
    """Collects spans by path. Never more than `MAX_PATHS` paths, each in bounded memory."""

    def __init__(self) -> None:
        self._root = _Node((), None)
        self._rest = _Node((), None)
        self._nodes: dict[tuple[str, ...], _Node] = {}

    def see(self, path: tuple[str, ...], boundary: bool, device: str | None, allocated_bytes: int | None) -> None:
        """An event that speaks of this phase, its device and what was allocated there, if that is known."""
        node = self._nodes.get(path) or self._node(path)
        if device is not None:
            node.saw(device, boundary, allocated_bytes)

    def end(self, span: Span, device: str | None) -> None:
        """An entry of a phase that ended."""
        (self._nodes.get(span.path) or self._node(span.path)).end(span, device)

    def node(self, path: tuple[str, ...]) -> _Node:
        """Where this phase's entries are counted: the same at every call."""
        return self._node(path)

    def add_device_time(self, path: tuple[str, ...], duration_ns: int) -> None:
        """How long the device worked on one entry of this phase."""
        node = self._nodes.get(path) or self._node(path)
        node.device_time_ns = (node.device_time_ns or 0) + duration_ns

    def rows(self, open_spans: Iterable[Span], now_ns: int | None, observed_ns: int | None) -> tuple[Row, ...]:
        """The rows in tree order, as often as asked. `now_ns` is the time up to which open phases are counted."""
        for node in (*self._nodes.values(), self._rest):
            node.open, node.open_ns = 0, None
        for span in open_spans:
            node = self._node(span.path)
            node.open += 1
            if span.start_ns is not None and now_ns is not None:
                node.open_ns = (node.open_ns or 0) + max(0, now_ns - span.start_ns)
        nodes = list(self._root.descendants())
        for node in reversed(nodes):  # the inner before the outer
            node.pass_outwards()
        if self._rest.is_used:
            nodes.append(self._rest)
        return tuple(node.row(observed_ns) for node in nodes)

    def _node(self, path: tuple[str, ...]) -> _Node:
        node = self._nodes.get(path)
        if node is not None:
            return node
        if len(path) > MAX_DEPTH or len(self._nodes) + len(path) > MAX_PATHS:
            return self._rest
        parent = self._root if len(path) == 1 else self._node(path[:-1])
        node = self._nodes[path] = parent.children[path[-1]] = _Node(path, parent)
        return node


class _Node:
    __slots__ = (
        "abandoned",
        "children",
        "count",
        "delta_bytes",
        "deltas",
        "device_time_ns",
        "devices",
        "durations",
        "errors",
        "exhausted",
        "measured_peak",
        "measured_peaks",
        "open",
        "open_ns",
        "parent",
        "path",
        "seen",
        "total_ns",
    )

    def __init__(self, path: tuple[str, ...], parent: _Node | None) -> None:
        self.path = path
        self.parent = parent
        self.children: dict[str, _Node] = {}
        self.count = self.errors = self.abandoned = self.exhausted = self.open = 0
        self.open_ns: int | None = None
        self.total_ns = 0
        self.durations = Quantiles()
        self.deltas = self.delta_bytes = 0
        self.measured_peaks = 0
        self.measured_peak: int | None = None
        self.devices: dict[str, None] = {}  # of its boundaries; a dict keeps their order
        self.device_time_ns: int | None = None
        self.seen: dict[str, int] = {}  # by device, the largest allocated figure

    @property
    def is_used(self) -> bool:
        return bool(self.count or self.exhausted or self.open or self.seen or self.devices)

    def descendants(self) -> Iterator[_Node]:
        for child in self.children.values():
            yield child
            yield from child.descendants()

    def saw(self, device: str, boundary: bool, allocated_bytes: int | None) -> None:
        """What an event says of the device, or several at once the most of it."""
        if device not in self.seen and len(self.seen) + len(self.devices) >= _MAX_DEVICES:
            return
        if boundary:
            self.devices[device] = None
        if allocated_bytes is not None and allocated_bytes > self.seen.get(device, -1):
            self.seen[device] = allocated_bytes

    def end(self, span: Span, device: str | None) -> None:
        if span.peak_allocated_bytes is not None:
            self.measured(span.peak_allocated_bytes, device)
        if span.exhausted:  # it was a mere look for more
            self.exhausted += 1
            return
        self.went_wrong(span.status)
        duration_ns, delta_bytes = span.duration_ns, span.allocated_delta_bytes
        self.ended(1, () if duration_ns is None else (duration_ns,), () if delta_bytes is None else (delta_bytes,))

    def ended(self, count: int, durations_ns: Sequence[int], deltas_bytes: Sequence[int]) -> None:
        """So many entries have ended, with these figures as far as they are known."""
        self.count += count
        self.total_ns += sum(durations_ns)
        self.durations.extend(durations_ns)
        self.deltas += len(deltas_bytes)
        self.delta_bytes += sum(deltas_bytes)

    def went_wrong(self, status: str) -> None:
        """How an entry ended that did not end well."""
        self.errors += status == "error"
        self.abandoned += status == "abandoned"

    def measured(self, peak: int, device: str | None) -> None:
        """The peak of an entry, measured exactly."""
        self.measured_peaks += 1
        if self.measured_peak is None or peak > self.measured_peak:
            self.measured_peak = peak
        if device is not None and peak > self.seen.get(device, -1):
            self.seen[device] = peak

    def pass_outwards(self) -> None:
        """What was seen inside was seen in the enclosing phase too, on the devices that phase speaks of."""
        parent = self.parent
        if parent is None or not parent.path:
            return
        if not parent.devices:
            parent.devices.update(self.devices)
        for device, seen_bytes in self.seen.items():
            parent.seen[device] = max(seen_bytes, parent.seen.get(device, 0))

    def row(self, observed_ns: int | None) -> Row:
        timed = self.durations.count
        p25_ns, p50_ns, p75_ns, p95_ns = self.durations.at(0.25, 0.5, 0.75, 0.95)
        chance, mean_ns = self.durations.bounds(), self.total_ns / (timed or 1)
        known_ns = None if not timed and self.open_ns is None else self.total_ns + (self.open_ns or 0)
        peak, peak_is_exact = self._peak()
        return Row(
            path=self.path,
            depth=len(self.path),
            count=self.count,
            total_ns=self.total_ns if timed else None,
            mean_ns=round(mean_ns) if timed else None,
            p25_ns=p25_ns,
            p50_ns=p50_ns,
            p75_ns=p75_ns,
            p95_ns=p95_ns,
            percentiles_are_exact=self.durations.is_exact,
            mean_low_ns=chance and round(max(0.0, mean_ns - chance.mean_error)),
            mean_high_ns=chance and round(mean_ns + chance.mean_error),
            p50_low_ns=chance and chance.p50_low,
            p50_high_ns=chance and chance.p50_high,
            p95_low_ns=chance and chance.p95_low,
            p95_high_ns=chance and chance.p95_high,
            share=known_ns / observed_ns if known_ns is not None and observed_ns else None,
            allocated_delta_bytes=self.delta_bytes if self.deltas else None,
            allocated_delta_mean_bytes=round(self.delta_bytes / self.deltas) if self.deltas else None,
            peak_allocated_bytes=peak,
            peak_is_exact=peak_is_exact,
            device_time_ns=self.device_time_ns,
            errors=self.errors,
            abandoned=self.abandoned,
            exhausted=self.exhausted,
            open=self.open,
            open_ns=self.open_ns,
            devices=tuple(self.devices),
        )

    def _peak(self) -> tuple[int | None, bool]:
        ended = self.count + self.exhausted
        if ended and self.measured_peaks == ended and not self.open:
            return self.measured_peak, True
        devices = self.devices or self.seen.keys() - {"host"} or self.seen
        return max((self.seen[device] for device in devices if device in self.seen), default=None), False
