"""Phases by their path: times, memory and how they ended, kept in a tree of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.analysis.event_fields import HOST
from phasescope.analysis.statistics.quantiles import KnownQuantiles, Quantiles

from .allocator_counts import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from phasescope.analysis.spans import Span

    from .allocator_counts import Counts

MAX_PATHS = 4096
MAX_DEPTH = 64
_MAX_DEVICES = 256
"""Phases beyond either limit are counted together in one last row, whose path is empty."""


@dataclass(frozen=True)
class Row:
    """All entries of one phase, by its path. Times in ns, memory in bytes; None means: not known.

    `depth` is 1 for an outermost phase. `count` entries have ended, in any way; total, mean, percentiles and deltas
    are over those. `errors` of them ended with an exception, and `abandoned` were open when the session stopped.
    Fetches that only found the end of a tracked iterable count in `exhausted` and nowhere else. `total_ns` adds up
    over threads, so `share`, the part of the observed wall-clock time including entries that are open now, can exceed
    1. `allocated_delta_bytes` is the sum of the entries' changes. `peak_allocated_bytes` is exact only if every entry
    measured it; otherwise it is a lower bound, the largest figure at the boundaries and in the samples of this phase
    and of those inside it. `…_low_ns` and `…_high_ns` are the bounds of chance for the mean, the median and the 95th
    percentile (three standard errors, from the scatter of the entries). `device_time_ns` is the time that the device
    worked on the `device_timed` of these entries of which it is known. `open` entries are open now, for `open_ns` as
    far as the events show. `devices` are those that the phase measured.

    The last seven are of a device's allocator, in this phase and those inside it. `reserved_bytes` is the most that it
    was seen to have reserved, `slack_bytes` the most of that which was not in use. `alloc_retries` is how often it gave
    back its cache, tried again, and had room, `alloc_failures` how often it had none even so, `device_allocs` and
    `device_frees` how often it took memory from the device and gave it back. `outside_rise_bytes` is what this process
    took there beside it, at least 128 MiB at once (libraries, communication buffers); None if nothing was seen.
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
    device_timed: int
    errors: int
    abandoned: int
    exhausted: int
    open: int
    open_ns: int | None
    devices: tuple[str, ...]
    reserved_bytes: int | None
    slack_bytes: int | None
    alloc_retries: int | None
    alloc_failures: int | None
    device_allocs: int | None
    device_frees: int | None
    outside_rise_bytes: int | None


