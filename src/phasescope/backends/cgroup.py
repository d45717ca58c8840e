"""The memory limit that a Linux control group puts on this process, cgroup v1 and v2.

Files are located and opened once and read again: limits may change while the process runs, but hardly ten times a
second, which is how often the sampler asks. What is used is read each time, the limits once a second.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

CGROUP_ROOT = "/sys/fs/cgroup"
MEMBERSHIP = "/proc/self/cgroup"

_LIMITS_NS = 1_000_000_000

_READ_BYTES = 16384
"""More than any of these files holds: `memory.stat`, the longest, has about 2,000."""


class Limit(NamedTuple):
    """A group's limit, and what the group uses of it that could not simply be taken back, in bytes."""

    limit_bytes: int
    used_bytes: int


class KernelFile:
    """A small file whose text the kernel makes again at each read, kept open.

    Closed with the object or by `close()`. Daemons close all descriptors they find, and their next file may get the
    same number: that one is neither read, nor written to, nor closed.
    """

    __slots__ = ("__weakref__", "_found", "_mode", "_path", "close", "fd")

    def __init__(self, path: str | Path, mode: int = os.O_RDONLY) -> None:
        """Open the file. Raises OSError if it cannot be opened."""
        self._path, self._mode = path, mode
        self._open()

    def _open(self) -> None:
        self.fd = os.open(self._path, self._mode)
        self._found = os.fstat(self.fd)
        self.close = weakref.finalize(self, _close, self.fd, self._found)

    def read(self) -> bytes:
        """Return the text as it is now. Raises OSError once what it speaks of is gone."""
        self._regain()
        return os.pread(self.fd, _READ_BYTES, 0)

    def write(self, data: bytes) -> None:
        """Write the text. Raises OSError if the kernel refuses it."""
        self._regain()
        os.write(self.fd, data)

    @property
    def identity(self) -> tuple[int, int, int]:
        """The descriptor, with the device and number of its file: enough to read it without this object."""
        return self.fd, self._found.st_dev, self._found.st_ino

    def is_held(self) -> bool:
        """Return whether the descriptor is still the file's."""
        return _is_still(self.fd, self._found)

    def _regain(self) -> None:
        if not self.is_held():
            self.close.detach()
            self._open()


