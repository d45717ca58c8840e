"""attach(): events and envelopes of any session of this user, live, finished or killed. It only ever reads.

The same reader serves in the training's own process, in another one, and over what a killed process left.
"""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope import sessions, system
from phasescope.codec import Decoder, PayloadError
from phasescope.ring import STOPPED, RingError, RingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from phasescope.analysis.summary import Summary
    from phasescope.envelope import ProjectedTelemetryRecord

_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.05
_LOOKS_AT_DAMAGE = 5  # the ring's reader gives a record at the very end a few chances to become whole


class SessionNotFoundError(LookupError):
    """There is no such session here; the text says what was looked for and where."""


def attach(
    target: int | str | os.PathLike[str] | None = None, *, directory: str | os.PathLike[str] | None = None
) -> Reader:
    """A reader of one session.

    `target` is a pid, the path of a ring file, a session id or its beginning, or None for the session started last,
    live ones first. Of several sessions of one pid it is the last. Raises SessionNotFoundError, or for a path OSError
    and RingError.
    """
    if isinstance(target, bool) or not isinstance(target, (int, str, os.PathLike, type(None))):
        raise TypeError(f"target must be a pid, a path, a session id or None, not a {type(target).__name__}")
    if isinstance(target, os.PathLike) or (isinstance(target, str) and _looks_like_path(target)):
        return Reader.open(target)
    rest: list[Reader] = []
    for path in sessions.find(directory):
        try:
            reader = Reader.open(path)
        except (OSError, RingError):
            continue
        if _matches(reader, target) and (reader.state == "running" or not rest):
            if reader.state == "running":
                _close_all(rest)
                return reader
            rest.append(reader)
        else:
            reader.close()
    if rest:
        return rest[0]
    looked = ", ".join(sessions.places(directory))
    what = "no session" if target is None else f"no session of pid {target}" if _pid(target) else f'no "{target}"'
    raise SessionNotFoundError(f"{what} in {looked}; `phasescope ls` shows those that there are")


def _looks_like_path(target: str) -> bool:
    return target.endswith(sessions.SUFFIX) or os.sep in target


def _pid(target: int | str | os.PathLike[str] | None) -> int | None:
    return int(target) if isinstance(target, int) or (isinstance(target, str) and target.isdecimal()) else None


def _matches(reader: Reader, target: int | str | os.PathLike[str] | None) -> bool:
    pid = _pid(target)
    if target is None or (pid is not None and reader.constants.get("pid") == pid):
        return True
    return isinstance(target, str) and bool(target) and str(reader.constants.get("session_id")).startswith(target)


def _close_all(readers: list[Reader]) -> None:
    for reader in readers:
        reader.close()


