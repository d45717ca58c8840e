"""What a web hook asks of its sender, by a real server."""

from __future__ import annotations

import http.server
import threading
import time

from phasescope.exporters.alert_actions import Sender, Webhook
from support.waiting import until


def test_a_web_hook_that_asks_for_time_gets_it() -> None:
    asked: list[tuple[float, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((time.monotonic(), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(429 if len(asked) == 1 else 200)
            self.send_header("Retry-After", "2")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    said: list[str] = []
    sender = Sender(Webhook(f"http://127.0.0.1:{server.server_port}/T1"), said.append)
    try:
        sender.start()
        sender.put("{}")
        until(lambda: len(asked) == 2)
        sender.close()
    finally:
        server.shutdown()
        server.server_close()
    assert [body for _, body in asked] == [b"{}", b"{}"]
    assert asked[1][0] - asked[0][0] >= 2
    assert (sender.dropped, said[0].partition(";")[0]) == (0, f"127.0.0.1:{server.server_port} answers 429")
