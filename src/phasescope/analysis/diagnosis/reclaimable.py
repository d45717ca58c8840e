"""Memory of the process that is none of its own: pages of mapped files, which the kernel takes back when it needs them.

A file that is mapped and read (`np.load(mmap_mode="r")`, safetensors, Arrow) fills the resident set as fast as it is
read, and nothing is lost by it. So on the host it is the rest that is judged: what the process wrote itself, what of
that was swapped out, and shared memory, which no file could give back.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.spans import size_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MOST_HELD = 4096
_FEW = 8


class Files:
    """How much of the resident set are pages of mapped files, by the samples of the host."""

    def __init__(self) -> None:
        self._shared_memory = self._swapped = 0

    def of(self, event: Mapping[str, Any]) -> int | None:
        """In bytes, by this sample; None where it does not tell."""
        metadata = event["metadata"]
        shared = size_or_none(metadata.get("shared_bytes"))
        memory, swapped = (size_or_none(metadata.get(key)) for key in ("shared_memory_bytes", "swap_bytes"))
        self._shared_memory = self._shared_memory if memory is None else memory
        self._swapped = self._swapped if swapped is None else swapped
        return None if shared is None else max(0, shared - self._shared_memory)

    @property
    def swapped_bytes(self) -> int:
        """What of the process was swapped out, by the last sample that told."""
        return self._swapped


class End(NamedTuple):
    """The end of a phase on the host, as `GrowthFold.ended` has it."""

    path: tuple[str, ...]
    allocated: int
    delta: int
    time_ns: int | None
    duration_ns: int


class Own:
    """What the process had of its own at the samples: the first few since the steps began, and the last few."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: deque[int] = deque(maxlen=_FEW)

    def sample(self, size: int) -> None:
        """The next sample's, in bytes."""
        if len(self._first) < _FEW:
            self._first.append(size)
        self._last.append(size)

    def begin(self) -> None:
        """The steps begin: the sample before them is the first."""
        self._first = list(self._last)[-1:]

    def risen(self) -> int:
        """By how much it rose at most, as far as the samples tell."""
        half = (len(self._first) + 1) // 2
        return max(list(self._last)[-half:], default=0) - min(self._first[:half], default=0)


class Held:
    """Ends of phases that wait for the next sample: how much was mapped when each ended is known from the samples on
    both sides of it. Those after the last sample are not told of."""

    def __init__(self, tell: Callable[[End], None]) -> None:
        self._tell = tell
        self._waiting: list[End] = []
        self._last: tuple[int, int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether any sample said how much is mapped."""
        return self._last is not None

    @property
    def waiting(self) -> int:
        """How many are not told of yet."""
        return len(self._waiting)

    def add(self, end: End) -> None:
        """A phase has ended."""
        self._waiting.append(end)
        if len(self._waiting) >= _MOST_HELD and self._last is not None:
            self._pass_on(self._last)

    def sample(self, time_ns: int | None, to_take_off: int) -> None:
        """So many bytes are to be taken off the resident set now."""
        if time_ns is not None:
            self._pass_on((time_ns, to_take_off))
            self._last = time_ns, to_take_off

    def _pass_on(self, now: tuple[int, int]) -> None:
        for end, off in self._between(self._last or now, now):
            self._tell(end._replace(allocated=max(0, end.allocated - off)))
        self._waiting.clear()

    def _between(self, last: tuple[int, int], now: tuple[int, int]) -> Iterator[tuple[End, int]]:
        (began_ns, before), (ended_ns, after) = last, now
        per_ns = (after - before) / (ended_ns - began_ns) if ended_ns > began_ns else 0.0
        for end in self._waiting:
            passed_ns = min(max(0, (end.time_ns or began_ns) - began_ns), max(0, ended_ns - began_ns))
            yield end, before + round(per_ns * passed_ns)
