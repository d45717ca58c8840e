"""Follows a session from outside and writes it into a dataset, one Parquet file after another.

A file gets its name when it is complete; until then it is hidden, and no engine's pattern finds it. A
recorder that is killed leaves whole files, and the next one goes on from the ring after the last event in them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat
from phasescope._log import log_once
from phasescope.recordings.dataset import folder_of, name_of, sessions_in
from phasescope.recordings.dataset_reader import reader_of
from phasescope.recordings.notes import Note
from phasescope.recordings.open_file import RecordingInUseError
from phasescope.recordings.parquet import write
from phasescope.recordings.row_batches import RowBatches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.readers.reader import Reader
    from phasescope.recordings.columns import Rows

PART_EVENTS, PART_SECONDS = 1 << 20, 600.0
_INTERVAL_S = 0.25
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class DatasetRecorder:
    """One session into the files of its rank, until the session or `stop()` ends it.

    `events` are recorded, `missed` were overwritten before they could be read, `lost` could not be written.
    """

    remark = None

    def __init__(
        self,
        reader: Reader,
        dataset: str | os.PathLike[str],
        *,
        part_seconds: float = PART_SECONDS,
        part_events: int = PART_EVENTS,
    ) -> None:
        """Find what is there of the session already. Raises OSError, RecordingInUseError, MissingDependencyError. The
        reader is the recorder's own from here on, and is closed with it."""
        self._reader = reader
        self._part_seconds, self._part_events = part_seconds, part_events
        self._stopped = False
        self._over = False
        self._hurry = threading.Event()
        self.events = self.lost = 0
        self._name = name_of(reader.constants)
        self.path = Path(dataset) / folder_of(reader.constants)
        self._lock = -1
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            self._part, self._repeated_until = self._resume()
        except BaseException:
            self._close()
            raise

    @property
    def missed(self) -> int:
        """Events that were overwritten before they could be read, those before the recorder came included."""
        return self._reader.missed

    def size(self) -> int:
        """Return the bytes of all files of the session."""
        return sum(each.size for each in sessions_in(str(self.path)) if each.name == self._name)

    def stop(self) -> None:
        """End the recording although the session goes on. What was written until now is still taken."""
        self._stopped = True
        self._hurry.set()

    def run(self) -> None:
        """Record until the end of the session, or until `stop` is called. Closes the reader."""
        pause_s = _FIRST_PAUSE_S
        try:
            while not self._over:
                self._part += 1
                self._in_part = 0
                path = self.path / f"{self._name}.{self._part:05d}.parquet"
                try:
                    self.events += write(self._rows(), path, self._note).events
                    pause_s = _FIRST_PAUSE_S
                except OSError as error:
                    log_once("dataset", "%s cannot be written, still trying: %s", path, error.strerror or error)
                    self.lost += self._in_part
                    self._hurry.wait(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            self._close()

    def _rows(self) -> Iterator[Rows]:
        """Yield what comes until the file has enough."""
        batches = RowBatches()
        until = time.monotonic() + self._part_seconds
        while True:
            self._over = self._stopped or self._reader.state != "running"  # before reading: what came before it is read
            for event in self._reader.unread():
                if self._repeated_until is not None:
                    self._repeated_until = None if event == self._repeated_until else self._repeated_until
                    continue
                batches.add(event)
                self._in_part += 1
                if batches.full:
                    yield from batches.taken()
            if self._over or self._in_part >= self._part_events or (self._in_part and time.monotonic() >= until):
                yield from batches.rest()
                return
            self._hurry.wait(_INTERVAL_S)

    def _note(self) -> dict[str, Any]:
        reader = self._reader
        return Note(
            session=reader.constants,
            events=self.events,
            missed=reader.missed,
            damaged=reader.damaged,
            dropped=reader.dropped + self.lost,
            state=reader.state,
            heartbeat_ns=reader.heartbeat_ns,
            end=self._over,
        ).to_event()

    def _resume(self) -> tuple[int, dict[str, Any] | None]:
        """Return the number of the last file, and the last event in it if the ring still has that."""
        there = next((each for each in sessions_in(str(self.path)) if each.name == self._name), None)
        if there is None:
            return 0, None
        numbers = [each.path.removesuffix(".parquet").rpartition(".")[2] for each in there.files]
        part = int(numbers[-1]) if numbers[-1].isdecimal() and len(numbers[-1]) == 5 else 0
        if not part:
            raise FileExistsError(f"{there.files[-1].path} is there already: the session was converted")
        with reader_of(there) as before:
            self.events = before.written
            last = before.latest()
        return part, last if last is not None and any(last == event for event in self._reader.iter_events()) else None

    def _locked(self) -> int:
        """Return the descriptor of the lock that says that the session is being recorded here. Raises OSError."""
        lock = os.open(self.path / f".{self._name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        is_ours = True
        with contextlib.suppress(OSError):  # a file system without locks
            if not _os_compat.CAN_SHARE_FILES:
                return lock
            is_ours = _os_compat.lock(lock)
        if not is_ours:
            os.close(lock)
            raise RecordingInUseError(errno.EBUSY, f"another process records this session in {self.path}")
        return lock

    def _close(self) -> None:
        self._reader.close()
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                (self.path / f".{self._name}.lock").unlink()
            os.close(self._lock)
            self._lock = -1