class Reader:
    """One session's ring. `missed` and `damaged` say what the last reading of it could not give."""

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: Callable[[], int], path: Path | None) -> None:
        self.path = path
        self.missed = 0
        self.damaged = 0
        self._fd: int | None = None
        self._read = read
        self._size_bytes = size_bytes
        self._ring = RingReader(read, size_bytes())
        self._decoder = _decoder(self._ring.constants)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Reader:
        """A reader of the ring file at `path`. Raises OSError, and RingError where it is no ring."""
        fd = sessions.open_ring(path)

        def read(size: int, offset: int) -> bytes:
            return system.pread(fd, size, offset)

        try:
            reader = cls(read, lambda: os.fstat(fd).st_size, Path(path))
        except BaseException:
            os.close(fd)
            raise
        reader._fd = fd
        return reader

    def close(self) -> None:
        """Let go of the file. Whatever is read afterwards raises ValueError."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._read = _closed
            self._ring._read = _closed
            os.close(fd)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<phasescope.Reader of pid {self.constants.get('pid')}, {self.path or 'in memory'}>"

    @property
    def constants(self) -> dict[str, Any]:
        """What the session said of itself when it began: `session_id`, `host`, `pid`, `command`, `rank`, …"""
        return self._ring.constants

    @property
    def state(self) -> str:
        """`running`, `stopped` (it ended cleanly) or `dead` (its process is gone without having stopped it)."""
        if self._ring.live().state == STOPPED:
            return "stopped"
        if self._fd is None or system.is_locked(self._fd):
            return "running"
        # It may have stopped between the two looks.
        return "stopped" if self._ring.live().state == STOPPED else "dead"

    @property
    def heartbeat_ns(self) -> int:
        """When the sampler last ran, wall clock."""
        return self._ring.live().heartbeat_ns

    @property
    def written(self) -> int:
        """How many events the session has written, those included that are overwritten by now."""
        return RingReader(self._read, self._size_bytes()).last_sequence()

    @property
    def dropped(self) -> int:
        """How many events the session could not write, as of its last heartbeat."""
        return self._ring.live().dropped

    def iter_events(self) -> Iterator[dict[str, Any]]:
        """The events that the ring holds now, the oldest first, as TelemetryEvent v3 dicts."""
        ring = RingReader(self._read, self._size_bytes())
        yield from self._decode_to(ring, ring.live().head)

    def events(self, last: int | None = None) -> list[dict[str, Any]]:
        """The events that the ring holds now, or the last so many of them."""
        return list(self.iter_events()) if last is None else self._last(last)

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """The same as envelopes."""
        from phasescope.envelope import project_owned_event

        events = self.iter_events() if last is None else self._last(last)
        return [project_owned_event(event) for event in events]

    def latest(self) -> dict[str, Any] | None:
        """The newest event."""
        return next(iter(self._last(1)), None)

    def follow(self, *, from_start: bool = False) -> Iterator[dict[str, Any]]:
        """Events as they are written; waits for new ones, and ends when the session does or its process dies.

        It begins with what comes next, or `from_start` with the oldest kept. A consumer that is slower than the
        writer loses the oldest, counted in `missed`.
        """
        ring = RingReader(self._read, self._size_bytes())
        if not from_start:
            ring.seek_end()
        return self._follow(ring)

    def _follow(self, ring: RingReader) -> Iterator[dict[str, Any]]:
        wait_s = _SHORTEST_WAIT_S
        while True:
            over = self.state != "running"  # before reading: what was written before the end is read after it
            fresh = False
            for event in self._decode_to(ring, ring.live().head):
                fresh = True
                yield event
            if over and not fresh:
                return
            if not fresh:
                time.sleep(wait_s)
            wait_s = _SHORTEST_WAIT_S if fresh else min(wait_s * 2, _LONGEST_WAIT_S)

    def summary(self) -> Summary:
        """The table by phase path, and its rows as data."""
        from phasescope.analysis.summary import summarize

        events = list(self.iter_events())
        return summarize(events, missed=self.missed, damaged=self.damaged)

    def _last(self, count: int) -> list[dict[str, Any]]:
        ring = RingReader(self._read, self._size_bytes())
        ring.seek_recent()
        head = ring.live().head
        kept = deque(self._decode_to(ring, head), maxlen=max(count, 0))
        if len(kept) < count:
            kept = deque(self.iter_events(), maxlen=max(count, 0))
        return list(kept)

    def _decode_to(self, ring: RingReader, head: int) -> Iterator[dict[str, Any]]:
        """Events up to where the head was: a writer at full speed must not make this endless."""
        damaged = empty = 0
        event = self._decoder.event
        while ring.position < head and empty < _LOOKS_AT_DAMAGE:
            batch = ring.next_batch()
            empty = 0 if batch else empty + 1
            for _, payload in batch:
                try:
                    yield event(payload)
                except PayloadError:
                    damaged += 1
            self.missed, self.damaged = ring.missed, ring.damaged + damaged
        self.missed, self.damaged = ring.missed, ring.damaged + damaged


def _decoder(constants: dict[str, Any]) -> Decoder:
    try:
        return Decoder(constants)
    except PayloadError as error:
        raise RingError(str(error)) from error


def _closed(_size: int, _offset: int) -> bytes:
    raise ValueError("this reader is closed")