class PhaseTree:
    """Collects spans by path. Never more than `MAX_PATHS` paths, each in bounded memory."""

    def __init__(self) -> None:
        self._root = _Node((), None)
        self._rest = _Node((), None)
        self._nodes: dict[tuple[str, ...], _Node] = {}

    def see(
        self,
        path: tuple[str, ...],
        boundary: bool,
        device: str | None,
        allocated_bytes: int | None,
        reserved_bytes: int | None = None,
    ) -> None:
        """Take an event that speaks of this phase, its device and the bytes allocated and reserved there, if known."""
        node = self._nodes.get(path) or self._node(path)
        if device is not None:
            node.saw(device, boundary, allocated_bytes)
            if reserved_bytes is not None and allocated_bytes is not None:
                node.reserved(device, reserved_bytes, reserved_bytes - allocated_bytes)

    def count(self, path: tuple[str, ...], counts: Counts) -> None:
        """Add what the allocator did while this phase was the innermost; without a path it belongs to none."""
        if path:
            node = self._nodes.get(path) or self._node(path)
            node.own_counts = node.own_counts.plus(counts)

    def end(self, span: Span, device: str | None) -> None:
        """Count an entry of a phase that ended."""
        (self._nodes.get(span.path) or self._node(span.path)).end(span, device)

    def node(self, path: tuple[str, ...]) -> _Node:
        """Return the node that counts this phase's entries: the same at every call."""
        return self._node(path)

    def add_device_time(self, path: tuple[str, ...], duration_ns: int) -> None:
        """Add how long the device worked on one entry of this phase."""
        node = self._nodes.get(path) or self._node(path)
        node.device_time_ns = (node.device_time_ns or 0) + duration_ns
        node.device_timed += 1

    def rows(
        self,
        open_spans: Iterable[Span],
        now_ns: int | None,
        observed_ns: int | None,
        is_counted: Callable[[str], bool] = lambda _device: False,
    ) -> tuple[Row, ...]:
        """Return the rows in tree order, as often as asked. `now_ns` is the time up to which open phases are
        counted, `is_counted` whether the allocator of a device tells its counts."""
        for node in (*self._nodes.values(), self._rest):
            node.open, node.open_ns, node.counts = 0, None, node.own_counts
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
        return tuple(node.row(observed_ns, is_counted) for node in nodes)

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
        "counts",
        "delta_bytes",
        "deltas",
        "device_time_ns",
        "device_timed",
        "devices",
        "durations",
        "errors",
        "exhausted",
        "measured_peak",
        "measured_peaks",
        "open",
        "open_ns",
        "own_counts",
        "parent",
        "path",
        "reserved_bytes",
        "seen",
        "slack_bytes",
        "total_ns",
    )

    def __init__(self, path: tuple[str, ...], parent: _Node | None) -> None:
        self.path = path
        self.parent = parent
        self.children: dict[str, _Node] = {}
        self.count = self.errors = self.abandoned = self.exhausted = self.open = 0
        self.open_ns: int | None = None
        self.total_ns = 0
        self.durations: Quantiles | KnownQuantiles = Quantiles()
        self.deltas = self.delta_bytes = 0
        self.measured_peaks = 0
        self.measured_peak: int | None = None
        self.devices: dict[str, None] = {}  # of its boundaries; a dict keeps their order
        self.device_time_ns: int | None = None
        self.device_timed = 0
        self.seen: dict[str, int] = {}  # by device, the largest allocated figure
        self.reserved_bytes = self.slack_bytes = -1  # below 0: not known
        self.own_counts = self.counts = NONE

    @property
    def is_used(self) -> bool:
        return bool(self.count or self.exhausted or self.open or self.seen or self.devices)

    def descendants(self) -> Iterator[_Node]:
        for child in self.children.values():
            yield child
            yield from child.descendants()

    def saw(self, device: str, boundary: bool, allocated_bytes: int | None) -> None:
        """Take an event's figures of the device, or the highest of several events at once."""
        if device not in self.seen and len(self.seen) + len(self.devices) >= _MAX_DEVICES:
            return
        if boundary:
            self.devices[device] = None
        if allocated_bytes is not None and allocated_bytes > self.seen.get(device, -1):
            self.seen[device] = allocated_bytes

    def reserved(self, device: str, reserved_bytes: int, slack_bytes: int) -> None:
        """Take what the allocator of a device has reserved, and how much of it is not in use. The host has none."""
        if device != HOST:
            self.reserved_bytes = max(reserved_bytes, self.reserved_bytes)
            self.slack_bytes = max(slack_bytes, self.slack_bytes)

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
        """Add the ends of `count` entries, with these figures as far as they are known."""
        self.count += count
        self.total_ns += sum(durations_ns)
        self.durations.extend(durations_ns)
        self.deltas += len(deltas_bytes)
        self.delta_bytes += sum(deltas_bytes)

    def went_wrong(self, status: str) -> None:
        """Count an entry that did not end well, by its status."""
        self.errors += status == "error"
        self.abandoned += status == "abandoned"

    def measured(self, peak: int, device: str | None) -> None:
        """Take the peak of an entry, measured exactly."""
        self.measured_peaks += 1
        if self.measured_peak is None or peak > self.measured_peak:
            self.measured_peak = peak
        if device is not None and peak > self.seen.get(device, -1):
            self.seen[device] = peak

    def summed_up(self, count: int, total_ns: int, durations: KnownQuantiles, deltas: int, delta_bytes: int) -> None:
        """Take all its entries that ended, as somebody else has summed them up."""
        self.count, self.total_ns, self.durations = count, total_ns, durations
        self.deltas, self.delta_bytes = deltas, delta_bytes

    def pass_outwards(self) -> None:
        """Pass the figures seen inside to the enclosing phase, on the devices that it names."""
        parent = self.parent
        if parent is None or not parent.path:
            return
        if not parent.devices:
            parent.devices.update(self.devices)
        for device, seen_bytes in self.seen.items():
            parent.seen[device] = max(seen_bytes, parent.seen.get(device, 0))
        parent.reserved_bytes = max(self.reserved_bytes, parent.reserved_bytes)
        parent.slack_bytes = max(self.slack_bytes, parent.slack_bytes)
        if self.counts is not NONE:
            parent.counts = parent.counts.plus(self.counts)

    def row(self, observed_ns: int | None, is_counted: Callable[[str], bool]) -> Row:
        is_known = any(self.counts[:4]) or any(map(is_counted, self.devices))
        counts = self.counts if is_known else None
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
            device_timed=self.device_timed,
            errors=self.errors,
            abandoned=self.abandoned,
            exhausted=self.exhausted,
            open=self.open,
            open_ns=self.open_ns,
            devices=tuple(self.devices),
            reserved_bytes=None if self.reserved_bytes < 0 else self.reserved_bytes,
            slack_bytes=None if self.slack_bytes < 0 else self.slack_bytes,
            alloc_retries=counts and counts.relieved,
            alloc_failures=counts and counts.failures,
            device_allocs=counts and counts.taken,
            device_frees=counts and counts.given_back,
            outside_rise_bytes=self.counts.outside_bytes or None,
        )

    def _peak(self) -> tuple[int | None, bool]:
        ended = self.count + self.exhausted
        if ended and self.measured_peaks == ended and not self.open:
            return self.measured_peak, True
        devices = self.devices or self.seen.keys() - {HOST} or self.seen
        return max((self.seen[device] for device in devices if device in self.seen), default=None), False
