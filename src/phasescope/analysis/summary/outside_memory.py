"""Memory that this process takes on a device beside its allocator, and the phase in which it did.

Libraries, communication buffers and contexts take it all at once. A sample has what is in use on the device and what
the allocator has reserved; these are not read at the same moment, so a rise counts if the sample after it has it too.
Whose it is shows when the driver next tells what this process uses; if it never does, nothing is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import HOST_ID, int_or_none, size_or_none, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.event_fields import Scope

_MAX_DEVICES = 256
_LEAST_BYTES = 128 << 20
_Path = tuple[str, ...]


class OutsideRise(NamedTuple):
    """By how much it has risen, and the phase: if samples before and after are of several, the one around them."""

    path: _Path
    size_bytes: int


class OutsideMemory:
    """Takes the samples of a session."""

    def __init__(self) -> None:
        self._devices: dict[str, _OutsideLevel] = {}

    def take(self, device: str, event: Mapping[str, Any], scope: Scope | None) -> OutsideRise | None:
        """Take a sample of the device; return a rise, once it is known whose it is."""
        metadata = event["metadata"]
        if int_or_none(event.get("device_id")) == HOST_ID or metadata.get("shares_host_memory"):
            return None
        reserved, used = (size_or_none(event.get(f"{key}_bytes")) for key in ("allocator_reserved", "device_used"))
        if reserved is None or used is None or {"allocator_reserved_bytes", "device_used_bytes"} & unavailable(event):
            return None
        if device not in self._devices and len(self._devices) >= _MAX_DEVICES:
            return None
        own = size_or_none(metadata.get("process_used_bytes"))
        path = () if scope is None else scope.path
        found = self._devices.setdefault(device, _OutsideLevel(used - reserved))
        return found.take(used - reserved, None if own is None else own - reserved, path)


class _OutsideLevel:
    """Outside of the allocator, in bytes: `_level` of all processes, `_own` of this one, both before a rise."""

    def __init__(self, level: int) -> None:
        self._level = self._before = level
        self._own: int | None = None
        self._own_since: int | None = None
        self._path: _Path = ()
        self._begun: _Path | None = None  # where a rise was seen that the next sample has yet to confirm
        self._risen: _Path | None = None  # where one was confirmed, and it is not known yet whose it is

    def take(self, level: int, own: int | None, path: _Path) -> OutsideRise | None:
        """Take the next figures, and the phase that was open."""
        is_high = level - self._level >= _LEAST_BYTES
        if is_high and self._begun is not None:
            self._risen, self._level, self._begun = self._begun, min(level, self._before), None
        elif is_high:
            self._begun = _common(self._path, path)
        else:
            self._begun = None
            if level >= self._level:
                self._level = max(self._level, min(level, self._before))
            elif self._before < self._level:
                self._level = max(level, self._before)
        self._before, self._path = level, path
        if own is not None:
            self._own_since = own
        if self._risen is not None and self._own_since is not None:
            return self._told()
        if self._risen is None and self._begun is None:
            self._own, self._own_since = self._own if own is None else own, None
        return None

    def _told(self) -> OutsideRise | None:
        before, path = self._own, self._risen
        self._own, self._own_since, self._risen = self._own_since, None, None
        if before is None or path is None or self._own is None or self._own - before < _LEAST_BYTES:
            return None
        return OutsideRise(path, self._own - before)


def _common(one: _Path, other: _Path) -> _Path:
    """Return the phase around both."""
    alike = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        alike += 1
    return one[:alike]
