"""The sessions that are exported: found as they begin, read as they write, and let go of some time after their end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from phasescope.exporters.session_figures import SessionFigures
from phasescope.readers.pieces import Pieces
from phasescope.readers.reader import state_of
from phasescope.readers.ring_reader import RingReader
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span
    from phasescope.exporters.session_figures import Figures

MOST = 256
"""The limit of sessions exported at once, the newest first."""

KEEP_ENDED_S = 300.0
MAX_PHASES = 100

_BUDGET_S = 0.5


class LiveSession:
    """One session's ring and what its events came to. `behind` says that there is more to read now.

    `state`, `heartbeat_ns` (None: not known) and the counts `missed`, `damaged`, `dropped` are as of the last `poll`:
    they can be read whatever became of the file since.
    """

    def __init__(
        self, reader: RingReader, max_phases: int, reopen: Callable[[], RingReader], *, inside: bool = False
    ) -> None:
        """Raise OSError and RingError if the file cannot be read. `reopen` gives another reader of it; `inside` is: in
        the session's own process."""
        self.reopen = reopen
        self._reader = reader
        self._inside = inside
        self.constants = reader.constants
        self.session_id = str(reader.constants.get("session_id"))
        self.figures = SessionFigures(max_phases)
        self.state = state_of(self._reader, inside=self._inside)
        self.heartbeat_ns: int | None = reader.heartbeat_ns or None
        self.missed = self.damaged = self.dropped = 0
        self._pieces = Pieces(reader)
        self.watches: list[Callable[[Mapping[str, Any], Scope | None, Span | None], object]] = []
        self._newest_ns = 0

    @property
    def behind(self) -> bool:
        return self._pieces.behind

    @property
    def last_sign_ns(self) -> int:
        """The wall-clock time of its last sign of life: the heartbeat, or the newest event."""
        return max(self.heartbeat_ns or 0, self._newest_ns)

    def poll(self, budget_s: float = _BUDGET_S) -> None:
        """Take in what was written since the last time, for about so long at most.

        Raises OSError and RingError if the file cannot be read any more.
        """
        # Before reading: what was written before the end is read with it.
        state = state_of(self._reader, inside=self._inside)
        deadline = time.monotonic() + budget_s
        while True:
            self._take_in(self._pieces.following())
            if not self.behind:
                self.state = state
                break
            if time.monotonic() > deadline:
                break
        self.heartbeat_ns, self.dropped = self._reader.heartbeat_ns or None, self._reader.dropped
        self.missed, self.damaged = self._reader.missed, self._reader.damaged

    def _take_in(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            scope, span = self.figures.add(event)
            time_ns = event.get("timestamp_ns")
            if type(time_ns) is int and time_ns > self._newest_ns:
                self._newest_ns = time_ns
            for watch in self.watches:
                watch(event, scope, span)

    def summed(self) -> Figures:
        """Return what came of the events so far."""
        return self.figures.figures(self.missed, self.damaged)

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


class LiveSessions:
    """The sessions among the rings that `find` names whose constants are `wanted`. One thread at a time may use it.

    A session is let go of `keep_ended_s` after its last sign of life, once it is over. `left_out` counts the rings
    beyond the limit of sessions. `opened` is called with each session before its events are read, `closed` with each
    that is let go of. `inside` is: they are of this process.
    """

    def __init__(
        self,
        find: Callable[[], Iterable[Path]],
        wanted: Callable[[Mapping[str, Any]], bool] = lambda constants: True,
        *,
        keep_ended_s: float = KEEP_ENDED_S,
        max_phases: int = MAX_PHASES,
        now_ns: Callable[[], int] = time.time_ns,
        open_ring: Callable[[Path], RingReader] = RingReader.open,
        inside: bool = False,
    ) -> None:
        self._find = find
        self._open_ring = open_ring
        self._inside = inside
        self._wanted = wanted
        self._keep_ended_ns = round(keep_ended_s * 1e9)
        self._max_phases = max_phases
        self._now_ns = now_ns
        self._sessions: dict[Path, LiveSession] = {}
        self._settled: set[Path] = set()
        self.left_out = 0
        self.opened: list[Callable[[LiveSession], object]] = []
        self.closed: list[Callable[[LiveSession], object]] = []

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(self._sessions.values())

    def __len__(self) -> int:
        return len(self._sessions)

    def poll(self, budget_s: float | None = None) -> bool:
        """Look for sessions that began, read all for about half a second at most, or `budget_s`, and let go of those
        long over. Whether there is more to read now.
        """
        self._look()
        budget_s = (_BUDGET_S if budget_s is None else budget_s) / max(1, len(self))
        for path, session in list(self._sessions.items()):
            try:
                session.poll(budget_s)
            except (OSError, RingError, ValueError):
                self._let_go(path)
                continue
            if not session.behind and self._is_long_over(session):
                self._let_go(path)
        return any(session.behind for session in self)

    def close(self) -> None:
        """Let go of all."""
        for path in list(self._sessions):
            self._let_go(path)

    def _look(self) -> None:
        paths = list(self._find())
        self._settled.intersection_update(paths)
        self.left_out = 0
        for path in paths:
            if path in self._sessions or path in self._settled:
                continue
            if len(self._sessions) >= MOST:
                self.left_out += 1
                continue
            try:
                self._open(path)
            except OSError:
                continue  # perhaps there are too many open files: the next look may succeed
            except RingError:
                self._settled.add(path)

    def _open(self, path: Path) -> None:
        reader = self._open_ring(path)
        try:
            session = LiveSession(reader, self._max_phases, lambda: self._open_ring(path), inside=self._inside)
        except BaseException:
            reader.close()
            raise
        copied = any(other.session_id == session.session_id for other in self)
        if copied or not self._wanted(session.constants) or self._is_long_over(session):
            self._settled.add(path)
            session.close()
            return
        for notify in self.opened:
            notify(session)
        self._sessions[path] = session

    def _is_long_over(self, session: LiveSession) -> bool:
        return session.state != "running" and self._now_ns() - session.last_sign_ns > self._keep_ended_ns

    def _let_go(self, path: Path) -> None:
        session = self._sessions.pop(path)
        self._settled.add(path)
        for notify in self.closed:
            notify(session)
        session.close()
