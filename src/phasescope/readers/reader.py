"""attach(): events and envelopes of any session of this user, live, finished or killed. It only ever reads.

The same reader serves in the training's own process, in another one, and over what a killed process left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from phasescope import _os_compat
from phasescope.wire import ring_files
from phasescope.wire.codec import Decoder, PayloadError
from phasescope.wire.ring import (
    MAGIC,
    STOPPED,
    RingError,
    RingReader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from mmap import mmap
    from types import TracebackType

    from phasescope.analysis.summary.packed_summary import Watch
    from phasescope.analysis.summary.summary import Summary, SummaryFold
    from phasescope.analysis.timeline.timeline import Timeline
    from phasescope.recordings.source import Problem
    from phasescope.wire.envelope import ProjectedTelemetryRecord

_FILE_ENDINGS = (ring_files.SUFFIX, ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet")
_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.05
_LIVES_NS = 60_000_000_000


class SessionNotFoundError(LookupError):
    """There is no such session here; the text says what was looked for and where."""


def attach(
    target: int | str | os.PathLike[str] | None = None, *, directory: str | os.PathLike[str] | None = None
) -> Reader:
    """A reader of one session.

    `target` is a pid, the path of a ring file or of a recording, a session id or its beginning, or None for any
    session. Of several it is the one started last, live ones first. Raises SessionNotFoundError, or for a path OSError
    and RingError.
    """
    if isinstance(target, bool) or not isinstance(target, (int, str, os.PathLike, type(None))):
        raise TypeError(f"target must be a pid, a path, a session id or None, not a {type(target).__name__}")
    if isinstance(target, os.PathLike) or (isinstance(target, str) and _looks_like_path(target)):
        return _open(target)
    best: Reader | None = None
    best_rank = (False, False)
    for path in ring_files.find(directory):
        reader, rank = _opened(path, target)
        if reader is None:
            continue
        if best is not None and rank <= best_rank:
            reader.close()
            continue
        if best is not None:
            best.close()
        best, best_rank = reader, rank
        if rank == (True, True):
            break
    if best is None:
        raise SessionNotFoundError(_not_found(target, directory))
    return best


def _looks_like_path(target: str) -> bool:
    if os.sep in target or (os.altsep is not None and os.altsep in target):
        return True
    if target.partition("#")[0].lower().endswith(_FILE_ENDINGS):
        return True
    return bool(target) and not target.isdecimal() and os.path.exists(target)  # noqa: PTH110


def _open(path: str | os.PathLike[str]) -> Reader:
    """A ring by its name or its first bytes; anything else is read as a recording."""
    if os.fspath(path).endswith(ring_files.SUFFIX):
        return Reader.open(path)
    if os.path.isfile(path):  # noqa: PTH113 - a pipe would block
        with open(path, "rb") as file:  # noqa: PTH123
            if file.read(len(MAGIC)) == MAGIC:
                return Reader.open(path)
    from phasescope.recordings.reader import RecordingReader

    return RecordingReader.open(path)


def _opened(path: Path, target: int | str | None) -> tuple[Reader | None, tuple[bool, bool]]:
    """The file's reader if it is of a session that `target` may mean, and how well: exactly, and still running."""
    try:
        reader = Reader.open(path)
        exact = _match(reader.constants, target)
        if exact is not None:
            return reader, (exact, reader.state == "running")
        reader.close()
    except (OSError, RingError):
        pass
    return None, (False, False)


def _pid(target: int | str | None) -> int | None:
    return int(target) if isinstance(target, int) or (isinstance(target, str) and target.isdecimal()) else None


def _match(constants: dict[str, Any], target: int | str | None) -> bool | None:
    """True where `target` is this session's pid or id, False where it is only the beginning of the id, else None."""
    session_id = constants["session_id"]
    if target is None or constants["pid"] == _pid(target) or session_id == target:
        return True
    return False if isinstance(target, str) and target and session_id.startswith(target) else None


