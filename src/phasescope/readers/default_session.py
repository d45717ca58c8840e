"""The session that is meant if none is named: the one place that chooses it, for commands and views."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from phasescope.analysis.jobs.families import meant, over_since, parents, started_ns
from phasescope.readers.ring_reader import RingReader
from phasescope.wire import ring_files
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


class _Listed(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def constants(self) -> dict[str, Any]: ...
    @property
    def heartbeat_ns(self) -> int | None: ...


class _Ring(NamedTuple):
    path: str
    state: str
    constants: dict[str, Any]
    heartbeat_ns: int | None


_K = TypeVar("_K", bound=_Listed)


def default_ring(directory: str | os.PathLike[str] | None, *, live_first: bool = True) -> str | None:
    """Return the ring of the session that is meant, of this user's; None if none can be read."""
    rings = []
    for path in ring_files.find(directory):
        with contextlib.suppress(OSError, RingError), RingReader.open(path) as reader:
            rings.append(_Ring(str(path), reader.state, reader.constants, reader.heartbeat_ns))
    ring = default_session(rings, live_first=live_first)
    return None if ring is None else ring.path


def default_session(sessions: Sequence[_K], *, live_first: bool = True) -> _K | None:
    """Return the session that is meant, None if there is none.

    It is the one that started last (with `live_first` of those that run, if any does), or in place of a child the
    training that started it: see `families.meant`.
    """
    known = sorted(sessions, key=lambda session: started_ns(session.constants), reverse=True)
    running = [session.state == "running" for session in known]
    newest = running.index(True) if live_first and any(running) else 0
    if not known:
        return None
    over = [over_since(session.state, session.heartbeat_ns) for session in known]
    of = parents((session.constants for session in known), over)
    return known[
        meant(
            newest,
            of,
            lambda index: running[index] or not (live_first and running[newest]),
            lambda index: _has_phases(known[index].path),
        )
    ]


def _has_phases(path: str) -> bool:
    with contextlib.suppress(OSError, RingError), RingReader.open(Path(path)) as reader:
        return bool(reader.summary().rows)
    return False
