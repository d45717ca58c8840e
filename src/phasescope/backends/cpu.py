"""The host: this process's resident set, and the memory of the machine or of the container around it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope.backends.cgroup import KernelFile, MemoryCgroup
from phasescope.backends.host_details import HostExtra
from phasescope.backends.host_peak import HighWater
from phasescope.backends.library_counters import Libraries
from phasescope.backends.meminfo import MachineMemory
from phasescope.backends.protocol import HOST_DEVICE, DeviceCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from phasescope.backends.protocol import DeviceIdentity, PlainCounters, Unavailable

STATM = "/proc/self/statm"


def _no_pread(fd: int, length: int, offset: int) -> bytes:
    raise OSError("this system has no pread")


_pread: Callable[[int, int, int], bytes] = getattr(os, "pread", _no_pread)
TOUCHING_NS = 5_000
"""How far apart boundaries of a thread may be that share a reading: as near as the compiled core's come. In that time
the kernel gives or takes fewer pages than its count may be off by, or one huge page."""
_FIGURES_NS = 250_000_000
_UNREADABLE = (OSError, IndexError, ValueError)
_SAME_CLOCKS: dict[Any, tuple[Any, ...]] = (
    {time.perf_counter_ns: (time.monotonic_ns,)} if sys.platform == "linux" else {}
)
_PAGE_BYTES: int = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


if TYPE_CHECKING or not _native.has_phases:

    class _Figures:
        """The machine's memory, as it was read last."""

        __slots__ = ("due_ns", "figures")

        figures: DeviceCounters
        due_ns: int

        def know(self, *_: object) -> None:
            pass

        def forget(self) -> None:
            self.due_ns = 0

else:
    _Figures = _native.core.HostFigures


