"""The reader of a ring: of a session that runs, ended, or was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from phasescope import _os_compat
from phasescope.readers.reader import Reader
from phasescope.wire import ring_files
from phasescope.wire.codec import Decoder, PayloadError
from phasescope.wire.record_reader import RecordReader
from phasescope.wire.ring import STOPPED, RingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from mmap import mmap

    from phasescope.analysis.summary.packed_summary import SummaryObserver
    from phasescope.analysis.summary.summary import SummaryFold
    from phasescope.wire.envelope import ProjectedTelemetryRecord

_Answer = TypeVar("_Answer")

_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.05
_TRIES = 3  # to open the file, where the program closes what it finds at the same time
_LIVES_NS = 60_000_000_000


class _File:
    """A ring file that is open for reading.

    A process that becomes a daemon closes all descriptors it finds; then their numbers may be other files' by now. So
    each use asks first, which takes a fraction of the reading itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file. Raises OSError."""
        self.fd: int | None = None
        self._path = Path(path).absolute()  # daemons go to "/" as well
        self.fd = ring_files.open_ring(path)
        self._file = os.fstat(self.fd)

    def read(self, size: int, offset: int) -> bytes:
        return self._asked(lambda fd: _os_compat.pread(fd, size, offset))

    def size_bytes(self) -> int:
        return self._asked(lambda fd: os.fstat(fd).st_size)

    def locked(self) -> bool:
        return self._asked(_os_compat.is_locked)

    def is_of_this_machine(self) -> bool:
        return self._asked(_os_compat.is_of_this_machine)

    def _asked(self, question: Callable[[int], _Answer]) -> _Answer:
        """Return the answer of the open file. If its descriptor was closed just before the answer, ask again."""
        try:
            return question(self._opened())
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return question(self._opened())

    def again(self) -> _File:
        """Return another one of the same file, also if its name is gone. Raises OSError."""
        other = object.__new__(_File)
        other.fd = None
        other._path, other._file = self._path, self._file
        other.fd = os.dup(self._opened())
        return other

    def _opened(self) -> int:
        if self.fd is None:
            _closed()
        for _ in range(_TRIES):
            if self._is_the_files(self.fd):
                return self.fd
            self.fd = ring_files.open_ring(self._path)
            if not os.path.samestat(self._path.stat(), self._file):
                fd, self.fd = self.fd, -1
                os.close(fd)
                raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(self._path))
        raise OSError(errno.EBADF, "its descriptor is closed again and again", str(self._path))

    def _is_the_files(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._file)
        except OSError:
            return False

    def close(self) -> None:
        fd, self.fd = self.fd, None
        if fd is not None and self._is_the_files(fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.close()
        except:  # noqa: E722 - at the interpreter's end any global may be gone, the names of exceptions too
            pass


class _OwnRing:
    """A ring of this process's own: its file, or what it goes on in while that cannot be written."""

    def __init__(self, file: _File, memory: Callable[[], mmap | None], look: Callable[[], object]) -> None:
        self._file = file
        self._memory = memory
        self._look = look
        self._size_bytes = file.size_bytes()

    def read(self, size: int, offset: int) -> bytes:
        if self._memory() is None:
            data = self._file.read(size, offset)
            if len(data) == size:
                return data
            self._look()  # it was shortened, perhaps only just now
        memory = self._memory()
        return self._file.read(size, offset) if memory is None else bytes(memory[offset : offset + size])

    def size_bytes(self) -> int:
        if self._memory() is None:
            size_bytes = self._file.size_bytes()
            if size_bytes == self._size_bytes:
                return size_bytes
            self._look()
        memory = self._memory()
        return self._file.size_bytes() if memory is None else len(memory)


def _closed(*_: int) -> NoReturn:
    raise ValueError("this reader is closed")


