"""What a collector answered: the SDK says only whether a request was taken, and takes a redirection for that."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS, TRACES, LOGS = "metrics", "traces", "logs"

_LONGEST_ANSWER = 1 << 16
_REJECTED: dict[str, Callable[[bytes], int]] = {
    METRICS: lambda body: ExportMetricsServiceResponse.FromString(body).partial_success.rejected_data_points,
    TRACES: lambda body: ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans,
    LOGS: lambda body: ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records,
}
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Answers:
    """The answers to one signal's requests. `rejected` counts what the collector left out of requests that it took."""

    def __init__(self, signal: str) -> None:
        self.session = requests.Session()
        self.session.hooks["response"].append(self._see)
        self.rejected = 0
        self._rejected_of = _REJECTED[signal]
        self._status = 0

    def forget(self) -> None:
        """Begin the next request."""
        self._status = 0

    @property
    def refuses_content(self) -> bool:
        """Whether the last answer was that the request is wrong or too large: the same one need not be sent again."""
        return self._status in _REFUSALS

    @property
    def is_redirection(self) -> bool:
        """Whether the last answer sent us elsewhere; nobody follows, since the headers may hold secrets."""
        return HTTPStatus.MULTIPLE_CHOICES <= self._status < HTTPStatus.BAD_REQUEST

    def _see(self, response: requests.Response, *args: Any, **kwargs: Any) -> None:
        self._status = response.status_code
        body = response.content
        if self._status != HTTPStatus.OK or not 0 < len(body) <= _LONGEST_ANSWER:
            return
        try:
            self.rejected += max(0, self._rejected_of(body))
        except Exception:  # no protobuf: some engines answer with a text
            return
