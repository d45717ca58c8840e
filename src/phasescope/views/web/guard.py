"""Access to the page: only with the token, from a page of ours, under a name of ours.

The token comes after the `#` of the address that `phasescope web` prints, which a browser sends to nobody. The page
keeps it for its own tab and sends it in a header. A cookie would go to every port of this machine, and those are other
users' as well. A name that is not ours in `Host` is a page elsewhere whose name was made to lead here (DNS rebinding).
There are no CORS headers, so no other page can read an answer.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_SAME_PAGE = ("same-origin", "none")
_SHELL = ("/", "/favicon.ico")
_ASSETS = "/assets/"

HEADERS = {
    # Plotly sets styles on the elements it makes; scripts are only ours, and nothing is fetched from elsewhere.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Middleware around the whole application. `token` None lets everybody in who reaches the loopback.

    The page itself, without anything of a session, is there for all: it is in the package.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        # Anything else, a web socket, is not answered at all.

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                ours = ((name.encode(), value.encode()) for name, value in HEADERS.items())
                message["headers"] = [*message["headers"], *(pair for pair in ours if pair[0] not in present)]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        answer: ASGIApp = self._app
        if not self._is_our_name(headers.get("host", "")):
            answer = PlainTextResponse("this name does not lead here: use the address that was printed", 403)
        elif self._is_from_elsewhere(headers, scope["path"]):
            answer = PlainTextResponse("only the page itself may ask this", 403)
        elif scope["method"] not in ("GET", "HEAD"):
            answer = PlainTextResponse("nothing can be changed here", 405)
        elif not (_is_of_the_page(scope["path"]) or may_look(scope["headers"], self._token)):
            answer = PlainTextResponse("a token is needed: use the address that `phasescope web` printed", 401)
        await answer(scope, receive, guarded)

    def _is_from_elsewhere(self, headers: dict[str, str], path: str) -> bool:
        """Return whether a browser says that another page asks. One that only leads here, to `/`, may be any."""
        if headers.get("sec-fetch-site", "none") not in _SAME_PAGE and path != "/":
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        scheme, _, host = origin.partition("://")  # `null`, which a sandboxed page says, is not ours
        return scheme not in ("http", "https") or not self._is_our_name(host)

    def _is_our_name(self, host: str) -> bool:
        name = host_name(host)
        return name is not None and (name in self._hosts or ("*" in self._hosts and is_address(name)))


def may_look(headers: Iterable[tuple[bytes, bytes]], token: str | None) -> bool:
    """Return whether a request with these headers has the token, if there is one."""
    if token is None:
        return True
    given = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, bearer = given.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(bearer.strip(), token.encode())


def _is_of_the_page(path: str) -> bool:
    return path in _SHELL or path.startswith(_ASSETS)


def allowed_hosts(host: str) -> set[str]:
    """Return the names under which a server that listens at `host` may be called; `*` stands for every numeric
    address."""
    names = {host.strip("[]").lower(), *_LOOPBACK_NAMES}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], socket.getfqdn().lower()}
        if host in ("0.0.0.0", "::", "[::]"):
            # A name can be made to lead here, a number cannot.
            names.add("*")
    return names


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens there."""
    name = host.strip("[]").lower()
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def is_address(name: str) -> bool:
    """Return whether it is a numeric address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str | None:
    """Return the name in a `Host` header, without its port; None if it is not one."""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        ok = bracket == "]" and (not rest or (rest[0] == ":" and rest[1:].isdecimal()))
    else:
        name, colon, port = host.partition(":")
        ok = not colon or port.isdecimal()
    return name.lower().rstrip(".") if ok and name else None