class RingReader(Reader):
    """One session's ring. `missed` and `damaged` say what the last reading of it could not give."""

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: Callable[[], int], path: Path | None) -> None:
        """Read anything that gives up to `size` bytes from an `offset`; `attach` and `open` do so with files."""
        super().__init__(path)
        self._file: _File | None = None
        self._read = read
        self._size_bytes = size_bytes
        self._pause: Callable[[float], object] = time.sleep  # what `follow` waits with; it ends where that is true
        self._ring = self._new_ring()
        self._unread: RecordReader | None = None
        self.decoder = _decoder(self._ring.constants)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RingReader:
        """Return a reader of the ring file at `path`. Raises OSError, and RingError if it is not a ring."""
        file = _File(path)
        try:
            reader = cls(file.read, file.size_bytes, Path(path))
        except BaseException:
            file.close()
            raise
        reader._file = file
        return reader

    @classmethod
    def of_own(
        cls, path: str, memory: Callable[[], mmap | None], look: Callable[[], object], other: RingReader | None
    ) -> RingReader:
        """Read a ring of this process's own, which is in `memory()` while it cannot be in its file.

        `look()` finds out whether that is so. With `other`, a reader of the same ring, its name need not be there.
        """
        file = _File(path) if other is None or other._file is None else other._file.again()
        try:
            own = _OwnRing(file, memory, look)
            reader = cls(own.read, own.size_bytes, Path(path))
        except BaseException:
            file.close()
            raise
        reader._file = file
        return reader

    def _new_ring(self) -> RecordReader:
        return RecordReader(self._read, self._size_bytes())

    def close(self) -> None:
        """Let go of the file. Whatever is read afterwards raises ValueError."""
        self._read = self._size_bytes = self._ring._read = _closed
        if self._file is not None:
            self._file.close()

    def __repr__(self) -> str:
        return f"<phasescope.Reader of pid {self.constants.get('pid')}, {self.path or 'in memory'}>"

    @property
    def constants(self) -> dict[str, Any]:
        """What the session said of itself when it began: `session_id`, `host`, `pid`, `command`, `rank`, …"""
        return self._ring.constants

    @property
    def state(self) -> str:
        """`running`, `stopped` (it ended cleanly) or `dead` (its process ended without stopping the session)."""
        if self._ring.live().state == STOPPED:
            return "stopped"
        if self._file is None or self._file.locked():
            return "running"
        # It may have stopped between the two looks.
        if self._ring.live().state == STOPPED:
            return "stopped"
        return "running" if self._may_live_elsewhere(self._file) else "dead"

    def _may_live_elsewhere(self, file: _File) -> bool:
        """Return whether it is on another machine, whose lock a network's file system may not show here."""
        if self.constants.get("host") == _os_compat.host_name() or file.is_of_this_machine():
            return False
        return time.time_ns() - self.heartbeat_ns < _LIVES_NS

    @property
    def heartbeat_ns(self) -> int:
        """When the sampler last ran, wall clock."""
        return self._ring.live().heartbeat_ns

    @property
    def written(self) -> int:
        """How many events the session has written, those included that are overwritten by now."""
        return self._new_ring().last_sequence()

    @property
    def dropped(self) -> int:
        """How many events the session could not write, as of its last heartbeat."""
        return self._ring.live().dropped

    def iter_events(self) -> Iterator[dict[str, Any]]:
        """Iterate over the events that the ring holds now, the oldest first, as TelemetryEvent v3 dicts."""
        return self._decoded(self._new_ring())

    def follow(self, *, from_start: bool = False) -> Iterator[dict[str, Any]]:
        """Yield events as they are written; wait for new ones, and ends when the session does or its process dies.

        It begins with what comes next, or `from_start` with the oldest kept. A consumer that is slower than the
        writer loses the oldest, counted in `missed`.
        """
        ring = self._new_ring()
        if not from_start:
            ring.seek_end()
        return self._follow(ring)

    def _follow(self, ring: RecordReader) -> Iterator[dict[str, Any]]:
        wait_s = _SHORTEST_WAIT_S
        while True:
            over = self.state != "running"  # before reading: what was written before the end is read after it
            fresh = False
            for event in self._decoded(ring):
                fresh = True
                yield event
            if over and not fresh:
                return
            if not fresh and self._pause(wait_s):
                return
            wait_s = _SHORTEST_WAIT_S if fresh else min(wait_s * 2, _LONGEST_WAIT_S)

    def fold(self, watch: SummaryObserver | None = None) -> SummaryFold:
        """Return what a summary is made of, in one fast pass. `watch` looks on: for how the session ended, and what
        grows."""
        from phasescope.analysis.summary.packed_summary import PackedFold

        ring = self._new_ring()
        fold = PackedFold(f"{self.constants['session_id']}:", self.decoder, watch)
        for payloads in ring.payloads():
            ring.damaged += fold.add_payloads(payloads, self.decoder.boundaries)
        self._count(ring)
        return fold

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """Return the same events as envelopes."""
        if last is not None:
            return super().records(last)
        from phasescope.readers.packed_envelopes import PackedEnvelopes

        ring, packed = self._new_ring(), PackedEnvelopes(self.decoder)
        listed = [envelope for payloads in ring.payloads() for envelope in packed.of(payloads)]
        ring.damaged += packed.damaged
        self._count(ring)
        return listed

    def unread(self) -> Iterator[dict[str, Any]]:
        """Iterate over the events written since this was last asked, the first time all that the ring holds. Never
        waits.

        Read each to its end: what is left of one is not in the next.
        """
        if self._unread is None:
            self._unread = self._new_ring()
        return self._decoded(self._unread)

    def _last(self, count: int) -> list[dict[str, Any]]:
        ring = self._new_ring()
        ring.seek_recent()
        payloads = deque((payload for batch in ring.payloads() for payload in batch), maxlen=max(count, 0))
        kept = list(self._decode(ring, payloads))
        self._count(ring)
        return kept if len(kept) >= count else list(deque(self.iter_events(), maxlen=max(count, 0)))

    def _decoded(self, ring: RecordReader) -> Iterator[dict[str, Any]]:
        """Iterate over the events that are there now. What was missed before an event is counted before it is given."""
        for payloads in ring.payloads():
            self._count(ring)
            yield from self._decode(ring, payloads)
        self._count(ring)

    def iter_payloads(self) -> Iterator[Sequence[bytes]]:
        """Iterate over the ring's events as they are packed, many at a time: for what must be fast over many.

        `constants` and `decoder` make events of them. What is not an event
        is counted in `damaged` by who finds it out.
        """
        ring = self._new_ring()
        yield from ring.payloads()
        self._count(ring)

    def _decode(self, ring: RecordReader, payloads: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        event = self.decoder.event
        for payload in payloads:
            try:
                decoded = event(payload)
            except PayloadError:
                ring.damaged += 1
                continue
            yield decoded  # not inside of the `try`: at the interpreter's end its class may be gone before this is

    def _count(self, ring: RecordReader) -> None:
        self.missed, self.damaged = ring.missed, ring.damaged


def _decoder(constants: dict[str, Any]) -> Decoder:
    try:
        return Decoder(constants)
    except PayloadError as error:
        raise RingError(str(error)) from error
