"""The memory that each child process holds for itself alone, measured in turn, within a budget.

A forked worker shares its parent's pages until one of them writes to them, and CPython writes wherever it counts a
reference. So a list of many small objects is copied page by page into each worker that reads it, and neither the
resident set nor anything in it says so: what was shared is private now. Only the kernel's walk over the page tables
tells (`smaps_rollup`): about 1 ms for each 200 MiB resident.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_AT_MOST = 250
"""It takes one part in this many of one core's time."""

_SAVED_NS = 20_000_000  # at most at once, if nothing was spent for a while
_FIRST_NS = 180_000_000  # more at first, once: a short run is soon over, and a few samples show nothing


class Sets(NamedTuple):
    """In bytes. `private` are the pages that no other process has and that no file could give back."""

    private: int
    proportional: int


class PrivateSets:
    """The children's, each as of when its turn came last. `is_readable` is False once none could be read."""

    def __init__(self, proc: Path, cpu_ns: Callable[[], int] = time.thread_time_ns) -> None:
        self._proc = proc
        self._cpu_ns = cpu_ns
        self._credit_ns, self._reserve_ns = _SAVED_NS, _FIRST_NS
        self._refilled_ns: int | None = None
        self._turn: list[int] = []
        self.latest: dict[int, Sets] = {}
        self.is_readable = True

    def measure(self, pids: Sequence[int], now_ns: int) -> list[int]:
        """Measure those whose turn it is, of the processes alive now; which it were."""
        if self._refilled_ns is not None:
            self._refill((now_ns - self._refilled_ns) // _AT_MOST)
        self._refilled_ns = now_ns
        alive = set(pids)
        self.latest = {pid: sets for pid, sets in self.latest.items() if pid in alive}
        self._turn = [pid for pid in self._turn if pid in alive]
        in_turn = set(self._turn)
        self._turn = [pid for pid in pids if pid not in in_turn] + self._turn
        return [pid for pid in self._in_turn() if pid in self.latest]

    def _refill(self, earned_ns: int) -> None:
        self._credit_ns = min(_SAVED_NS, self._credit_ns + earned_ns)
        if self.latest:
            from_reserve_ns = min(self._reserve_ns, _SAVED_NS - self._credit_ns)
            self._credit_ns += from_reserve_ns
            self._reserve_ns -= from_reserve_ns

    def _in_turn(self) -> Sequence[int]:
        """Return those for which there is time now: they come last the next time. What the last of them takes may be
        owed."""
        began_ns, asked = self._cpu_ns(), []
        for pid in list(self._turn):
            if self._credit_ns <= 0:
                break
            asked.append(pid)
            self._read(pid)
            ended_ns = self._cpu_ns()
            self._credit_ns -= ended_ns - began_ns
            began_ns = ended_ns
        self._turn = [*self._turn[len(asked) :], *asked]
        return asked

    def _read(self, pid: int) -> None:
        try:
            text = (self._proc / str(pid) / "smaps_rollup").read_bytes()
            private = labelled(text, b"Private_Dirty:") + labelled(text, b"Swap:")
            self.latest[pid] = Sets(private, labelled(text, b"Pss:"))
        except (ProcessLookupError, ValueError):  # it has ended; a zombie's is empty
            self.latest.pop(pid, None)
        except OSError:  # another user's, or a kernel that has no such file
            self.latest.pop(pid, None)
            self.is_readable = bool(self.latest) or not (self._proc / str(pid)).exists()


def labelled(text: bytes, label: bytes) -> int:
    """Return the kilobytes on the line with this label, in bytes. Raises ValueError if there is none."""
    start = text.index(b"\n" + label) + 1 + len(label)
    return int(text[start : text.index(b"kB", start)]) * 1024
