"""What there is to know of this process's memory, and of its children's, beyond the resident set.

On Linux from /proc. A proportional set (every page divided by those that share it) is the only figure by which forked
workers can be summed: their resident sets all count the parent's pages again. But the kernel walks all page tables
for it, and who wants to map memory meanwhile waits. So it is measured only where there are workers, and only as often
as it takes a thousandth of one core. The rest keeps to the same share, for systems where it is slow.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope.backends.host_workers import PROC, descendants

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_MOST = 1000
"""One part of the time in so many is spent on the proportional sets, and one on all else."""

_UNREADABLE = (OSError, ValueError, IndexError)


class HostExtra:
    """Constructing it opens nothing, and nothing stays open."""

    def __init__(
        self, proc: str | Path = PROC, page_bytes: int = 0, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._proc = Path(proc)
        self._page_bytes = page_bytes
        self._monotonic_ns = monotonic_ns
        self._due_ns = self._proportional_due_ns = 0

    def read(self) -> dict[str, int]:
        """Bytes by name; what this system does not tell is left out, and everything where it is too early to ask again.

        `shared_bytes` (mapped files and shared memory), `swap_bytes`, `proportional_bytes`; `children`, how many there
        are, `children_resident_bytes` and `children_proportional_bytes`, all of them together.
        """
        extra: dict[str, int] = {}
        began_ns = self._monotonic_ns()
        if began_ns < self._due_ns:
            return extra
        _keep(extra, "shared_bytes", self._shared_bytes)
        _keep(extra, "swap_bytes", lambda: _labelled(self._own("status"), b"VmSwap:"))
        pids = self._measured_children(extra)
        now_ns = self._monotonic_ns()
        self._due_ns = now_ns + (now_ns - began_ns) * _AT_MOST
        if pids and now_ns >= self._proportional_due_ns:
            _keep(extra, "proportional_bytes", lambda: _labelled(self._own("smaps_rollup"), b"Pss:"))
            if "proportional_bytes" in extra:
                _keep(extra, "children_proportional_bytes", lambda: sum(map(self._proportional_bytes, pids)))
            after_ns = self._monotonic_ns()
            self._proportional_due_ns = after_ns + (after_ns - now_ns) * _AT_MOST
        return extra

    def _measured_children(self, extra: dict[str, int]) -> list[int] | None:
        """Adds how many children there are and what they hold; their pids, None where the system does not tell."""
        try:
            pids = descendants(self._proc)
        except Exception:  # psutil's errors, where psutil had to be asked
            return None
        resident = [size for size in map(self._resident_bytes, pids) if size > 0]  # a zombie holds nothing
        extra["children"] = len(resident)
        extra["children_resident_bytes"] = sum(resident)
        return pids

    def _shared_bytes(self) -> int:
        return int(self._own("statm").split()[2]) * self._page_bytes

    def _own(self, name: str) -> bytes:
        return (self._proc / str(os.getpid()) / name).read_bytes()

    def _resident_bytes(self, pid: int) -> int:
        """0 where it has ended."""
        try:
            return int((self._proc / str(pid) / "statm").read_bytes().split()[1]) * self._page_bytes
        except _UNREADABLE:
            return 0 if (self._proc / "self").exists() else _psutil_resident_bytes(pid)

    def _proportional_bytes(self, pid: int) -> int:
        """0 where it has ended. Raises PermissionError for a process of another user."""
        try:
            return _labelled((self._proc / str(pid) / "smaps_rollup").read_bytes(), b"Pss:")
        except (FileNotFoundError, ProcessLookupError, ValueError):  # a zombie's is empty
            return 0


def _keep(extra: dict[str, int], name: str, question: Callable[[], int]) -> None:
    try:
        extra[name] = question()
    except _UNREADABLE:
        return


def _labelled(text: bytes, label: bytes) -> int:
    """The kilobytes on the line with this label, in bytes. Raises ValueError where there is none."""
    start = text.index(b"\n" + label) + 1 + len(label)
    return int(text[start : text.index(b"kB", start)]) * 1024


def _psutil_resident_bytes(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
