"""How much memory the machine has, and how much of it could be had now without swapping.

The sampler asks ten times a second. On Linux that is one read of a file kept open and two of its lines: psutil, which
takes all 50 of them apart, would cost a few times as much and is not even loaded. Elsewhere it is psutil that knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phasescope.backends.cgroup import KernelFile

if TYPE_CHECKING:
    from pathlib import Path

MEMINFO = "/proc/meminfo"


class Machine(NamedTuple):
    """In bytes; available is never more than total."""

    total_bytes: int
    available_bytes: int


class MachineMemory:
    """The machine's memory. Constructing it opens nothing."""

    def __init__(self, path: str | Path = MEMINFO) -> None:
        self._path = path
        self._file: KernelFile | None = None
        self._elsewhere = False

    def read(self) -> Machine:
        """Return the figures now. Raises OSError or psutil.Error if the system does not report it."""
        if not self._elsewhere:
            try:
                if self._file is None:
                    self._file = KernelFile(self._path)
                text = self._file.read()
                total_bytes = _bytes_of(text, b"MemTotal:")
                return Machine(total_bytes, min(_bytes_of(text, b"MemAvailable:"), total_bytes))
            except (OSError, ValueError, AttributeError):  # no such file, no such line, no pread
                self.close()
                self._elsewhere = True
        import psutil

        memory = psutil.virtual_memory()
        return Machine(memory.total, min(memory.available, memory.total))

    @property
    def file(self) -> KernelFile | None:
        """The file that they are read from; None if they are not, or it was not opened yet."""
        return self._file

    def close(self) -> None:
        """Close the file. A later read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = None


def _bytes_of(text: bytes, label: bytes) -> int:
    start = text.index(label) + len(label)
    return int(text[start : text.index(b"kB", start)]) * 1024
