"""Follows a session and writes what comes into a recording: from outside, or in a thread of the process itself.

It is a reader like any other. The training pays for it only where it shares the process: then it takes a turn a few
times a second.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._forks import WorkingThread
from phasescope._log import log_once, warn
from phasescope.readers.reader import SessionNotFoundError, state_of
from phasescope.recordings.formats import real_path, split_ending
from phasescope.recordings.jsonl_writer import DEFAULT_BYTES, Writer
from phasescope.recordings.line_text import line_of
from phasescope.recordings.notes import Note
from phasescope.recordings.open_file import RecordingInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from phasescope.readers.reader import Reader

_INTERVAL_S = 0.25
_BATCH_BYTES = 1 << 18
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Recorder:
    """One session into one recording, until the session or `stop()` ends it.

    `events` are recorded, `missed` were overwritten before they could be read, `lost` could not be written at the very
    end. `failures` counts failed writes; those are tried again, with growing pauses.
    """

    def __init__(
        self,
        reader: Reader,
        path: str | os.PathLike[str],
        *,
        inside: bool = False,
        max_bytes: int = DEFAULT_BYTES,
        part_bytes: int | None = None,
    ) -> None:
        """Open the recording. Raises what `Writer` does. The reader is the recorder's own from here on, and is closed
        with it."""
        self.events = self.lost = self.failures = 0
        self._reader = reader
        self._inside = inside
        self._noted_missed = 0
        self._pending: list[bytes] = []
        self._pending_bytes = self._pending_events = 0
        self._stopped = False
        self._hurry = threading.Event()
        self._repeated_until = None if inside else self._resume(real_path(path))  # inside it is new in any file
        try:
            self._writer = Writer(path, self._first_lines, max_bytes=max_bytes, part_bytes=part_bytes)
        except BaseException:
            reader.close()
            raise
        self._batch_bytes = min(_BATCH_BYTES, self._writer.part_bytes // 4)

    @property
    def path(self) -> Path:
        """Where it is recorded; elsewhere than at first where something else has taken the file's place meanwhile."""
        return self._writer.path

    @property
    def remark(self) -> str | None:
        """What its user should know of the file."""
        if not self._writer.is_open_to_others:
            return None
        return f"{self.path} can be read by other users as well; `chmod 600` closes it to them"

    @property
    def missed(self) -> int:
        """Events that were overwritten before they could be read, those before the recorder came included."""
        return self._reader.missed

    def size(self) -> int:
        """Return the bytes of the file that is written now. Raises OSError."""
        return self.path.stat().st_size

    def run(self, work: AbstractContextManager[object] | None = None) -> None:
        """Record until the end of the session, or until `stop` is called. Closes the recording and the reader.

        What is done between two pauses is done inside of `work`.
        """
        try:
            over = False
            while not over:
                with work or contextlib.nullcontext():
                    over = self._stopped or self._is_over()  # before reading: what came before it is read
                    for event in self._reader.unread():
                        self._take(event)
                    self._flush()
                if not over:
                    self._hurry.wait(_INTERVAL_S)
            self._end()
        finally:
            self._writer.abandon()  # a ring that cannot be read any more leaves the recording as it is
            self._reader.close()

    def finish(self) -> None:
        """Note that the session is about to end, or has: read on without waiting, and end with it."""
        self._hurry.set()

    def stop(self) -> None:
        """End the recording although the session goes on. What was written until now is still taken."""
        self._stopped = True
        self._hurry.set()

    def abandon_in_child(self) -> None:
        """In a forked child, let go: the file, and the lock that says it is being written, are the parent's."""
        self._writer.abandon()

    def _is_over(self) -> bool:
        return state_of(self._reader, inside=self._inside) != "running"

    def _resume(self, path: Path) -> dict[str, Any] | None:
        """Return how far the recording has this session already: the last event that need not be written again."""
        from phasescope.recordings.reader import RecordingReader

        session_id = self._reader.constants["session_id"]
        if not path.is_file():
            return None
        try:
            with RecordingReader.open(f"{path}#{session_id}") as before:
                last = before.latest()
                self.events = before.written
        except (SessionNotFoundError, OSError, ImportError):
            return None
        return last if last is not None and any(event == last for event in self._reader.iter_events()) else None

    def _take(self, event: dict[str, Any]) -> None:
        if self._repeated_until is not None:
            if event == self._repeated_until:
                self._repeated_until = None
                self._noted_missed = self._reader.missed
            return
        if self._reader.missed > self._noted_missed:
            self._add(line_of(self._note().to_event()))
            self._noted_missed = self._reader.missed
        self._add(line_of(event))
        self._pending_events += 1
        if self._pending_bytes >= self._batch_bytes:
            self._flush()

    def _add(self, line: bytes) -> None:
        self._pending.append(line)
        self._pending_bytes += len(line)

    def _flush(self) -> None:
        """Write what was read. While that fails nothing more is read; the ring goes on meanwhile, and counts."""
        pause_s = _FIRST_PAUSE_S
        while self._pending:
            before = self.path
            try:
                self._writer.write(b"".join(self._pending))
                self.events += self._pending_events
                if self.path != before:
                    log_once("recording moved", "%s is another file by now; recording goes on in %s", before, self.path)
            except OSError as error:
                self.failures += 1
                log_once("recording", "%s cannot be written, still trying: %s", before, error.strerror or error)
                # At the end of the session there is no more time than for one more try.
                if not self._hurry.wait(pause_s) and not (pause_s > _FIRST_PAUSE_S and self._is_over()):
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                self._hurry.set()  # what is left gets one try as well
                self.lost += self._pending_events
            self._pending.clear()
            self._pending_bytes = self._pending_events = 0

    def _end(self) -> None:
        try:
            self._writer.write(line_of(self._note(end=True).to_event()))
            self._writer.close()
        except OSError:
            self._writer.abandon()

    def _first_lines(self) -> bytes:
        """Return the lines that begin a new part, as of before what is pending."""
        return line_of(self._note()._replace(events=self.events).to_event())

    def _note(self, *, end: bool = False) -> Note:
        reader = self._reader
        return Note(
            session=reader.constants,
            events=self.events + self._pending_events,
            missed=reader.missed,
            damaged=reader.damaged,
            dropped=reader.dropped + self.lost,
            state=state_of(self._reader, inside=self._inside),
            heartbeat_ns=reader.heartbeat_ns,
            inside=self._inside,
            end=end,
        )


