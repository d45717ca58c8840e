"""Show sessions in the browser: a live page with timeline, phases, devices, ranks and events.

This process serves the page, and only reads; it does not affect the training. The address that is printed contains a
token, without which nothing is shown. From another machine, use a tunnel (ssh -L 8765:localhost:8765), or name an
address of this one with --host. Needs an extra: pip install "phasescope[web]".
"""

from __future__ import annotations

import argparse
import logging
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from phasescope._packages import is_installed
from phasescope.cli import (
    MISSING_DEPENDENCY,
    OK,
    WRONG_USAGE,
    CommandError,
)
from phasescope.cli._output import Terminal
from phasescope.cli._session_args import add_directories, add_session, note_missing, opened_among

if TYPE_CHECKING:
    from types import FrameType

    from phasescope.views.catalogue import Catalogue

DEFAULT_PORT = 8765
_LAST_PORT = 65535
_NEEDED = ("starlette", "uvicorn", "plotly")
_TOKEN_BYTES = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_session(parser)
    add_directories(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="the address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="PORT",
        help=f"default: {DEFAULT_PORT}, or a free one if that is taken; 0: a free one",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which the page may be requested",
    )
    parser.add_argument(
        "--no-token", action="store_true", help="let every user of this machine watch; only on the loopback"
    )


def run(arguments: argparse.Namespace) -> int:
    missing = [name for name in _NEEDED if not is_installed(name)]
    if missing:
        raise CommandError(f'{" and ".join(missing)} missing: pip install "phasescope[web]"', MISSING_DEPENDENCY)
    from phasescope.views.web.guard import is_loopback

    if arguments.no_token and not is_loopback(arguments.host):
        raise CommandError("--no-token is for the loopback only: others must not look without a token", WRONG_USAGE)
    catalogue, chosen = _catalogue(arguments)
    with _listen(arguments.host, arguments.port) as listener:
        _serve(arguments, listener, catalogue, chosen)
    return OK


def _catalogue(arguments: argparse.Namespace) -> tuple[Catalogue, str | None]:
    """Return the catalogue, and the key of the session asked for. A page without any waits for one."""
    from phasescope.views.catalogue import Catalogue, key_of

    if arguments.target is None:
        note_missing(arguments.dir)
        return Catalogue(arguments.dir), None
    with opened_among(arguments.target, arguments.dir) as reader:
        # Behind a `#` is which of a recording's sessions is meant.
        path = arguments.target if "#" in arguments.target else reader.path
    named = [] if path is None else [path]
    return Catalogue(arguments.dir, named), None if path is None else key_of(path)


def _listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens there. The default port may be taken, one that was asked for may not."""
    tries = (DEFAULT_PORT, 0) if port is None else (port,)
    where = host if port is None else f"{host}, port {port}"
    failed: Exception | None = None
    for number in tries:
        try:
            family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), number, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family)
        except (OSError, OverflowError) as error:
            failed = error
    raise CommandError(f"cannot listen at {where}: {getattr(failed, 'strerror', None) or failed}")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:6]) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 0 to {_LAST_PORT}")
    return int(text)


def _serve(arguments: argparse.Namespace, listener: socket.socket, catalogue: Catalogue, chosen: str | None) -> None:
    import uvicorn

    from phasescope.views.web.app import make_app
    from phasescope.views.web.connections import bounded
    from phasescope.views.web.guard import allowed_hosts, may_look

    port = listener.getsockname()[1]
    token = None if arguments.no_token else secrets.token_urlsafe(_TOKEN_BYTES)
    hosts = allowed_hosts(arguments.host) | {name.lower() for name in arguments.allow_host}

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # that pages still look is not news
            super().handle_exit(sig, frame)

    server = Server(
        uvicorn.Config(
            make_app(catalogue, token=token, hosts=hosts, chosen=chosen),
            http=bounded(lambda headers: may_look(headers, token)),
            log_level="error",  # that strangers send malformed requests is not news
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ws="none",
        )
    )
    host = f"[{arguments.host}]" if ":" in arguments.host.strip("[]") else arguments.host
    out = Terminal()
    out.line(f"http://{host}:{port}/" + ("" if token is None else f"#token={token}"), "bold")
    out.line("Ctrl-C ends it; the training goes on.", "dim")
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)
