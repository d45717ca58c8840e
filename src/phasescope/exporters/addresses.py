"""The addresses that an exporter sends to or listens at, as a person writes them. Imports no exporter's library."""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAST_PORT = 65535

NOT_AN_ADDRESS = "not an address such as http://127.0.0.1:4318"


class Endpoint(NamedTuple):
    """Where the collector is. `shown` is its address without user and password."""

    url: str
    shown: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Endpoint {self.shown}>"


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def endpoint_of(url: str) -> Endpoint:
    """Return the collector that a URL names. Raises ValueError, without the URL in its text, if it names none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(NOT_AN_ADDRESS)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = host if parts.port is None else f"{host}:{parts.port}"
    shown = SplitResult(parts.scheme, address, parts.path.rstrip("/"), "", "").geturl()
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    return Endpoint(shown, shown, headers)


def address_of(text: str) -> Address:
    """Return where `[HOST]:PORT` is; without HOST it is the loopback. Raises ValueError if it is not an address."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port[:6]) <= _LAST_PORT):
        raise ValueError(f"{text!r:.80} is not an address such as :9464 or 0.0.0.0:9464")
    return Address(host.strip("[]") or "127.0.0.1", int(port))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens there."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
