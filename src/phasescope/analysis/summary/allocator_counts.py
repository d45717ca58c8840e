"""How often a device's allocator tried again, failed, and went to the device: in which phase, by counts in the events.

An event has the counts since the process began, if they have changed. What they have risen by happened since the event
before, in the phase that was open meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import size_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.event_fields import Scope

_MAX_DEVICES = 256
KEYS = ("num_alloc_retries", "num_ooms", "num_device_alloc", "num_device_free")


class Counts(NamedTuple):
    """How often: the cache was given back to try again, no memory was to be had even so, memory was taken from the
    device, and given back to it. `outside_bytes` is how much this process has taken there beside its allocator.

    A request that fails has given the cache back as well, and is in both.
    """

    retries: int = 0
    failures: int = 0
    taken: int = 0
    given_back: int = 0
    outside_bytes: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def relieved(self) -> int:
        """How often the cache was given back, and then there was room."""
        return max(0, self.retries - self.failures)


NONE = Counts()


class AllocatorCounts:
    """Keeps the newest counts of every device. Nothing counted before the first event that has them is any phase's.

    `newest` are those: for a device that is in it, a fast loop may do what `risen` does.
    """

    def __init__(self) -> None:
        self.newest: dict[str, list[int | None]] = {}

    def relieved(self) -> dict[str, int]:
        """Return how often each device's allocator gave back its cache and then had room, since the process began;
        those without any are not in it."""
        counts = {device: Counts(*(count or 0 for count in newest)) for device, newest in self.newest.items()}
        return {device: each.relieved for device, each in counts.items() if each.relieved}

    def knows(self, device: str) -> bool:
        """Return whether any event had counts of the device."""
        return device in self.newest

    def risen(self, device: str, metadata: Mapping[str, Any]) -> Counts:
        """Return what has come to the device's counts with this event."""
        counts = [size_or_none(metadata.get(key)) for key in KEYS]
        newest = self.newest.get(device)
        if newest is None:
            if len(self.newest) < _MAX_DEVICES and any(count is not None for count in counts):
                self.newest[device] = counts
            return NONE
        risen = []
        for index, count in enumerate(counts):
            before = newest[index]
            if count is not None and (before is None or count > before):
                newest[index] = count
            risen.append(0 if count is None or before is None else max(0, count - before))
        return Counts(*risen)


def phase_of(event_type: object, scope: Scope | None) -> tuple[str, ...]:
    """Return the phase that was open until this event; nothing if none was."""
    if scope is None:
        return ()
    return scope.path[:-1] if event_type == "phase_enter" else scope.path
