"""start(oom_snapshot=DIR): the framework's own record of its allocations, in a file, when memory runs out."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from phasescope._log import log_once
from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from phasescope.backends.protocol import Snapshots as Recording
    from phasescope.capture.scope import PhaseScope

MAX_FILES = 3
MAX_TOTAL_BYTES = 1 << 30
"""Of one session. Once the files have come to this, no further one is written.

A failure that an operator catches (the search for an algorithm, of which each try may fail) has a file and no event:
the last file is kept for one that has.
"""


class SnapshotFiles:
    """Where the files go, and how many were written. Backends that cannot record have no files."""

    def __init__(self, directory: str, name: str) -> None:
        """Write to this directory; `name` begins each file's name.

        Raises ValueError if the directory cannot be written to.
        """
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            raise ValueError(f"oom_snapshot: {directory} cannot be made: {error.strerror or error}") from error
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ValueError(f"oom_snapshot: {directory} cannot be written to")
        self._directory = directory
        self._name = name
        self._recording: list[Any] = []
        self._files = 0
        self._without_event = 0
        self._total_bytes = 0

    def begin(self, backend: Any) -> Labels | None:
        """Let a backend record, if it can; return the object that labels its record by phase."""
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
            if hasattr(backend, "snapshot_at_failure"):
                backend.snapshot_at_failure(partial(self._write_at_failure, backend))
        return Labels(backend)

    def write(self, backend: Any) -> str | None:
        """Return the path of a file just written; None if there is none, or if there have been enough."""
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

    def _write_at_failure(self, backend: Any) -> str | None:
        """Return the path of a file written before it is known whether anybody catches the failure."""
        if self._without_event >= MAX_FILES - 1:
            return None
        path = self.write(backend)
        if path is not None:
            self._without_event += 1
        return path

    def name_in_event(self) -> None:
        """Note that an event names a file that was written at the failure."""
        self._without_event = max(0, self._without_event - 1)

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

    def enter(self, scope: PhaseScope) -> None:
        """Note that the calling thread is in this phase now."""
        self._set("/".join(scope.phase_path.names))

    def exit(self, scope: PhaseScope) -> None:
        """Note that the calling thread is back in the phase around it."""
        parent = scope.parent_scope
        self._set("" if parent is None else "/".join(parent.phase_path.names))

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
