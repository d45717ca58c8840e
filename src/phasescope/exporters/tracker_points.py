"""What an experiment tracker gets of a session: a small, documented set of keys, once per some steps.

Every tracker can hold the keys, whatever the training calls its phases.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import counter_of, device_label, device_of, unavailable
from phasescope.analysis.steps import EndedPhases, likely_step_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

PREFIX = "phasescope"
PEAK, SECONDS = "peak_allocated_bytes", "seconds"
DEVICE_FIGURES = {
    "allocated_bytes": "allocator_allocated_bytes",
    "reserved_bytes": "allocator_reserved_bytes",
    "used_bytes": "device_used_bytes",
}
MOST_PHASES = 32
OTHER = "_other"

_SHORTEST_PAUSE_NS = 1_000_000_000
_MOST_DEVICES = 64
_LONGEST_NAME, _LONGEST_KEY, _DIGEST = 60, 180, 8
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_LOOK_AGAIN = 64


class TrackerPoint(NamedTuple):
    """The values of one moment, by key. `step` counts the entries of the phase that is the training's step."""

    step: int
    timestamp_ns: int
    values: Mapping[str, float]


def phase_key(path: Sequence[str]) -> str:
    """Return a phase path as the end of a key: of letters, digits, `_` and `-`, with dots between the names, never two
    paths as one. A store of files cannot hold `step` beside `step/forward`."""
    key = ".".join(_name(name) for name in path)
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{key[:_LONGEST_KEY].rstrip('.')}-{_digest(repr(tuple(path)))}"


def _name(name: str) -> str:
    plain = _FOREIGN.sub("_", name)[:_LONGEST_NAME]
    return name if plain == name and plain not in ("", OTHER) else f"{plain or '_'}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_DIGEST]


class _Phase:
    """A phase since the last point. `seen_bytes` is the most that was allocated on its devices."""

    def __init__(self) -> None:
        self.count = self.total_ns = 0
        self.seen_bytes: dict[str, int] = {}

    def end(self, span: Span) -> None:
        if span.duration_ns is not None:
            self.count += 1
            self.total_ns += span.duration_ns

    def see(self, device: str, size_bytes: int) -> None:
        self.seen_bytes[device] = max(size_bytes, self.seen_bytes.get(device, 0))


class Points:
    """Makes points of a session's events, one for `every_steps` steps and at most one a second, in bounded memory."""

    def __init__(self, every_steps: int) -> None:
        self._every_steps = every_steps
        self._ended = EndedPhases()
        self._keys: dict[tuple[str, ...], str] = {}
        self._phases: dict[str, _Phase] = {}
        self._measured: set[str] = set()
        self._devices: dict[str, float] = {}
        self._step_path: tuple[str, ...] | None = None
        self._spans = 0
        self._last_step = 0
        self._last_ns: int | None = None
        self._newest_ns = 0

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> TrackerPoint | None:
        """Take the next event. Return a point if one is due."""
        device, allocated = self._see_device(event)
        time_ns = event.get("timestamp_ns")
        if type(time_ns) is int:
            self._newest_ns = max(self._newest_ns, time_ns)
        if scope is not None and device is not None and allocated is not None:
            self._see(scope, device, allocated, None if span is None else span.peak_allocated_bytes)
        if span is None or span.exhausted:
            return None
        self._ended.take(span)
        self._phase(span.path).end(span)
        self._spans += 1
        if self._spans < _LOOK_AGAIN or self._spans % _LOOK_AGAIN == 0:
            self._step_path = likely_step_of(self._ended.entries)
        if span.path != self._step_path or self._step() < self._last_step + self._every_steps:
            return None
        if self._last_ns is not None and self._newest_ns - self._last_ns < _SHORTEST_PAUSE_NS:
            return None
        return self._point()

    def last(self) -> TrackerPoint | None:
        """Return what came since the last point; None if nothing did."""
        return self._point() if self._phases or self._last_ns is None else None

    def _step(self) -> int:
        entries = None if self._step_path is None else self._ended.entries.get(self._step_path)
        return 0 if entries is None else entries.count

    def _point(self) -> TrackerPoint:
        self._last_step = max(self._last_step, self._step())  # trackers want steps that never go back
        self._last_ns = self._newest_ns
        values = dict(self._values())
        self._phases.clear()
        return TrackerPoint(self._last_step, self._newest_ns, values)

    def _values(self) -> Iterator[tuple[str, float]]:
        for key, phase in self._phases.items():
            seen = [size_bytes for device, size_bytes in phase.seen_bytes.items() if device in self._measured]
            if seen:
                yield f"{PREFIX}/{PEAK}/{key}", float(max(seen))
            if phase.count:
                yield f"{PREFIX}/{SECONDS}/{key}", phase.total_ns / phase.count / 1e9
        yield from self._devices.items()

    def _see(self, scope: Scope, device: str, allocated: int, peak: int | None) -> None:
        """Note what was allocated in a phase and those around it, on a device that phases measure."""
        if scope.action is not None and len(self._measured) < _MOST_DEVICES:
            self._measured.add(device)
        for length in range(len(scope.path), 0, -1):
            self._phase(scope.path[:length]).see(device, max(allocated, peak or 0))

    def _phase(self, path: tuple[str, ...]) -> _Phase:
        key = self._keys.get(path)
        if key is None:
            key = OTHER
            if len(self._keys) < MOST_PHASES:
                key = self._keys[path] = phase_key(path)
        return self._phases.setdefault(key, _Phase())

    def _see_device(self, event: Mapping[str, Any]) -> tuple[str | None, int | None]:
        """Return the event's device, and what the process has allocated there, as far as they are known."""
        device = device_of(event)
        if device is None:
            return None, None
        unknown, label = unavailable(event), _name(device_label(*device).replace(":", "_"))
        allocated = None
        for figure, field in DEVICE_FIGURES.items():
            size_bytes = counter_of(event, unknown, field)
            key = f"{PREFIX}/{figure}/{label}"
            if figure == "allocated_bytes":
                allocated = size_bytes
            if size_bytes is not None and (key in self._devices or len(self._devices) < 3 * _MOST_DEVICES):
                self._devices[key] = float(size_bytes)
        return label, allocated
