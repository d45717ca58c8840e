"""What there is to know of this process's memory, and of its children's, beyond the resident set.

On Linux from /proc. A proportional set (every page divided by those that share it) is the only figure by which forked
workers can be summed: their resident sets all count the parent's pages again. But the kernel walks all page tables
for it, and who wants to map memory meanwhile waits. So this process's own is measured only where there are workers, and
only as often as it takes a thousandth of one core; the workers' have a budget of their own (`host_private`). The rest
keeps to a thousandth as well, for systems where it is slow.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.backends.host_private import PrivateSets, labelled
from phasescope.backends.host_workers import PROC, Names, descendants

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_MOST = 1000
"""One part of the time in so many is spent on the proportional set, and one on all else."""

_MOST_CHILDREN = 64  # of which a sample tells one by one

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
        self._private = PrivateSets(self._proc)
        self._names = Names(self._proc)

    def read(self) -> dict[str, Any]:
        """Bytes by name; what this system does not tell is left out, and everything where it is too early to ask again.

        `shared_bytes` (mapped files and shared memory), `shared_memory_bytes` (the latter of it), `swap_bytes`,
        `proportional_bytes`; `children`, how many there are, `children_named`, how many of each name,
        `children_resident_bytes` and `children_proportional_bytes`, all of them together; `children_private_bytes`, of
        those whose turn it was, each as its pid and what it holds for itself alone. Where that can not be read it is
        `children_unshared_bytes`: what of the resident set is not mapped from files.
        """
        extra: dict[str, Any] = {}
        began_ns = self._monotonic_ns()
        if began_ns < self._due_ns:
            return extra
        _keep(extra, "shared_bytes", self._shared_bytes)
        self._keep_status(extra)
        pids = self._measured_children(extra, began_ns)
        now_ns = self._monotonic_ns()
        self._due_ns = now_ns + (now_ns - began_ns) * _AT_MOST
        if pids and now_ns >= self._proportional_due_ns:
            _keep(extra, "proportional_bytes", lambda: labelled(self._own("smaps_rollup"), b"Pss:"))
            if "proportional_bytes" in extra and all(pid in self._private.latest for pid in pids):
                extra["children_proportional_bytes"] = sum(sets.proportional for sets in self._private.latest.values())
            after_ns = self._monotonic_ns()
            self._proportional_due_ns = after_ns + (after_ns - now_ns) * _AT_MOST
        return extra

    def _keep_status(self, extra: dict[str, Any]) -> None:
        try:
            status = self._own("status")
        except OSError:
            return
        _keep(extra, "shared_memory_bytes", lambda: labelled(status, b"RssShmem:"))
        _keep(extra, "swap_bytes", lambda: labelled(status, b"VmSwap:"))

    def _measured_children(self, extra: dict[str, Any], now_ns: int) -> list[int] | None:
        """Adds how many children there are and what they hold; the pids of those that hold something, None where the
        system does not tell."""
        try:
            pids = descendants(self._proc)
        except Exception:  # psutil's errors, where psutil had to be asked
            return None
        found = {pid: sizes for pid in pids if (sizes := self._sizes(pid))[0] > 0}  # a zombie holds nothing
        extra["children"] = len(found)
        extra["children_resident_bytes"] = sum(resident for resident, _ in found.values())
        alive = list(found)
        names = self._names.of(alive)
        if names:
            extra["children_named"] = names
        measured = self._private.measure(alive, now_ns) if self._private.is_readable else []
        if measured:
            latest = self._private.latest
            extra["children_private_bytes"] = [[pid, latest[pid].private] for pid in measured[:_MOST_CHILDREN]]
        elif alive and not self._private.is_readable and self._page_bytes:
            extra["children_unshared_bytes"] = [[pid, found[pid][1]] for pid in alive[:_MOST_CHILDREN]]
        return alive

    def _shared_bytes(self) -> int:
        return int(self._own("statm").split()[2]) * self._page_bytes

    def _own(self, name: str) -> bytes:
        return (self._proc / str(os.getpid()) / name).read_bytes()

    def _sizes(self, pid: int) -> tuple[int, int]:
        """The resident set, and what of it is not mapped from files or shared memory; 0 where it has ended."""
        try:
            resident, shared = (self._proc / str(pid) / "statm").read_bytes().split()[1:3]
            return int(resident) * self._page_bytes, (int(resident) - int(shared)) * self._page_bytes
        except _UNREADABLE:
            size = 0 if (self._proc / "self").exists() else _psutil_resident_bytes(pid)
            return size, size


def _keep(extra: dict[str, Any], name: str, question: Callable[[], int]) -> None:
    try:
        extra[name] = question()
    except _UNREADABLE:
        return


def _psutil_resident_bytes(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