def _not_found(target: int | str | None, directory: str | os.PathLike[str] | None) -> str:
    pid = _pid(target)
    what = "no session" if target is None else f'no "{target}"' if pid is None else f"no session of pid {pid}"
    looked = ", ".join(ring_files.places(directory))
    closed = "".join(f" ({reason})" for reason in ring_files.not_looked_into(directory))
    return f"{what} in {looked}{closed}; `phasescope ls` shows those that there are"


class _File:
    """A ring file that is open for reading.

    A process that becomes a daemon closes all descriptors it finds; then their numbers may be other files' by now. So
    each use asks first, which takes a fraction of the reading itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError."""
        self.fd: int | None = None
        self._path = Path(path).absolute()  # daemons go to "/" as well
        self.fd = ring_files.open_ring(path)
        self._file = os.fstat(self.fd)

    def read(self, size: int, offset: int) -> bytes:
        return _os_compat.pread(self._opened(), size, offset)

    def size_bytes(self) -> int:
        return os.fstat(self._opened()).st_size

    def locked(self) -> bool:
        return _os_compat.is_locked(self._opened())

    def is_of_this_machine(self) -> bool:
        return _os_compat.is_of_this_machine(self._opened())

    def again(self) -> _File:
        """Another one of the same file, also where its name is gone. Raises OSError."""
        other = object.__new__(_File)
        other.fd = None
        other._path, other._file = self._path, self._file
        other.fd = os.dup(self._opened())
        return other

    def _opened(self) -> int:
        if self.fd is None:
            _closed()
        if not self._is_the_files(self.fd):
            fd = ring_files.open_ring(self._path)
            if not self._is_the_files(fd):
                os.close(fd)
                raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(self._path))
            self.fd = fd
        return self.fd

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
    """A ring of this process's own: its file, or what it goes on in while that can not be written."""

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


