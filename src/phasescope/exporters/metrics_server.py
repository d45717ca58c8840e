"""The HTTP server of the page of metrics: read-only, guarded by a token where other machines can reach it."""

from __future__ import annotations

import contextlib
import hmac
import socket
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from phasescope import _os_compat
from phasescope.exporters.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

    _App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PATHS = ("/", "/metrics")
_SLOWEST_CLIENT_S = 30


class MetricsServer:
    """Answers at `url`, in a thread of its own, from `start` to `close`."""

    patience_s = 1.0

    def __init__(self, registry: CollectorRegistry, host: str, port: int, token: str | None = None) -> None:
        """Listen at the address; port 0 is any that is free. Raises OSError if that cannot be."""
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._server = _Server(address[:2], family)
        self._server.set_app(_guarded(make_wsgi_app(registry), token))
        shown = f"[{host}]" if ":" in host else host
        self.shown = self.url = f"http://{shown}:{self._server.server_port}/metrics"
        self._thread = Thread(target=self._server.serve_forever, name="phasescope-metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def hurry(self) -> None:
        """Do nothing: it never waits for anybody."""

    def remarks(self) -> tuple[str, ...]:
        """Return what was lost: nothing, since every page has all figures."""
        return ()

    def abandon_in_child(self) -> None:
        """In a forked child, let go of the port: it is the parent's."""
        with contextlib.suppress(OSError):
            self._server.socket.close()


def _guarded(app: _App, token: str | None) -> _App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status = _refusal(environ, token)
        if status is None:
            return app(environ, start_response)
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{status}\n".encode()]

    return answer


def _refusal(environ: dict[str, Any], token: str | None) -> str | None:
    if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
        return "405 Method Not Allowed"
    if environ.get("PATH_INFO") not in PATHS:
        return "404 Not Found"
    if token is None:
        # A page elsewhere whose name was made to lead here must not read this one.
        return None if _names_loopback(environ.get("HTTP_HOST", "")) else "403 Forbidden"
    scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    is_right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    return None if scheme.lower() == "bearer" and is_right else "401 Unauthorized"


def _names_loopback(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)


class _Handler(WSGIRequestHandler):
    timeout = _SLOWEST_CLIENT_S  # a client that sends nothing must not hold its thread for ever

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing: a line per scrape is of no use."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[Any, ...], family: int) -> None:
        self.address_family = family
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking for the host's name, which may wait for a name server."""
        aside = _os_compat.out_of_the_way(self.socket.detach())
        self.socket = socket.socket(self.address_family, self.socket_type, fileno=aside)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""
