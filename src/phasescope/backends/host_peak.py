"""The kernel's high-water mark of this process's resident set, and setting it back. Linux only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from phasescope.backends.cgroup import KernelFile

if TYPE_CHECKING:
    from pathlib import Path

STATUS = "/proc/self/status"
CLEAR_REFS = "/proc/self/clear_refs"
_RESET_HIGH_WATER = b"5"
_LABEL = b"\nVmHWM:"


class HighWater:
    """The two files, opened on first use. One thread at a time may use it."""

    def __init__(self, status: str | Path = STATUS, clear_refs: str | Path = CLEAR_REFS) -> None:
        self._status_path = status
        self._clear_refs_path = clear_refs
        self._status: KernelFile | None = None
        self._clear_refs: KernelFile | None = None

    def read(self) -> int:
        """Return the largest resident set since the mark was set back, in bytes.

        Raises NotImplementedError if this system does not report it.
        """
        try:
            if self._status is None:
                self._status = KernelFile(self._status_path)
            text = self._status.read()
            start = text.index(_LABEL) + len(_LABEL)
            return int(text[start : text.index(b"kB", start)]) * 1024
        except (OSError, ValueError, AttributeError) as error:  # no such file, no such line, no pread
            raise NotImplementedError("this system does not report a process's largest resident set") from error

    def reset(self) -> None:
        """Set the mark back to the resident set as it is now.

        Changes what `resource.getrusage` says of this process too. Raises NotImplementedError if the system does not
        let a process do that.
        """
        try:
            if self._clear_refs is None:
                self._clear_refs = KernelFile(self._clear_refs_path, os.O_WRONLY)
            self._clear_refs.write(_RESET_HIGH_WATER)
        except OSError as error:
            raise NotImplementedError("this system does not let a process reset its largest resident set") from error

    def close(self) -> None:
        """Close the files. A later call opens them again."""
        for file in (self._status, self._clear_refs):
            if file is not None:
                file.close()
        self._status = self._clear_refs = None
