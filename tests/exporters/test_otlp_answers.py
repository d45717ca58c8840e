"""What real servers answer that are not quite a collector: what is said of it, and that no secret is in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from support.fakes.made_rings import START_NS, made_ring
from support.waiting import CEILING_S

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otlp` is not installed")
if not hasattr(os, "getuid"):
    pytest.skip("sessions lie in files only where they can be locked", allow_module_level=True)

import requests

from phasescope.exporters import otlp
from phasescope.exporters.addresses import endpoint_of
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.exporters.otlp import Delivery
from phasescope.exporters.otlp_answers import LOGS, Answers
from phasescope.exporters.quiet_threads import end_of_quiet, quiet_this_thread
from phasescope.exporters.retry_after import LONGEST_S, seconds_of
from phasescope.wire import ring_files
from support.otlp_collector import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


SOON_S = 1.0


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.kill()


@pytest.fixture
def sent(rings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Send a session's first warning to a URL, `times` times over; what was said.

    It waits `answer_s` for an answer; where there is no connection it tries again for as long.
    """
    quiet_this_thread()
    with contextlib.ExitStack() as made:

        def sent(url: str, times: int = 1, answer_s: float = 60.0) -> list[str]:
            monkeypatch.setattr(otlp, "TIMEOUT_S", answer_s)
            said: list[str] = []
            sessions = LiveSessions(lambda: ring_files.find(rings), now_ns=lambda: START_NS)
            made.callback(sessions.close)
            delivery = Delivery(endpoint_of(url), sessions, threading.Lock(), interval_s=3600, say=said.append)
            made.callback(delivery.hurry)
            ring = made.enter_context(made_ring(rings, session_id="a"))
            ring.event("warning", context="first")
            while sessions.poll():
                pass
            for _ in range(times):
                delivery.deliver()
            return said

        yield sent
    end_of_quiet()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and the certificate of 127.0.0.1 that it has signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "made.pem"
    named = ["-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", "req", *kind, *named, "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True, timeout=CEILING_S)
    both = folder / "both.pem"
    both.write_text(key.read_text() + made.read_text())
    return both


def test_a_certificate_that_nobody_knows_is_said_and_one_that_is_named_is_trusted(
    collector: Collector, certificate: Path, sent: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.start(certificate=str(certificate))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ssl.get_default_verify_paths().openssl_cafile)  # as in many companies
    url = collector.url.replace("http://", "https://me:s3cret@")
    said = sent(url, answer_s=SOON_S)
    assert len(said) == 2
    assert all("its certificate is not trusted: OTEL_EXPORTER_OTLP_CERTIFICATE" in line for line in said)
    assert "s3cret" not in str(said)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate))
    assert sent(url) == []
    assert collector.logs()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/s3cret.pem")
    said = sent(url)
    assert "OTEL_EXPORTER_OTLP_… variable names cannot be read" in said[0]
    assert "s3cret" not in str(said)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"status": 401}, "it answers 401"),
        ({"status": 404}, "it answers 404"),
        ({"status": 302}, "it answers 302"),
        ({"page": "<html>Log in", "headers": {"Content-Type": "text/html; charset=utf-8"}}, "the answer is a page"),
        ({"delay_s": 3600.0}, "no answer"),
        (None, "no connection"),
    ],
)
def test_why_a_signal_is_not_taken_is_said(
    collector: Collector, sent: Callable[..., list[str]], answer: dict[str, Any] | None, why: str
) -> None:
    if answer is not None:
        collector.start(**answer)
    is_answered = answer is not None and "delay_s" not in answer
    said = sent(collector.url.replace("://", "://me:s3cret@"), answer_s=60.0 if is_answered else SOON_S)
    assert [line.split()[0:5] for line in said] == [
        [collector.url, "does", "not", "take", f"{signal};"] for signal in ("metrics", "logs")
    ]
    assert all(f"({why}" in line for line in said)
    assert "s3cret" not in str(said)


def test_a_proxy_that_is_away_is_said_without_its_password(
    collector: Collector, sent: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://me:s3cret@127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    said = sent("http://collector.example:4318", answer_s=SOON_S)
    assert "(the proxy lets nothing through)" in said[0]
    assert "s3cret" not in str(said)


def test_a_netrc_does_not_replace_the_authorization_that_was_given(
    tmp_path: Path, collector: Collector, sent: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    collector.start()
    sent(collector.url.replace("://", "://me:s3cret1@"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret2")
    sent(collector.url)
    given = {request["headers"]["authorization"] for request in collector.requests()}
    assert given == {"Basic bWU6czNjcmV0MQ==", "Bearer s3cret2"}


def test_a_port_for_grpc_is_said(sent: Callable[..., list[str]]) -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert "OTLP over gRPC has another port" in sent(f"http://127.0.0.1:{port}", answer_s=SOON_S)[0]
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("status", [429, 503])
def test_a_collector_that_asks_for_time_is_not_asked_before(
    collector: Collector, sent: Callable[..., list[str]], status: int
) -> None:
    collector.start(status=status, headers={"Retry-After": "120"})
    said = sent(collector.url, times=3)
    assert [line.partition("(")[2] for line in said] == [f"it answers {status})"] * 2
    assert sorted(request["path"] for request in collector.requests()) == ["/v1/logs", "/v1/metrics"]


def test_the_time_that_it_asks_for_ends() -> None:
    now_s = 0.0
    answers = Answers(LOGS, lambda: now_s)
    for text, until_s in (("7", 7.0), ("999999999999", LONGEST_S), ("soon", 0.0), ("-5", 0.0)):
        response = requests.Response()
        response.status_code, response.headers["Retry-After"], response._content = 429, text, b""
        now_s = 0.0
        answers._see(response)
        assert answers.rests is (until_s > 0)
        now_s = until_s - 0.5
        assert until_s == 0 or answers.rests
        now_s = until_s
        assert not answers.rests


def test_a_time_is_a_number_or_a_date() -> None:
    date, now_s = "Wed, 21 Oct 2015 07:28:00 GMT", 1445412480.0
    assert [seconds_of(text, now_s - 30) for text in ("12", date, date.replace("GMT", "-0000"))] == [12, 30, 30]
    assert [seconds_of(text, now_s + 30) for text in (date, None, "", "x", "1e9", "Wed, 99 Oct")] == [0] * 6


def test_what_a_collector_says_about_a_request_that_it_took_is_said_once(
    collector: Collector, sent: Callable[..., list[str]]
) -> None:
    remark = "sums since the start are not taken\n\x1b[2Jfor key=1 Authorization: Bearer s3cret1"
    collector.start(rejected=3, remark=remark)
    said = sent(collector.url, times=3)
    shown = r"sums since the start are not taken\n\x1b[2Jfor key=1 Authorization: ***"
    assert said == [f"{collector.url} takes {signal}, but left out 3 items: {shown}" for signal in ("metrics", "logs")]


def test_a_remark_about_nothing_that_was_left_out_is_said_too(
    collector: Collector, sent: Callable[..., list[str]]
) -> None:
    collector.start(remark="use the other region")
    assert sent(collector.url)[0] == f"{collector.url} takes metrics, but has a remark: use the other region"
