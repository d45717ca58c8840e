"""start(oom_snapshot=DIR): what the framework itself knows of its allocations, in a file, when memory runs out."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from phasescope._log import log_once
from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from phasescope.backends.protocol import Snapshots as Recording
    from phasescope.capture.phases import phase

MAX_FILES = 3
MAX_TOTAL_BYTES = 1 << 30
"""Of one session. Once the files have come to this, no further one is written."""


class Snapshots:
    """Where the files go, and how many were written. Backends that can not record have no files."""

    def __init__(self, directory: str, name: str) -> None:
        """`name` begins each file's name. Raises ValueError where the directory can not be written to."""
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            raise ValueError(f"oom_snapshot: {directory} can not be made: {error.strerror or error}") from error
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ValueError(f"oom_snapshot: {directory} can not be written to")
        self._directory = directory
        self._name = name
        self._recording: list[Any] = []
        self._files = 0
        self._total_bytes = 0

    def begin(self, backend: Any) -> Labels | None:
        """Let a backend record, if it can; what labels its record by phase."""
        if not hasattr(backend, "snapshot_begin"):
            return None
        if not any(backend is other for other in self._recording):
            try:
                backend.snapshot_begin()
            except Exception as error:
                if is_from_signal_handler(error):
                    raise
                log_once("snapshots", "no snapshots when memory runs out: %s", type(error).__name__)
                return None
            self._recording.append(backend)
        return Labels(backend)

    def write(self, backend: Any) -> str | None:
        """The path of a file just written; None where there is none, or have been enough."""
        if not any(backend is other for other in self._recording):
            return None
        if self._files >= MAX_FILES or self._total_bytes >= MAX_TOTAL_BYTES:
            return None
        self._files += 1
        path = os.path.join(self._directory, f"{self._name}-oom-{self._files}.pickle")  # noqa: PTH118 - pathlib is not imported by a session
        try:
            backend.snapshot_write(path)
            self._total_bytes += os.stat(path).st_size  # noqa: PTH116
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            log_once("snapshot", "no snapshot in %s: %s", self._directory, type(error).__name__)
            return None
        return path

    def end(self) -> None:
        """Let no backend record any more that was made to here."""
        for backend in self._recording:
            with contextlib.suppress(Exception):
                backend.snapshot_end()


class Labels:
    """The phases as labels in a backend's record."""

    def __init__(self, backend: Recording) -> None:
        self._label = backend.snapshot_label
        self._down = False

    def enter(self, scope: phase) -> None:
        """The calling thread is in this phase now."""
        self._set("/".join(scope._path.names))

    def exit(self, scope: phase) -> None:
        """The calling thread is back in the phase around it."""
        parent = scope._parent
        self._set("" if parent is None else "/".join(parent._path.names))

    def _set(self, text: str) -> None:
        if self._down:
            return
        try:
            self._label(text)
        except Exception as error:
            self._down = True
            if is_from_signal_handler(error):
                raise
            log_once("labels", "snapshots are without the phases' names: %s", type(error).__name__)
