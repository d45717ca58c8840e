"""Connections in bounded time and number: none that only dribbles, or does not read, keeps the page from its user.

uvicorn has no time limit for the head of a request, and any user of the machine may connect to a port of the loopback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

IDLE_SECONDS = 10.0
"""For a request to come whole, after the connection or the last answer; and for an answer to be taken on."""

MAX_CONNECTIONS = 128
_LOOK_SECONDS = 1.0


def bounded(may_look: Callable[[Any], bool]) -> type[asyncio.Protocol]:
    """Return the protocol for a server. A request whose headers `may_look` takes is not cut off to make room for
    others."""
    connections: dict[_Connection, None] = {}  # the oldest first

    class Connection(_Connection):
        connections_here = connections

        def may_stay(self) -> bool:
            return self.is_answering() and may_look(self.headers)

    return Connection


class _Connection(H11Protocol):
    connections_here: dict[_Connection, None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._progress_at = self.loop.time()
        self._unsent = 0
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)
        if len(self.connections_here) >= MAX_CONNECTIONS:
            victim = next((other for other in self.connections_here if not other.may_stay()), self)
            victim.cut_off()
        self.connections_here[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self.connections_here.pop(self, None)
        super().connection_lost(exc)

    def may_stay(self) -> bool:
        """Return whether it is not to be cut off for others."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """End it now, whatever is on its way."""
        self.connections_here.pop(self, None)
        self.transport.abort()

    def is_answering(self) -> bool:
        """Return whether a request has come whole and is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _look(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if self.is_answering() and (unsent == 0 or unsent < self._unsent):
            self._progress_at = self.loop.time()
        self._unsent = unsent
        if self.loop.time() - self._progress_at > IDLE_SECONDS:
            self.cut_off()
        else:
            self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)
