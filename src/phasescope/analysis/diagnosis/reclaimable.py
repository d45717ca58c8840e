"""Memory of the process that is not its own: pages of mapped files, which the kernel takes back when it needs them.

A file that is mapped and read (`np.load(mmap_mode="r")`, safetensors, Arrow) fills the resident set as fast as it is
read, and nothing is lost by it. So on the host the rest is judged: the memory that the process wrote itself, the part
of that which was swapped out, and shared memory, which no file could give back.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import size_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .end_batches import EndFigures, EndsOfPath

_MOST_HELD = 4096
_FEW = 8


class Files:
    """How much of the resident set are pages of mapped files, by the samples of the host."""

    def __init__(self) -> None:
        self._shared_memory = self._swapped = 0

    def of(self, event: Mapping[str, Any]) -> int | None:
        """Return the mapped bytes of a sample; None if it does not have them."""
        metadata = event["metadata"]
        shared = size_or_none(metadata.get("shared_bytes"))
        memory, swapped = (size_or_none(metadata.get(key)) for key in ("shared_memory_bytes", "swap_bytes"))
        self._shared_memory = self._shared_memory if memory is None else memory
        self._swapped = self._swapped if swapped is None else swapped
        return None if shared is None else max(0, shared - self._shared_memory)

    @property
    def swapped_bytes(self) -> int:
        """The bytes of the process that were swapped out, by the last sample that has them."""
        return self._swapped


class Own:
    """The process's own memory at the samples: the first few since the steps began, and the last few."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: deque[int] = deque(maxlen=_FEW)

    def sample(self, size: int) -> None:
        """Take the next sample's bytes."""
        if len(self._first) < _FEW:
            self._first.append(size)
        self._last.append(size)

    def begin(self) -> None:
        """Begin the steps: the sample before them is the first."""
        self._first = list(self._last)[-1:]

    def risen(self) -> int:
        """Return by how much it rose at most, as far as the samples show."""
        half = (len(self._first) + 1) // 2
        return max(list(self._last)[-half:], default=0) - min(self._first[:half], default=0)


class Held:
    """Ends of phases that wait for the next sample.

    How much was mapped when each ended is known from the samples on both sides of it. Those after the last sample are
    left out; `waiting` is how many these are so far.
    """

    def __init__(self, judge: Callable[[Sequence[EndsOfPath]], None]) -> None:
        self._judge = judge
        self._held: list[Sequence[EndsOfPath]] = []
        self._last: tuple[int, int] | None = None
        self.waiting = 0

    @property
    def is_known(self) -> bool:
        """Whether any sample said how much is mapped."""
        return self._last is not None

    def add(self, ended: Sequence[EndsOfPath]) -> None:
        """Take ends of phases, of which no more wait than if they were taken one by one."""
        count = sum(len(ends) for _, ends in ended)
        while self._last is not None and self.waiting + count >= _MOST_HELD:
            room = _MOST_HELD - self.waiting
            first, ended = _cut(ended, room)
            count -= room
            self._held.append(first)
            self._pass_on(self._last)
        self._held.append(ended)
        self.waiting += count

    def sample(self, time_ns: int | None, to_take_off: int) -> None:
        """Note how many bytes must be taken off the resident set now."""
        if time_ns is not None:
            self._pass_on((time_ns, to_take_off))
            self._last = time_ns, to_take_off

    def _pass_on(self, now: tuple[int, int]) -> None:
        last = self._last or now
        for held in self._held:
            self._judge([(path, _taken_off(ends, last, now)) for path, ends in held])
        self._held.clear()
        self.waiting = 0


def _cut(ended: Sequence[EndsOfPath], count: int) -> tuple[list[EndsOfPath], list[EndsOfPath]]:
    """Return the first `count` of these ends, in the order of all, and the others."""
    last = sorted(end[0] for _, ends in ended for end in ends)[count - 1]
    first: list[EndsOfPath] = []
    rest: list[EndsOfPath] = []
    for path, ends in ended:
        first.append((path, [end for end in ends if end[0] <= last]))
        rest.append((path, [end for end in ends if end[0] > last]))
    return [each for each in first if each[1]], [each for each in rest if each[1]]


def _taken_off(ends: Sequence[EndFigures], last: tuple[int, int], now: tuple[int, int]) -> list[EndFigures]:
    """Return the ends without the bytes to be taken off, which change evenly between the two samples."""
    (began_ns, before), (ended_ns, after) = last, now
    span_ns = max(0, ended_ns - began_ns)
    per_ns = (after - before) / span_ns if span_ns else 0.0
    own = []
    for place, allocated, change, time_ns, duration_ns in ends:
        passed_ns = 0 if time_ns is None or time_ns < began_ns else min(time_ns - began_ns, span_ns)
        off = before + round(per_ns * passed_ns)
        own.append((place, allocated - off if allocated > off else 0, change, time_ns, duration_ns))
    return own
