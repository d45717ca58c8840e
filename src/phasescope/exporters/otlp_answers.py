"""What a collector answered: the SDK says only whether a request was taken, and takes a redirection for that."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from phasescope._secrets import without_secrets
from phasescope.analysis.formatting import plural, printable
from phasescope.exporters.retry_after import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS, TRACES, LOGS = "metrics", "traces", "logs"

_LONGEST_ANSWER = 1 << 16
_LONGEST_REMARK = 200
_MESSAGES: dict[str, tuple[Callable[[bytes], Any], str]] = {
    METRICS: (ExportMetricsServiceResponse.FromString, "rejected_data_points"),
    TRACES: (ExportTraceServiceResponse.FromString, "rejected_spans"),
    LOGS: (ExportLogsServiceResponse.FromString, "rejected_log_records"),
}
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_LATER = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_FAULTS: tuple[tuple[str, str], ...] = (
    ("CertificateError", "its certificate is not trusted: OTEL_EXPORTER_OTLP_CERTIFICATE names whom to trust"),
    ("SSLCertVerificationError", "its certificate is not trusted: OTEL_EXPORTER_OTLP_CERTIFICATE names whom to trust"),
    ("ProxyError", "the proxy lets nothing through"),
    ("SSLError", "it does not agree on TLS"),
    ("BadStatusLine", "it does not speak HTTP/1: OTLP over gRPC has another port"),
    ("Timeout", "no answer"),
    ("ConnectionError", "no connection"),
    ("OSError", "a file that an OTEL_EXPORTER_OTLP_… variable names cannot be read"),
)
"""What it means, by the first of these classes, or ends of their names, in an exception and what it was raised from."""


class Left(NamedTuple):
    """What a collector said about a request that it took: how many items it left out, and why, for a person."""

    items: int
    why: str

    def __str__(self) -> str:
        """Return it behind the collector's address."""
        left_out = f"left out {plural(self.items, 'item')}" if self.items else "has a remark"
        return f"{left_out}: {self.why}" if self.why else left_out


class Answers:
    """The answers to one signal's requests. `rejected` counts what the collector left out of requests that it took;
    `remark` is the last such answer.
    """

    def __init__(self, signal: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.session: requests.Session = _HttpSession(self)
        self.session.hooks["response"].append(self._see)
        self.rejected = 0
        self.remark: Left | None = None
        self._parsed, self._rejected_of = _MESSAGES[signal]
        self._status = 0
        self._is_page = False
        self._fault = ""
        self._monotonic = monotonic
        self._rests_until = 0.0

    def forget(self) -> None:
        """Begin the next request."""
        self._status, self._is_page, self._fault, self.remark = 0, False, "", None

    @property
    def refuses_content(self) -> bool:
        """Whether the last answer was that the request is wrong or too large: the same one need not be sent again."""
        return self._status in _REFUSALS

    @property
    def is_elsewhere(self) -> bool:
        """Whether the last answer sent us elsewhere, or was a page for a person, such as a proxy's to log in at. Nobody
        follows, since the headers may hold secrets."""
        return self._is_page or HTTPStatus.MULTIPLE_CHOICES <= self._status < HTTPStatus.BAD_REQUEST

    @property
    def rests(self) -> bool:
        """Whether the collector has asked not to be asked yet."""
        return self._monotonic() < self._rests_until

    @property
    def reason(self) -> str:
        """Why the last request was not taken, for a person."""
        if self._is_page:
            return "the answer is a page for people, perhaps a proxy's"
        return f"it answers {self._status}" if self._status else self._fault or "no answer"

    def failed(self, error: BaseException) -> None:
        """Note that the request had no answer."""
        names = [each.__name__ for link in _links(error) for each in type(link).__mro__]
        self._fault = next((text for end, text in _FAULTS if any(name.endswith(end) for name in names)), "no answer")

    def _see(self, response: requests.Response, *args: Any, **kwargs: Any) -> None:
        self._status = response.status_code
        body = response.content
        is_html = "html" in response.headers.get("content-type", "").lower() and body.lstrip()[:1] == b"<"
        self._is_page = is_html and self._status == HTTPStatus.OK
        if self._status in _LATER:
            self._rests_until = self._monotonic() + seconds_of(response.headers.get("retry-after"), time.time())
        if self._status != HTTPStatus.OK or self._is_page or not 0 < len(body) <= _LONGEST_ANSWER:
            return
        try:
            partial = self._parsed(body).partial_success
        except Exception:  # no protobuf: some engines answer with a text
            return
        left = Left(max(0, getattr(partial, self._rejected_of)), _plain(partial.error_message))
        self.rejected += left.items
        self.remark = left if any(left) else None


class _HttpSession(requests.Session):
    """Notes what becomes of requests that have no answer, and prefers what was said of this exporter to what the
    environment says of all requests."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Keep the `Authorization` that was given: a `.netrc` would replace it."""
        if any(name.lower() == "authorization" for name in request.headers):
            request.auth = _as_it_is
        return super().prepare_request(request)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Keep the certificates that were named: `REQUESTS_CA_BUNDLE` would replace them."""
        named = self.verify if isinstance(self.verify, str) and verify in (None, True) else verify
        return super().merge_environment_settings(url, proxies, stream, named, cert)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        try:
            return super().send(request, **kwargs)
        except Exception as error:
            self._answers.failed(error)
            raise


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _links(error: BaseException) -> list[BaseException]:
    """Return the exception, and those that it holds or was raised from, a few steps deep."""
    found, seen = [error], {id(error)}
    for each in found:
        inner = [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
        new = [one for one in inner if isinstance(one, BaseException) and id(one) not in seen]
        found += new
        seen |= {id(one) for one in new}
    return found


def _plain(text: str) -> str:
    return printable(without_secrets(text)[:_LONGEST_REMARK])
