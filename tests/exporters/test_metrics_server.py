"""Who may read the page of metrics: from the loopback, or whoever has the token."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")

from prometheus_client import CollectorRegistry, Gauge

from phasescope.exporters.addresses import is_loopback
from phasescope.exporters.metrics_server import MetricsServer
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "a-secret"


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Serves a page with one gauge; its port."""
    servers = []

    def serve(token: str | None = None) -> int:
        registry = CollectorRegistry()
        Gauge("answer", "The answer.", registry=registry).set(42)
        servers.append(MetricsServer(registry, "127.0.0.1", 0, token))
        servers[-1].start()
        return int(servers[-1].url.removesuffix("/metrics").rpartition(":")[2])

    yield serve
    for server in servers:
        server.close()


def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_page_is_served_to_this_machine(serve: Callable[..., int]) -> None:
    status, text = ask(serve())
    assert (status, "answer 42.0" in text) == (200, True)


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:9464", 200), ("[::1]:9464", 200), ("evil.example", 403), ("", 403)]
)
def test_a_name_that_was_made_to_lead_here_reads_nothing(serve: Callable[..., int], host: str, status: int) -> None:
    found, text = ask(serve(), Host=host)
    assert (found, "answer" in text) == (status, status == 200)


@pytest.mark.parametrize(
    ("given", "status"),
    [("", 401), (f"Basic {TOKEN}", 401), ("Bearer wrong", 401), ("Bearer é", 401), (f"Bearer {TOKEN}", 200)],
)
def test_where_there_is_a_token_only_who_has_it_reads(serve: Callable[..., int], given: str, status: int) -> None:
    found, text = ask(serve(TOKEN), Authorization=given, Host="node-7")
    assert (found, "answer" in text) == (status, status == 200)
    assert TOKEN not in text


def test_there_is_nothing_else(serve: Callable[..., int]) -> None:
    port = serve()
    assert ask(port, "/other")[0] == 404
    assert ask(port, method="POST")[0] == 405


def test_an_address_of_ipv6_is_served_as_well() -> None:
    try:
        server = MetricsServer(CollectorRegistry(), "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    server.close()
    assert server.url.startswith("http://[::1]:")


def test_the_loopback_is_known() -> None:
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "0.0.0.0", "node-7", "")] == [
        *(True, True, True, False, False, False)
    ]