def recorder_inside(
    reader: Callable[[], Reader], target: str, constants: Mapping[str, Any], max_bytes: int
) -> Recorder:
    """Return the recorder that `start(record=...)` asks for, in the session's own process.

    Where another process is writing the file already, this one takes a name of its own, with a warning. Raises OSError
    and MissingDependencyError for a file that cannot be written.
    """
    path = own_path(target, constants)
    try:
        recorder = Recorder(reader(), path, inside=True, max_bytes=max_bytes)
    except RecordingInUseError:
        stem, ending = split_ending(path)
        other = path.with_name(f"{stem}.pid{constants['pid']}{ending}")
        warn(f"{path} is being written by another process; this one records to {other}", stacklevel=5)
        recorder = Recorder(reader(), other, inside=True, max_bytes=max_bytes)
    if recorder.remark is not None:
        warn(recorder.remark, stacklevel=5)
    return recorder


def own_path(target: str, constants: Mapping[str, Any]) -> Path:
    """Return the file for this process: in a directory one of its own, and of several ranks each its own as well."""
    path = Path(target)
    if target.endswith(("/", os.sep)) or path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        host = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in constants["host"])
        started_ms = constants["started_ns"] // 1_000_000
        return path / f"{host}-rank{constants['rank']}-{constants['pid']}-{started_ms}.jsonl"
    if constants["world_size"] > 1:
        stem, ending = split_ending(path)
        return path.with_name(f"{stem}.rank{constants['rank']}{ending}")
    return path


class RecorderThread:
    """A recorder in a thread of this process."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._thread = WorkingThread(self._run, "phasescope-recorder")

    def start(self) -> None:
        """Start the thread. If there can be no more threads, that is logged, and nothing is recorded."""
        try:
            self._thread.start()
        except RuntimeError as error:
            log_once("no recorder", "nothing is recorded: %s", error)

    def finish(self, timeout_s: float) -> bool:
        """Wait until all of a session that has ended is recorded; return whether it is."""
        self.recorder.finish()
        with contextlib.suppress(RuntimeError):  # it never started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.recorder.run(self._thread.work)
        except Exception as error:
            log_once("recorder", "the recording has ended: %s", type(error).__name__)
        if self.recorder.lost:
            log_once("recording lost", "%d events could not be recorded in %s", self.recorder.lost, self.recorder.path)