class Cpu:
    """The host's own memory, as a backend with the one device `HOST_DEVICE`.

    Allocated and reserved are both the resident set of this process: what of it is in physical memory now.
    On Linux it comes from `/proc/self/statm`, elsewhere from psutil.
    """

    name = "cpu"
    unavailable: tuple[str, ...] = ("allocator_active_bytes", "allocator_inactive_bytes")

    def __init__(
        self,
        *,
        statm: str | Path = STATM,
        cgroup: MemoryCgroup | None = None,
        touching_ns: int = TOUCHING_NS,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._held = _Figures()
        self._held.figures = DeviceCounters()
        self._held.due_ns = 0
        self._statm_path = statm
        self._statm: KernelFile | None = None
        self._fd = -1
        self._reader: Any = None
        if _native.core is not None and _pread is not _no_pread:
            # By a proxy, so that all is closed with this object: who has the reader has this too.
            elsewhere = partial(Cpu.allocator, weakref.proxy(self))
            self._reader = _native.core.ResidentSet(_PAGE_BYTES, elsewhere, touching_ns)
        self._lock = threading.Lock()
        self._resident_elsewhere: Callable[[], int] | None = None
        self._cgroup = MemoryCgroup() if cgroup is None else cgroup
        self._machine = MachineMemory()
        self._machine_bytes = 0
        self._extra = HostExtra(page_bytes=_PAGE_BYTES)
        self._libraries = Libraries()
        self._high_water = HighWater()
        _open_here.add(self)

    def why_not(self) -> Unavailable | None:
        """Return None: every process has a resident set."""
        return None

    def ready(self) -> bool:
        """Return True: the host is always in use."""
        return True

    def devices(self) -> Sequence[int]:
        """Return `(HOST_DEVICE,)`."""
        return (HOST_DEVICE,)

    def current_device(self) -> int:
        """Return `HOST_DEVICE`."""
        return HOST_DEVICE

    def allocator(self, device: int = HOST_DEVICE) -> PlainCounters:
        """Return (resident set, resident set, None, None) in bytes.

        Raises OSError or psutil.Error if the system does not report it.
        """
        try:
            resident_bytes = int(_pread(self._fd, 64, 0).split()[1]) * _PAGE_BYTES  # _resident_bytes, inlined
        except _UNREADABLE as error:  # not opened yet, or closed by someone else
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None and _pread is not _no_pread:
                raise  # by no call of the line above, but by a signal handler of the training's in between
            with self._lock:
                resident_bytes = self._reopened_resident_bytes()
        return resident_bytes, resident_bytes, None, None

    @property
    def quick_allocator(self) -> Callable[[int], PlainCounters] | None:
        """The same out of the compiled core; None where there is none, or `allocator` is somebody else's."""
        return self._reader if type(self) is Cpu and "allocator" not in self.__dict__ else None

    def device(self, device: int = HOST_DEVICE) -> DeviceCounters:
        """Return the machine's memory, or the container's where a cgroup limits it below that.

        Machine: used is the total less what is available. Container: used is the group's usage less
        its inactive file pages, page cache that the kernel gives back before it kills anyone; free is what is
        left below the limit, and never more than the machine has. They are read again four times a second at most:
        the kernel takes longer for them than for all else that a sample needs. Raises OSError if the system does
        not tell.
        """
        held = self._held
        now_ns = self._monotonic_ns()
        if now_ns >= held.due_ns:
            held.figures = self._read_figures()
            held.due_ns = now_ns + _FIGURES_NS
            self._let_core_read(held)
        return held.figures

    def core_figures(self, monotonic_ns: Callable[[], int]) -> Any:
        """Return what the compiled core reads these figures with, in the time of this clock; None if it cannot."""
        same = (monotonic_ns, *_SAME_CLOCKS.get(monotonic_ns, ()))
        is_same_time = self._monotonic_ns in same and self._cgroup.monotonic_ns in same
        return self._held if is_same_time and self.quick_allocator is not None else None

    def _let_core_read(self, held: _Figures) -> None:
        """Say which files these figures were read from, for as long as the group's limits are known."""
        group, meminfo, statm = self._cgroup.known(), self._machine.file, self._statm
        if group is None or meminfo is None or statm is None:
            held.know(0, (-1, 0, 0), (-1, 0, 0), 0)
            return
        until_ns, lowest = group
        machine_bytes = self._machine_bytes
        files: tuple[Any, ...] = (until_ns, statm.identity, meminfo.identity, machine_bytes)
        if lowest is not None and lowest[1] < machine_bytes:
            level, limit_bytes = lowest
            files += (limit_bytes, *level.files_of_use())
        held.know(*files)

    def _read_figures(self) -> DeviceCounters:
        self._let_go_of_lost()
        machine_bytes, available_bytes = self._machine.read()
        self._machine_bytes = machine_bytes
        limit = self._cgroup.limit(machine_bytes)
        if limit is None:
            return DeviceCounters(machine_bytes - available_bytes, available_bytes, machine_bytes)
        total_bytes = limit.limit_bytes
        used_bytes = min(limit.used_bytes, total_bytes)
        return DeviceCounters(used_bytes, min(total_bytes - used_bytes, available_bytes), total_bytes)

    def identity(self, device: int = HOST_DEVICE) -> DeviceIdentity | None:
        """Return None: no driver knows the host."""
        return None

    def extra(self, device: int = HOST_DEVICE) -> dict[str, Any]:
        """Return shared, proportional and swapped memory, also of the child processes (`HostExtra.read`), and what
        libraries count (`Libraries.read`)."""
        if self._cgroup.look_again():  # this is asked once a second: until then the core goes by what it finds now
            self._let_core_read(self._held)
        return {**self._extra.read(), **self._libraries.read()}

    def glance(self, device: int = HOST_DEVICE) -> dict[str, Any]:
        """Return `shared_bytes`: the part of the resident set that is mapped files and shared memory.

        Nothing if that is not known.
        """
        try:
            return {"shared_bytes": int(_pread(self._fd, 64, 0).split()[2]) * _PAGE_BYTES}
        except _UNREADABLE:
            return {}

    def peak(self, device: int = HOST_DEVICE) -> int:
        """Return the largest resident set since `reset_peak`, in bytes. Raises NotImplementedError if there is
        none."""
        return self._high_water.read()

    def reset_peak(self, device: int = HOST_DEVICE) -> None:
        """Set the kernel's mark back: see `HighWater.reset`."""
        self._high_water.reset()

    def close(self) -> None:
        """Close what is open. A later call opens it again."""
        self._high_water.close()
        self._held.forget()
        self._hold(-1)
        if self._statm is not None:
            self._statm.close()
        self._statm = None
        self._resident_elsewhere = None
        self._machine.close()
        self._cgroup.close()
        self._extra.close()

    def _let_go_of_lost(self) -> None:
        """Close a descriptor whose number is another file's by now: figures in that would be taken for memory. Asking
        at each boundary would cost as much as the reading."""
        with self._lock:
            if self._statm is not None and not self._statm.is_held():
                self._statm = None
                self._hold(-1)

    def _hold(self, fd: int) -> None:
        self._fd = fd
        if self._reader is not None:
            self._reader.fd = fd

    def _reopened_resident_bytes(self) -> int:
        with contextlib.suppress(*_UNREADABLE):
            return _resident_bytes(self._fd)  # another thread was here first
        if self._statm is not None:
            self._statm.close()  # unless its descriptor is somebody else's by now
        self._statm = None
        self._hold(-1)
        if self._resident_elsewhere is None:
            with contextlib.suppress(*_UNREADABLE):
                statm = KernelFile(self._statm_path)
                resident_bytes = _resident_bytes(statm.fd)
                self._statm = statm
                self._hold(statm.fd)
                return resident_bytes
            self._resident_elsewhere = _psutil_resident_bytes()  # no such file: do not try at every boundary
        return self._resident_elsewhere()


def _resident_bytes(statm_fd: int) -> int:
    return int(_pread(statm_fd, 64, 0).split()[1]) * _PAGE_BYTES


def _psutil_resident_bytes() -> Callable[[], int]:
    import psutil

    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


_open_here: weakref.WeakSet[Cpu] = weakref.WeakSet()


def _forget_parent() -> None:
    """In a forked child, close the inherited descriptors: they go on showing the parent's figures."""
    for backend in list(_open_here):
        backend._lock = threading.Lock()  # a thread that is not in the child may have held it
        backend.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
