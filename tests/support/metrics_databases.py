"""Databases of metrics, each in a process of its own, and what is asked of them in PromQL."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def prometheus(folder: Path, url: str, token: Path) -> Iterator[str]:
    """Run a Prometheus that scrapes this page every second; its address."""
    target = urllib.parse.urlsplit(url).netloc
    configuration = folder / "prometheus.yml"
    authorization = {"credentials_file": str(token)}
    job = {"job_name": "trainings", "authorization": authorization, "static_configs": [{"targets": [target]}]}
    configuration.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    options = (f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}")
    with _listening("prometheus", "--web.listen-address", *options) as address:
        yield address


@contextlib.contextmanager
def victoria_metrics(folder: Path) -> Iterator[str]:
    """Run a VictoriaMetrics that shows at once what it got; its address."""
    options = (f"-storageDataPath={folder}", "-search.latencyOffset=0s", "-retentionPeriod=1d")
    with _listening("victoria-metrics", "-httpListenAddr", *options) as address:
        yield address


def takes_otlp(address: str) -> bool:
    """Return whether this VictoriaMetrics knows OpenTelemetry's path: Debian 12's 1.79 calls it unsupported."""
    until(lambda: _answers(f"{address}/health"), CEILING_S, pause_s=0.05)
    try:
        with urllib.request.urlopen(f"{address}/opentelemetry/v1/metrics", data=b"", timeout=CEILING_S):
            return True
    except urllib.error.HTTPError as error:
        return b"unsupported path" not in error.read()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=CEILING_S):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _listening(program: str, address_option: str, *options: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    process = subprocess.Popen(
        [program, *options, f"{address_option}={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(CEILING_S)


def query(address: str, text: str) -> list[dict[str, Any]]:
    """Return the result; empty as long as nobody answers."""
    try:
        url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': text, 'nocache': 1})}"
        with urllib.request.urlopen(url, timeout=CEILING_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except OSError:
        return []
    return found
