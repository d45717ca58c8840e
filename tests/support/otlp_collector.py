"""A collector that takes OTLP over HTTP, in a process of its own: it keeps the requests in a file, request by request.

The messages are parsed by the official `opentelemetry-proto` package.
"""

from __future__ import annotations

import gzip
import http.server
import json
import socket
import ssl
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

from support.waiting import CEILING_S


class Collector:
    """`url` stays the same over `kill` and `start`. `status` is its answer, after `delay_s`.

    It answers 400 to a request that holds the text `poison`, and says of others that it left out `rejected` items.
    `more` may hold `remark`, the words that go with that; `headers` of each answer; `page`, a text in place of the
    answer; and `certificate`, the file with key and certificate by which it speaks TLS.
    """

    def __init__(self, folder: Path) -> None:
        held = socket.socket()  # it keeps the port, without listening: nobody else is given it in between
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        weakref.finalize(self, held.close)
        self.port = held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._file = folder / "collected"
        self._file.touch()
        self._process: subprocess.Popen[str] | None = None

    def start(
        self, status: int = 200, delay_s: float = 0.0, poison: str = "", rejected: int = 0, **more: object
    ) -> None:
        """Begin to listen; returns when it does."""
        numbers = [str(status), str(delay_s), poison, str(rejected)]
        arguments = [str(self.port), str(self._file), *numbers, json.dumps(more)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.otlp_collector", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """End at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=CEILING_S)
            self._process = None

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests so far: `path`, `headers` by their names in lower case, `status` and `body`, in hex."""
        lines = self._file.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def messages(self, signal: str) -> list[Any]:
        """Return the requests of `metrics`, `traces` or `logs` that it took, parsed."""
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        kinds: dict[str, Any] = {
            "metrics": ExportMetricsServiceRequest,
            "traces": ExportTraceServiceRequest,
            "logs": ExportLogsServiceRequest,
        }
        return [
            kinds[signal].FromString(bytes.fromhex(request["body"]))
            for request in self.requests()
            if request["path"] == f"/v1/{signal}" and request["status"] == 200
        ]

    def spans(self) -> list[tuple[dict[str, Any], Any]]:
        """Return every span with the attributes of its resource."""
        return [
            (attributes(each.resource.attributes), span)
            for message in self.messages("traces")
            for each in message.resource_spans
            for scope in each.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list[tuple[dict[str, Any], Any]]:
        """Return every log record with the attributes of its resource."""
        return [
            (attributes(each.resource.attributes), record)
            for message in self.messages("logs")
            for each in message.resource_logs
            for scope in each.scope_logs
            for record in scope.log_records
        ]

    def metrics(
        self, value: str, key: str = "service.instance.id"
    ) -> dict[tuple[str, frozenset[tuple[str, Any]]], Any]:
        """Return the newest data point of each series of a session, or other resource, by name and attributes."""
        kept = {}
        for message in self.messages("metrics"):
            for each in message.resource_metrics:
                if attributes(each.resource.attributes).get(key) == value:
                    for metric in (metric for scope in each.scope_metrics for metric in scope.metrics):
                        for point in getattr(metric, metric.WhichOneof("data")).data_points:
                            kept[metric.name, frozenset(attributes(point.attributes).items())] = point
        return kept


def attributes(pairs: Any) -> dict[str, Any]:
    """Return attributes as plain values."""
    return {pair.key: plain(pair.value) for pair in pairs}


def plain(value: Any) -> Any:
    """Return an AnyValue as a plain value."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind == "array_value":
        return [plain(member) for member in held.values]
    return attributes(held.values) if kind == "kvlist_value" else held


def partly_taken(path: str, rejected: int, remark: str = "") -> bytes:
    """Return the answer that `rejected` items were left out."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    if not rejected and not remark:
        return b""
    answer: Any
    if path == "/v1/logs":
        answer = ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = rejected
    elif path == "/v1/traces":
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejected
    else:
        answer = ExportMetricsServiceResponse()
        answer.partial_success.rejected_data_points = rejected
    answer.partial_success.error_message = remark
    return bytes(answer.SerializeToString())


def serve(port: int, file: Path, always: int, delay_s: float, poison: str, rejected: int, more: dict[str, Any]) -> None:
    """Keep every request in the file, before it is answered."""
    page = more.get("page", "").encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(delay_s)
            status = 400 if poison and poison.encode() in body else always
            answer = page or partly_taken(self.path, rejected, more.get("remark", ""))
            got = {
                "path": self.path,
                "headers": {name.lower(): text for name, text in self.headers.items()},
                "status": status,
                "body": body.hex(),
            }
            with file.open("a") as kept:
                kept.write(json.dumps(got) + "\n")
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            for name, text in more.get("headers", {}).items():
                self.send_header(name, text)
            if status // 100 == 3:
                self.send_header("location", f"http://127.0.0.1:{port}/elsewhere")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            pass

    class Server(http.server.ThreadingHTTPServer):
        def server_bind(self) -> None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            super().server_bind()

    server = Server(("127.0.0.1", port), Handler)
    if "certificate" in more:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(more["certificate"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    PORT, FILE, STATUS, DELAY_S, POISON, REJECTED, MORE = sys.argv[1:]
    serve(int(PORT), Path(FILE), int(STATUS), float(DELAY_S), POISON, int(REJECTED), json.loads(MORE))
