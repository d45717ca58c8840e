"""Details of this process's memory, and of its children's, beyond the resident set.

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

from phasescope.backends.cgroup import KernelFile
from phasescope.backends.child_processes import PROC, ProcessNames, descendants
from phasescope.backends.host_private import PrivateSets, labelled

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_MOST = 1000
"""The proportional set takes one part in this many of one core's time, and all else another one."""

_WAITING_AT_MOST = 10
"""Waiting for other threads to release the interpreter takes one part in this many of the time."""

_MOST_CHILDREN = 64  # that a sample lists one by one

_UNREADABLE = (OSError, ValueError, IndexError)


class _Spent:
    """Limits the work inside it: it may be done again at `due_ns`, by the time that it took."""

    def __init__(self, monotonic_ns: Callable[[], int], cpu_ns: Callable[[], int]) -> None:
        self._clocks = monotonic_ns, cpu_ns
        self.due_ns = 0

    def __enter__(self) -> _Spent:
        self._began = [clock() for clock in self._clocks]
        return self

    def __exit__(self, *_: object) -> None:
        now_ns, cpu_ns = (clock() for clock in self._clocks)
        waited_ns, worked_ns = now_ns - self._began[0], cpu_ns - self._began[1]
        self.due_ns = now_ns + max(worked_ns * _AT_MOST, waited_ns * _WAITING_AT_MOST)


class HostExtra:
    """Constructing it opens nothing. This process's own files stay open, the others' do not."""

    def __init__(
        self,
        proc: str | Path = PROC,
        page_bytes: int = 0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._proc = Path(proc)
        self._page_bytes = page_bytes
        self._monotonic_ns = monotonic_ns
        self._cpu_ns = cpu_ns
        self._due_ns = self._proportional_due_ns = 0
        self._private = PrivateSets(self._proc)
        self._names = ProcessNames(self._proc)
        self._files: dict[str, KernelFile] = {}

    def close(self) -> None:
        """Close the files. A later reading opens them again."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self) -> dict[str, Any]:
        """Return bytes by name.

        Figures that this system does not have are left out, and everything if it is too early to ask again.

        `shared_bytes` (mapped files and shared memory), `shared_memory_bytes` (the latter of it), `swap_bytes`,
        `proportional_bytes`; `children`, how many there are, `children_named`, how many of each name,
        `children_resident_bytes` and `children_proportional_bytes`, all of them together; `children_private_bytes`,
        each as its pid, what it held for itself alone when its turn came last, and True if it is a DataLoader's.
        Where that cannot be read it is `children_unshared_bytes`: what of the resident set is not mapped from files.
        """
        extra: dict[str, Any] = {}
        if self._monotonic_ns() < self._due_ns:
            return extra
        with self._timed() as spent:
            _keep(extra, "shared_bytes", self._shared_bytes)
            self._keep_status(extra)
            children = self._measured_children(extra)
        self._due_ns = spent.due_ns
        if children:
            self._measure_each(extra, children)
            self._measure_own(extra, children)
        return extra

    def _timed(self) -> _Spent:
        return _Spent(self._monotonic_ns, self._cpu_ns)

    def _measure_each(self, extra: dict[str, Any], children: dict[int, int]) -> None:
        """Add what each child has for itself; or what of it is not mapped, where that cannot be read."""
        if self._private.is_readable:
            self._private.measure(list(children), self._monotonic_ns())
        if self._private.is_readable:
            latest = self._private.latest
            each = {pid: latest[pid].private for pid in children if pid in latest}
            _keep_each(extra, "children_private_bytes", each, self._names)
        elif self._page_bytes:
            _keep_each(extra, "children_unshared_bytes", children, self._names)

    def _measure_own(self, extra: dict[str, Any], children: dict[int, int]) -> None:
        """Add the proportional sets, if it is time."""
        if self._monotonic_ns() < self._proportional_due_ns:
            return
        with self._timed() as spent:
            _keep(extra, "proportional_bytes", lambda: labelled(self._own("smaps_rollup"), b"Pss:"))
        self._proportional_due_ns = spent.due_ns
        latest = self._private.latest
        if "proportional_bytes" in extra and all(pid in latest for pid in children):
            extra["children_proportional_bytes"] = sum(sets.proportional for sets in latest.values())

    def _keep_status(self, extra: dict[str, Any]) -> None:
        try:
            status = self._own("status")
        except OSError:
            return
        _keep(extra, "shared_memory_bytes", lambda: labelled(status, b"RssShmem:"))
        _keep(extra, "swap_bytes", lambda: labelled(status, b"VmSwap:"))

    def _measured_children(self, extra: dict[str, Any]) -> dict[int, int] | None:
        """Add how many children there are and what they hold. By the pids of those that hold something what of it is
        not mapped; None if the system does not report it."""
        try:
            pids = descendants(self._proc)
        except Exception:  # psutil's errors, where psutil had to be asked
            return None
        children = {pid: sizes for pid in pids if (sizes := self._sizes(pid))[0] > 0}  # a zombie holds nothing
        extra["children"] = len(children)
        extra["children_resident_bytes"] = sum(resident for resident, _ in children.values())
        names = self._names.of(list(children))
        if names:
            extra["children_named"] = names
        return {pid: unshared for pid, (_, unshared) in children.items()}

    def _shared_bytes(self) -> int:
        return int(self._own("statm").split()[2]) * self._page_bytes

    def _own(self, name: str) -> bytes:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = KernelFile(self._proc / str(os.getpid()) / name)
        return file.read()

    def _sizes(self, pid: int) -> tuple[int, int]:
        """Return the resident set, and what of it is not mapped from files or shared memory; 0 if it has ended."""
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


def _keep_each(extra: dict[str, Any], name: str, each: dict[int, int], names: ProcessNames) -> None:
    if each:
        children = list(each.items())[:_MOST_CHILDREN]
        extra[name] = [[pid, size, True] if names.is_data_worker(pid) else [pid, size] for pid, size in children]


def _psutil_resident_bytes(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