class Reader:
    """One session's ring, or recording. `missed` and `damaged` say what the last reading of it could not give.

    Of a recording `problems` names the first of the damaged places, and `others` counts the events of further sessions
    in the file, by their id.
    """

    problems: Sequence[Problem] = ()
    others: Mapping[str, int] = MappingProxyType({})
    packed = True

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: Callable[[], int], path: Path | None) -> None:
        """Of anything that gives up to `size` bytes from an `offset`; `attach` and `open` make those of files."""
        self.path = path
        self.missed = 0
        self.damaged = 0
        self._file: _File | None = None
        self._read = read
        self._size_bytes = size_bytes
        self._pause: Callable[[float], object] = time.sleep  # what `follow` waits with; it ends where that is true
        self._ring = self._new_ring()
        self._unread: RingReader | None = None
        self.decoder = _decoder(self._ring.constants)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Reader:
        """A reader of the ring file at `path`. Raises OSError, and RingError where it is no ring."""
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
        cls, path: str, memory: Callable[[], mmap | None], look: Callable[[], object], other: Reader | None
    ) -> Reader:
        """Of a ring of this process's own, which is in `memory()` while it can not be in its file.

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

    def _new_ring(self) -> RingReader:
        return RingReader(self._read, self._size_bytes())

    def close(self) -> None:
        """Let go of the file. Whatever is read afterwards raises ValueError."""
        self._read = self._size_bytes = self._ring._read = _closed
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<phasescope.Reader of pid {self.constants.get('pid')}, {self.path or 'in memory'}>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: how the session stands, and its summary. None, and so the plain text, once closed."""
        from phasescope.analysis.text.summary_html import summary_html

        try:
            return summary_html(self.summary(), f"{self!r}, {self.state}")
        except (OSError, ValueError):
            return None

    @property
    def constants(self) -> dict[str, Any]:
        """What the session said of itself when it began: `session_id`, `host`, `pid`, `command`, `rank`, …"""
        return self._ring.constants

    @property
    def state(self) -> str:
        """`running`, `stopped` (it ended cleanly) or `dead` (its process is gone without having stopped it)."""
        if self._ring.live().state == STOPPED:
            return "stopped"
        if self._file is None or self._file.locked():
            return "running"
        # It may have stopped between the two looks.
        if self._ring.live().state == STOPPED:
            return "stopped"
        return "running" if self._may_live_elsewhere(self._file) else "dead"

    def _may_live_elsewhere(self, file: _File) -> bool:
        """On another machine, whose lock a file system of a network may not show here."""
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
        """The events that the ring holds now, the oldest first, as TelemetryEvent v3 dicts."""
        return self._decoded(self._new_ring())

    def events(self, last: int | None = None) -> list[dict[str, Any]]:
        """The events that the ring holds now, or the last so many of them."""
        return list(self.iter_events()) if last is None else self._last(last)

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """The same as envelopes."""
        from phasescope.wire.envelope import project_owned_event

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
        ring = self._new_ring()
        if not from_start:
            ring.seek_end()
        return self._follow(ring)

    def _follow(self, ring: RingReader) -> Iterator[dict[str, Any]]:
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

    def summary(self) -> Summary:
        """The table by phase path, and its rows as data."""
        return self.fold().summary(self.missed, self.damaged)

    def fold(self, watch: Watch | None = None) -> SummaryFold:
        """What a summary is made of, in one fast pass. `watch` looks on: for how the session ended, and what grows."""
        from phasescope.analysis.summary.packed_summary import PackedFold

        ring = self._new_ring()
        fold = PackedFold(f"{self.constants['session_id']}:", self.decoder, watch)
        for batch in ring.batches():
            payloads = [payload for _, payload in batch]
            ring.damaged += fold.add_packed(payloads, self.decoder.boundaries(payloads))
        self._count(ring)
        return fold

    def timeline(self) -> Timeline:
        """Memory over time per device, phases as bands, and marks; `to_dict()` has it as plain data."""
        from phasescope.analysis.timeline.timeline import timeline

        return timeline(self.iter_events())

    def unread(self) -> Iterator[dict[str, Any]]:
        """The events written since this was last asked, the first time all that the ring holds. Never waits.

        Read each to its end: what is left of one is not in the next.
        """
        if self._unread is None:
            self._unread = self._new_ring()
        return self._decoded(self._unread)

    def _last(self, count: int) -> list[dict[str, Any]]:
        ring = self._new_ring()
        ring.seek_recent()
        payloads = deque((payload for batch in ring.batches() for _, payload in batch), maxlen=max(count, 0))
        kept = list(self._decode(ring, payloads))
        self._count(ring)
        return kept if len(kept) >= count else list(deque(self.iter_events(), maxlen=max(count, 0)))

    def _decoded(self, ring: RingReader) -> Iterator[dict[str, Any]]:
        """The events that are there now. What was missed before an event is counted before it is given."""
        for batch in ring.batches():
            self._count(ring)
            yield from self._decode(ring, (payload for _, payload in batch))
        self._count(ring)

    def iter_payloads(self) -> Iterator[list[bytes]]:
        """The ring's events as they are packed, many at a time: for what must be fast over many.

        `constants` and `decoder` make events of them. A recording has none: `packed` is False there. What is no event
        is counted in `damaged` by who finds it out.
        """
        ring = self._new_ring()
        for batch in ring.batches():
            yield [payload for _, payload in batch]
        self._count(ring)

    def _decode(self, ring: RingReader, payloads: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        event = self.decoder.event
        for payload in payloads:
            try:
                decoded = event(payload)
            except PayloadError:
                ring.damaged += 1
                continue
            yield decoded  # not inside of the `try`: at the interpreter's end its class may be gone before this is

    def _count(self, ring: RingReader) -> None:
        self.missed, self.damaged = ring.missed, ring.damaged


def _decoder(constants: dict[str, Any]) -> Decoder:
    try:
        return Decoder(constants)
    except PayloadError as error:
        raise RingError(str(error)) from error
