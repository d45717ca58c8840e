"""The reader of a ring: of a session that runs, ended, or was killed."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat
from phasescope.readers.reader import Reader
from phasescope.wire.codec import Decoder, PayloadError
from phasescope.wire.open_ring import OpenRing, OwnRing, closed
from phasescope.wire.record_reader import RecordReader
from phasescope.wire.ring import STOPPED, RingError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from mmap import mmap

    from phasescope.analysis.summary.packed_summary import SummaryObserver
    from phasescope.analysis.summary.summary import SummaryFold
    from phasescope.wire.envelope import ProjectedTelemetryRecord

_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.05
_LIVES_NS = 60_000_000_000


class RingReader(Reader):
    """One session's ring. `missed` and `damaged` say what the last reading of it could not give."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        size_bytes: Callable[[], int],
        path: Path | None,
        mend: Callable[[], object] | None = None,
    ) -> None:
        """Read anything that gives up to `size` bytes from an `offset`; `attach` and `open` do so with files."""
        super().__init__(path)
        self._mend = mend
        self._file: OpenRing | None = None
        self._read = read
        self._size_bytes = size_bytes
        self._pause: Callable[[float], object] = time.sleep  # what `follow` waits with; it ends where that is true
        self._ring = self._new_ring()
        self._unread: RecordReader | None = None
        self.decoder = _decoder(self._ring.constants)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RingReader:
        """Return a reader of the ring file at `path`. Raises OSError, and RingError if it is not a ring."""
        file = OpenRing(path)
        try:
            reader = cls(file.read, file.size_bytes, Path(path))
        except BaseException:
            file.close()
            raise
        reader._file = file
        return reader

    @classmethod
    def of_own(cls, file: OpenRing, memory: Callable[[], mmap | None], look: Callable[[], object]) -> RingReader:
        """Read a ring of this process's own, which is in `memory()` while it cannot be in its file.

        `look()` finds out whether that is so, and puts the header right. The reader closes the file.
        """
        try:
            own = OwnRing(file, memory, look)
            reader = cls(own.read, own.size_bytes, file.path, look)
        except BaseException:
            file.close()
            raise
        reader._file = file
        return reader

    def _new_ring(self) -> RecordReader:
        return RecordReader(self._read, self._size_bytes(), self._mend)

    def close(self) -> None:
        """Let go of the file. Whatever is read afterwards raises ValueError."""
        self._read = self._size_bytes = self._ring._read = closed
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

    def _may_live_elsewhere(self, file: OpenRing) -> bool:
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
