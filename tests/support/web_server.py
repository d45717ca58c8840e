"""`phasescope web` in a process of its own, for tests that ask it as strangers do or look at it with a browser."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psutil

from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

IMPATIENT = """
import sys
from phasescope.cli import main
from phasescope.views.web import connections
connections.IDLE_SECONDS = float(sys.argv.pop(1))
sys.exit(main())
"""


class Server:
    """`phasescope web` in a process of its own; `idle_s`: how long its connections may do nothing, if not as usual."""

    def __init__(self, *arguments: str, idle_s: float | None = None) -> None:
        command = ["-m", "phasescope"] if idle_s is None else ["-c", IMPATIENT, str(idle_s)]
        self.process = subprocess.Popen(
            [sys.executable, *command, "web", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.complaints = ""
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.url
        parts = urlsplit(self.url)
        self.port = int(parts.port or 0)
        self.base = f"http://127.0.0.1:{self.port}"
        self.token = parts.fragment.removeprefix("token=")
        self._wait()

    def _wait(self) -> None:
        until(self._answers, pause_s=0.02)

    def _answers(self) -> bool:
        try:
            httpx.get(self.base, timeout=CEILING_S)
        except httpx.TransportError:
            return False
        return True

    def get(self, path: str = "/", **headers: str) -> Any:
        """Get a page with the token, unless other headers are given."""
        return httpx.get(
            self.base + path, headers=headers or {"authorization": f"Bearer {self.token}"}, timeout=CEILING_S
        )

    def stream(self, path: str = "/api/events", count: int = 0, last: str = "") -> list[tuple[str, Any]]:
        """Return the first `count` events of a connection, or those up to the first that is called `last`."""
        found: list[tuple[str, Any]] = []
        name = ""
        headers = {"authorization": f"Bearer {self.token}", "last-event-id": "7"}
        with httpx.stream("GET", self.base + path, headers=headers, timeout=CEILING_S) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    found.append((name, json.loads(line.removeprefix("data: "))))
                    if len(found) == count or name == last:
                        break
        return found

    def holds(self, connection: socket.socket) -> bool:
        """Return whether its end of the connection is open; what it sent may still be on the way."""
        port = connection.getsockname()[1]
        process = psutil.Process(self.process.pid)
        connections = getattr(process, "net_connections", None) or process.connections  # before psutil 6.0
        theirs = connections("tcp")
        return any(one.raddr and one.raddr.port == port for one in theirs)

    def close(self) -> int:
        self.process.send_signal(signal.SIGINT)
        try:
            _, self.complaints = self.process.communicate(timeout=CEILING_S)
            return self.process.returncode
        finally:
            self.process.kill()


@contextlib.contextmanager
def serving(*arguments: str, idle_s: float | None = None) -> Iterator[Server]:
    server = Server(*arguments, idle_s=idle_s)
    try:
        yield server
    finally:
        server.close()