class MemoryCgroup:
    """The chain of memory groups around this process, from the outermost that can be seen.

    Constructing it opens nothing. One thread at a time may use it.
    """

    def __init__(
        self,
        root: str | Path = CGROUP_ROOT,
        membership: str | Path = MEMBERSHIP,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._root = Path(root)
        self._membership = Path(membership)
        self.monotonic_ns = monotonic_ns
        self._levels: list[_CgroupLevel] | None = None
        self._lowest: tuple[_CgroupLevel, int] | None = None
        self._limits_due_ns = 0

    def limit(self, below_bytes: int) -> Limit | None:
        """Return the lowest limit of the chain, with the use of the group that has it.

        None if none is below `below_bytes`, and where the files cannot be read.
        """
        for _ in range(2):
            with contextlib.suppress(OSError, ValueError):
                return self._limit(below_bytes)
            self.close()  # the group is gone, so the process was moved to another one: look once more
        return None

    def known(self) -> tuple[int, tuple[_CgroupLevel, int] | None] | None:
        """Return until when the limits are known, and the group with the lowest; None if they are not known now."""
        return None if self._levels is None else (self._limits_due_ns, self._lowest)

    def look_again(self) -> bool:
        """Read the limits again now, if they were read before; return whether they are known."""
        if self._levels is None:
            return False
        with contextlib.suppress(OSError, ValueError):
            self._find_limits(self.monotonic_ns())
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the files. A later question opens them again."""
        for level in self._levels or ():
            level.close()
        self._levels = self._lowest = None

    def _limit(self, below_bytes: int) -> Limit | None:
        now_ns = self.monotonic_ns()
        if self._levels is None or now_ns >= self._limits_due_ns:
            self._find_limits(now_ns)
        if self._lowest is None:
            return None
        level, limit_bytes = self._lowest
        return Limit(limit_bytes, level.used_bytes()) if limit_bytes < below_bytes else None

    def _find_limits(self, now_ns: int) -> None:
        self._find_lowest()
        self._limits_due_ns = now_ns + _LIMITS_NS

    def _find_lowest(self) -> None:
        if self._levels is None:
            self._levels = _locate(self._root, self._membership)
        self._lowest = None
        for level in self._levels:  # on a tie the outer one holds: its use is that of more processes
            limit_bytes = level.limit_bytes()
            if limit_bytes is not None and (self._lowest is None or limit_bytes < self._lowest[1]):
                self._lowest = (level, limit_bytes)


class _InterfaceNames(NamedTuple):
    """How one version of the interface names what is read here."""

    limit: str
    usage: str
    stat: str
    reclaimable: bytes


_V1 = _InterfaceNames("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", b"\ntotal_inactive_file ")
_V2 = _InterfaceNames("memory.max", "memory.current", "memory.stat", b"\ninactive_file ")


class _CgroupLevel:
    """One group of the chain."""

    def __init__(self, group: Path, names: _InterfaceNames) -> None:
        """Open the group's files. Raises OSError if the group has no memory controller, as the root of v2 has none."""
        self._limit = KernelFile(group / names.limit)
        self._usage = KernelFile(group / names.usage)
        self._stat = KernelFile(group / names.stat)
        self._reclaimable = names.reclaimable

    def limit_bytes(self) -> int | None:
        text = self._limit.read().strip()
        return int(text) if text.isdigit() else None  # "max"

    def used_bytes(self) -> int:
        """Return the usage less the inactive file pages.

        These are page cache: the kernel gives them back before it kills anyone, so a process that merely read
        a large file is not short of memory.
        """
        stat = b"\n" + self._stat.read()
        start = stat.find(self._reclaimable)
        reclaimable = stat[start + len(self._reclaimable) :].split(b"\n", 1)[0] if start >= 0 else b"0"
        return max(int(self._usage.read()) - int(reclaimable), 0)

    def files_of_use(self) -> tuple[tuple[int, int, int], tuple[int, int, int], bytes]:
        """Return the identities of the files of `used_bytes`, and the label in the second, at the start of a line."""
        return self._usage.identity, self._stat.identity, self._reclaimable[1:]

    def close(self) -> None:
        for file in (self._limit, self._usage, self._stat):
            file.close()


def _locate(root: Path, membership: Path) -> list[_CgroupLevel]:
    """Return the groups around this process, the outermost first; empty if none can be read."""
    if not hasattr(os, "pread"):
        return []
    paths = _paths(membership)
    for base, hierarchy, names in (
        (root / "memory", "memory", _V1),
        (root, "", _V2),
        (root / "unified", "", _V2),  # hybrid: v2 beside v1
    ):
        levels = _chain(base, paths[hierarchy], names) if hierarchy in paths else []
        if levels:
            return levels
    return []


def _paths(membership: Path) -> dict[str, str]:
    """Return this process's group in the v1 memory hierarchy (`"memory"`) and in v2 (`""`), if it is in one."""
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    paths: dict[str, str] = {}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator:
            paths.update((name, path) for name in controllers.split(",") if name in ("", "memory"))
    return paths


def _chain(base: Path, path: str, names: _InterfaceNames) -> list[_CgroupLevel]:
    group = base / path.strip("/")
    if ".." in path.split("/") or not os.path.isdir(group):  # noqa: PTH112 - Path.is_dir raises where it may not look
        group = base  # a container sees its own group as the root, whatever its path is outside
    levels: list[_CgroupLevel] = []
    while True:
        with contextlib.suppress(OSError):  # no memory controller here, or not ours to read
            levels.append(_CgroupLevel(group, names))
        if group == base:
            return levels[::-1]
        group = group.parent


def _is_still(fd: int, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), opened)
    except OSError:
        return False


def _close(fd: int, opened: os.stat_result) -> None:
    if _is_still(fd, opened):
        with contextlib.suppress(OSError):
            os.close(fd)
