"""A test's memory budget, and whether its events keep it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Event = dict[str, Any]

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


class MemoryBudget(NamedTuple):
    """A budget, as the mark states it. `phase` is a name, or the end of a path such as `epoch/forward`."""

    limit: int | str
    limit_bytes: int
    phase: str | None
    device: str | None
    above_start: bool

    @classmethod
    def of(
        cls, limit: int | str, *, phase: str | None = None, device: str | None = None, above_start: bool = False
    ) -> MemoryBudget:
        """Return the budget. Raises TypeError or ValueError naming the argument."""
        for name, value in (("phase", phase), ("device", device)):
            if value is not None and (not isinstance(value, str) or not value.strip("/ ")):
                raise ValueError(f"{name} must be a name, not {value!r:.80}")
        if not isinstance(above_start, bool):
            raise TypeError(f"above_start must be True or False, not {above_start!r:.80}")
        return cls(limit, size_bytes(limit), phase, device, above_start)

    def __str__(self) -> str:
        given = [repr(self.limit)]
        given += [f"{name}={value!r}" for name, value in (("phase", self.phase), ("device", self.device)) if value]
        given += ["above_start=True"] if self.above_start else []
        return f"memory_budget({', '.join(given)})"


def size_bytes(size: object) -> int:
    """Parse `"200 MiB"`, `"1.5 GiB"` or a number of bytes. Raises TypeError or ValueError."""
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f'the limit must be a size such as "200 MiB", or a number of bytes, not {size!r:.80}')
    if isinstance(size, int):
        parsed = size
    else:
        match = _SIZE.fullmatch(size)
        if match is not None and not match[2]:
            raise ValueError(f'the limit {size!r:.80} needs a unit, such as "200 MiB" or "1.5 GiB"')
        if match is None or match[2].upper() not in _UNITS:
            raise ValueError(f'the limit must be a size such as "200 MiB" or "1.5 GiB", not {size!r:.80}')
        parsed = round(float(match[1]) * _UNITS[match[2].upper()])
    if parsed <= 0:
        raise ValueError(f"the limit must be more than 0 bytes, not {size!r:.80}")
    return parsed


class OfTest(NamedTuple):
    """The events of a test, from the enter of its phase to the exit, and those before them."""

    earlier: Sequence[Event]
    events: Sequence[Event]
    is_whole: bool
    """Whether both ends are there: a ring overwrites its oldest, and a test may end the session that it runs in."""

    @classmethod
    def of(cls, events: Sequence[Event], name: str, thread_id: int) -> OfTest:
        """Cut out of a session's last events: the sampler, and other threads, may have gone on after the test.

        Asked in the test's thread right after it. A phase of the same name inside of it was left before, so the last
        one that was left there is the test itself.
        """
        last = next((index for index in reversed(range(len(events))) if _is_exit(events[index], name, thread_id)), None)
        if last is None:
            return cls((), events, is_whole=False)
        scope_id = events[last]["metadata"]["phase_scope"]["scope_id"]
        first = next((index for index in range(last) if _is_enter(events[index], scope_id)), None)
        return cls(events[: first or 0], events[first or 0 : last + 1], is_whole=first is not None)


def _is_exit(event: Event, name: str, thread_id: int) -> bool:
    scope = event["metadata"].get("phase_scope", {})
    return (scope.get("action"), scope.get("name"), scope.get("thread_id")) == ("exit", name, thread_id)


def _is_enter(event: Event, scope_id: str) -> bool:
    scope = event["metadata"].get("phase_scope", {})
    return (scope.get("action"), scope.get("scope_id")) == ("enter", scope_id)


def judged(budget: MemoryBudget, test: OfTest, whole: str) -> str | None:
    """Say what is wrong, on one line; None if the budget is kept. `whole` is the phase of the test itself."""
    if not test.is_whole:
        return f"{budget}: not judged: the ring does not hold the whole test, or the test ended its session"
    events, name = test.events, budget.phase or whole
    peaks = PhasePeaks(test.earlier, events, tuple(name.strip("/").split("/")))
    if not peaks.entered:
        there = sorted({"/".join(scope["path"][1:]) for scope in _scopes(events) if scope["path"][1:]})
        return f"{budget}: no such phase was entered; there were: {', '.join(there) or 'none'}"
    devices = peaks.devices(budget.device)
    if not devices:
        there = sorted(peaks.known())
        return f"{budget}: nothing was measured on that device, only on: {', '.join(there) or 'none'}"
    over = [text for device in devices if (text := _over(budget, name, peaks, device)) is not None]
    return "\n".join(over) or None


def _over(budget: MemoryBudget, name: str, peaks: PhasePeaks, device: str) -> str | None:
    peak_bytes, is_exact = peaks.peak(device)
    start_bytes = peaks.start[device] if budget.above_start else 0
    if peak_bytes - start_bytes <= budget.limit_bytes:
        return None
    above = f" above the {_text(start_bytes)} of the start" if budget.above_start else ""
    at_least = "" if is_exact else "at least "
    return f"{budget}: the peak of {name} on {device} was {at_least}{_text(peak_bytes - start_bytes)}{above}"


class PhasePeaks:
    """The largest figures of allocated bytes of each device in the entries of one phase, from the events of a test.

    Exact if every entry measured its peak. Else the largest at boundaries and samples in the phase; of a device
    that none of these speaks of, the last figure before it, or first after it.
    """

    def __init__(self, earlier: Sequence[Event], events: Sequence[Event], name: tuple[str, ...]) -> None:
        """Take the events of a test. Of the `earlier` ones, only the devices' last figures count."""
        self.entered = 0
        self.start: dict[str, int] = {}
        self._own: dict[str, None] = {}  # devices that the phase speaks of
        self._exact: dict[str, list[int | None]] = {}
        self._seen: dict[str, int] = {}
        self._beside = {device: size for device, size in map(_allocated, earlier) if size is not None}
        before = dict(self._beside)
        for event in events:
            self._take(event, name)
        self.start = {**before, **self.start}
        """How the devices stood when the test began."""

    def _take(self, event: Event, name: tuple[str, ...]) -> None:
        scope = event["metadata"].get("phase_scope") or {}
        path = tuple(scope.get("path", ()))
        device, allocated_bytes = _allocated(event)
        itself = path[-len(name) :] == name and "action" in scope
        if itself and scope["action"] == "enter":
            self.entered += 1
        if allocated_bytes is None:
            return
        self.start.setdefault(device, allocated_bytes)
        if itself:
            self._own[device] = None
            if scope["action"] == "exit":
                self._exact.setdefault(device, []).append(scope.get("peak_allocated_bytes"))
        if any(path[first : first + len(name)] == name for first in range(len(path))):
            self._seen[device] = max(allocated_bytes, self._seen.get(device, 0))
        elif not self.entered or device not in self._beside:
            self._beside[device] = allocated_bytes

    def known(self) -> set[str]:
        """Return all devices with any figure."""
        return {*self._seen, *self._beside}

    def devices(self, wanted: str | None) -> list[str]:
        """Return the devices that a budget means: `cuda`, `cuda:0`, `cpu` or `host`; None is those of the phase."""
        if wanted is None:
            return list(self._own)
        wanted = "host" if wanted == "cpu" else wanted
        return sorted(device for device in self.known() if wanted in (device, device.partition(":")[0]))

    def peak(self, device: str) -> tuple[int, bool]:
        """Return the peak in bytes, and whether it is exact: else it was that or higher."""
        exact = self._exact.get(device, [])
        measured = [peak for peak in exact if peak is not None]
        if measured and len(measured) == len(exact):
            return max(measured), True
        return max([self._seen.get(device, self._beside.get(device, 0)), *measured]), False


def _allocated(event: Event) -> tuple[str, int | None]:
    metadata = event["metadata"]
    device = "host" if event["device_id"] < 0 else f"{metadata['backend']}:{event['device_id']}"
    is_unknown = "allocator_allocated_bytes" in metadata.get("unavailable", ())
    return device, None if is_unknown else event["allocator_allocated_bytes"]


def _scopes(events: Sequence[Event]) -> Iterator[Event]:
    for event in events:
        if "phase_scope" in event["metadata"]:
            yield event["metadata"]["phase_scope"]


def _text(count_bytes: int) -> str:
    return f"{count_bytes / 2**20:,.1f} MiB"
