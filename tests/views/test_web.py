"""The web page: a real server in its own process over real sessions, looked at by a real browser and by strangers."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import cli
from phasescope.analysis.diagnosis.verdict import verdict
from support.browser import Watched, needs_browser, running_browser
from support.fakes.made_rings import GIB, MadeRing, an_hour, grows, made_ring
from support.fakes.trainings import training
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("plotly")

from support.hostile_markup import assert_harmless, hostile  # noqa: E402 - it needs the same extras
from support.web_server import Server, serving  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked")

browser = pytest.fixture(scope="module")(running_browser)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web") / "rings"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """One over a directory with one finished session."""
    with made_ring(place) as ring:
        ring.run(["step"], 10)
        ring.stop()
    with serving("--dir", str(place)) as server:
        yield server


PATHS = ("/api/sessions", "/api/snapshot", "/api/events", "/report", "/x")


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(server: Server, path: str) -> None:
    for given in ("none", "Bearer wrong", "Bearer", f"Basic {server.token}", f"Bearer {server.token}x"):
        assert server.get(path, authorization=given).status_code == 401
    assert server.get(path, cookie=f"phasescope-{server.port}={server.token}").status_code == 401
    assert server.get(f"{path}?token={server.token}", authorization="none").status_code == 401


@pytest.mark.parametrize("path", ["/", "/assets/page.js", "/assets/plotly.min.js"])
def test_the_page_itself_holds_nothing_and_sets_no_cookie(server: Server, path: str) -> None:
    answer = server.get(path, authorization="none")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert server.token not in answer.text
    assert "4242" not in answer.text or path == "/assets/plotly.min.js"


@needs_browser
def test_the_address_works_where_it_is_clicked_on_another_page(server: Server, browser: Any) -> None:
    watched = Watched(browser)
    try:
        watched.page.set_content(f'<a href="{server.url}">look</a>')
        watched.page.click("a")
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert watched.page.url == f"{server.base}/"
        watched.page.reload()
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert watched.wrong == []
    finally:
        watched.close()


class Stranger(threading.Thread):
    """Another user's server, on another port of the same address: it keeps all that a browser sends it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.got: list[bytes] = []

    def end(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join(CEILING_S)
        self.listener.close()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self.got.append(client.recv(65536))
                page = b"<title>a page of somebody else</title>"
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
                client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(page) + page)


@needs_browser
def test_a_server_on_another_port_learns_nothing_of_the_token(server: Server, browser: Any) -> None:
    stranger = Stranger()
    stranger.start()
    watched = open_page(browser, server)
    try:
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert watched.context.cookies() == []
        assert not [url for url in watched.requested if server.token in url]
        link = "(url) => Object.assign(document.createElement('a'), { href: url }).click()"
        watched.page.evaluate(link, stranger.url)
        watched.until("document.title === 'a page of somebody else'")
        assert watched.page.evaluate("sessionStorage.length") == 0
        seen = watched.context.new_page()
        seen.goto(stranger.url + "again")
        seen.goto(server.base)
        seen.wait_for_function("document.getElementById('refused').innerText.includes('token is needed')")
    finally:
        watched.close()
        stranger.end()
    assert len(stranger.got) >= 2
    for request in stranger.got:
        assert server.token.encode() not in request
        assert b"cookie" not in request.lower()
        assert f":{server.port}".encode() not in request


@needs_browser
def test_a_new_address_in_the_same_tab_is_taken_up(server: Server, browser: Any) -> None:
    watched = Watched(browser)
    try:
        watched.page.goto(f"{server.base}/#token=old")
        watched.until(shows("#refused", "token is needed"))
        watched.page.goto(server.url)
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert watched.page.url == f"{server.base}/"
    finally:
        watched.close()


@needs_browser
def test_the_report_is_saved_by_a_click(server: Server, browser: Any, tmp_path: Path) -> None:
    watched = open_page(browser, server)
    try:
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        with watched.page.expect_download() as download:
            watched.page.click("#save")
        assert download.value.suggested_filename == "phasescope-4242.html"
        download.value.save_as(tmp_path / "saved.html")
        assert 'id="data"' in (tmp_path / "saved.html").read_text(encoding="utf-8")
        assert watched.wrong == []
    finally:
        watched.close()


def test_connections_that_dribble_or_do_not_read_are_ended_and_do_not_shut_the_page_out(
    server: Server, place: Path
) -> None:
    """`server` has made the session; the one that is asked here has less patience."""
    with serving("--dir", str(place), idle_s=3.0) as impatient, contextlib.ExitStack() as connections:

        def connection() -> socket.socket:
            return connections.enter_context(socket.create_connection(("127.0.0.1", impatient.port), timeout=CEILING_S))

        idle = [connection() for _ in range(300)]
        slow, deaf = connection(), connection()
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /assets/plotly.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert impatient.stream(count=2)[1][0] == "snapshot"
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(lambda: slow.sendall(b"X-A: b\r\n"), CEILING_S, pause_s=0.2)
        until(lambda: not impatient.holds(deaf))
        assert all(ended(connection) for connection in idle)
        assert impatient.stream(count=2)[1][0] == "snapshot"


def ended(connection: socket.socket) -> bool:
    """Wait for the other side to end it, and take what it sent before."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "", "[::1", "127.0.0.2:{port}", "localhost:x"],
)
def test_another_name_in_host_is_refused(server: Server, host: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=CEILING_S) as connection:
        name = host.format(port=server.port)
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] in (b"403", b"400")
    assert b"phasescope" not in answer.lower()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:{port}", "[::1]:{port}"])
def test_our_own_names_are_let_in_also_through_a_tunnels_port(server: Server, host: str) -> None:
    given = {"authorization": f"Bearer {server.token}", "host": host.format(port=server.port)}
    assert server.get("/api/sessions", **given).status_code == 200


def test_other_pages_can_read_nothing(server: Server) -> None:
    given = {"authorization": f"Bearer {server.token}"}
    answer = server.get("/api/sessions", **given)
    for origin in ("https://evil.example", "http://localhost.evil.example", "null", ""):
        assert server.get("/api/sessions", **given, origin=origin).status_code == 403
    assert server.get("/api/sessions", **given, origin=server.base).status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for site in ("cross-site", "same-site"):
        assert server.get("/api/sessions", **given, **{"sec-fetch-site": site}).status_code == 403
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_to_change(server: Server, method: str) -> None:
    headers = {"authorization": f"Bearer {server.token}"}
    assert httpx.request(method, f"{server.base}/api/sessions", headers=headers).status_code == 405


@pytest.mark.parametrize(
    "path", ["/assets/..%2fapp.py", "/assets/%2e%2e/app.py", "/assets/index.html", "/assets/app.py"]
)
def test_only_the_pages_own_files_are_served(server: Server, path: str) -> None:
    assert server.get(path).status_code == 404


def test_a_session_that_is_not_there_is_404_and_paths_are_no_keys(server: Server, place: Path) -> None:
    (ring,) = place.glob("*.ring")
    for key in ("nobody", str(ring), "../../etc/passwd", "%00"):
        assert server.get(f"/api/snapshot?session={key}").status_code == 404


def test_the_events_begin_with_everything_also_for_who_comes_back(server: Server) -> None:
    for _ in range(2):
        (first, listed), (second, snapshot) = server.stream(count=2)
        assert (first, second) == ("sessions", "snapshot")
        assert listed["jobs"][0][0]["state"] == "stopped"
        assert snapshot["ending"]["kind"] == "finished"
        assert [row["path"] for row in snapshot["phases"]["rows"]] == [["step"]]


def test_the_report_can_be_saved(server: Server) -> None:
    answer = server.get("/report")
    assert answer.status_code == 200
    assert 'attachment; filename="phasescope-4242.html"' in answer.headers["content-disposition"]
    assert 'id="data"' in answer.text


def test_another_host_needs_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["web", "--host", "0.0.0.0", "--no-token"]) == 2
    assert "loopback" in capsys.readouterr().err


def test_a_host_for_all_is_called_by_any_number_and_by_no_other_name(place: Path) -> None:
    with serving("--dir", str(place), "--host", "0.0.0.0") as server:
        bearer = f"Bearer {server.token}"
        assert server.get("/api/sessions", authorization="none").status_code == 401
        for host, code in (("10.1.2.3:1", 200), ("evil.example", 403), (socket.gethostname(), 200)):
            assert server.get("/api/sessions", authorization=bearer, host=host).status_code == code


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["web", "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen" in capsys.readouterr().err


def test_a_host_that_is_not_ours_is_one_line_without_a_port_that_nobody_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["web", "--host", "192.0.2.1"]) == 1
    err = capsys.readouterr().err
    assert "cannot listen at 192.0.2.1: " in err
    assert "port" not in err


def test_a_session_that_is_not_found_is_one_line(rings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["web", "4242", "--dir", str(rings)]) == 1
    assert "no session of pid 4242" in capsys.readouterr().err


def test_without_the_extra_the_answer_is_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else found(name, *more)
    )
    assert cli.main(["web"]) == 3
    assert 'uvicorn missing: pip install "phasescope[web]"' in capsys.readouterr().err


def test_ctrl_c_ends_the_server_while_a_page_looks(place: Path) -> None:
    server = Server("--dir", str(place))
    with httpx.stream(
        "GET", f"{server.base}/api/events", headers={"authorization": f"Bearer {server.token}"}
    ) as answer:
        next(answer.iter_lines())
        code = server.close()
    assert (code, server.complaints) == (130, "")


def open_page(browser: Any, server: Server, **options: Any) -> Watched:
    watched = Watched(browser, **options)
    watched.page.goto(server.url)
    return watched


def shows(selector: str, text: str) -> str:
    return f"(document.querySelector({json.dumps(selector)})?.innerText ?? '').includes({json.dumps(text)})"


def seen_after(watched: Watched, what: str, condition: str) -> None:
    began = time.monotonic()
    watched.until(condition)
    print(f"{what}: {time.monotonic() - began:.2f} s")


@needs_browser
def test_a_real_training_is_seen_live_until_its_end(rings: Path, browser: Any) -> None:
    with serving("--dir", str(rings)) as server:
        watched = open_page(browser, server)
        try:
            watched.until(shows("#waiting", "Waiting for a session"))
            with training(rings) as running:
                seen_after(watched, "a session that begins", shows("#state", "running"))
                running.enter("forward", 5 * GIB)
                seen_after(watched, "its phase", shows("#current", "epoch/forward"))
                seen_after(watched, "its memory", shows("#tiles", "5.00 GiB"))
                running.leave()
                running.enter("backward", 2 * GIB)
                seen_after(watched, "its next phase", shows("#current", "epoch/backward"))
                running.leave()
                running.end("raise")
                seen_after(watched, "its end", shows("#ending", "Ended by an exception: ValueError"))
                watched.until(shows("#current", "ended in"))
            assert "epoch" in watched.text("#phases")
            assert (
                watched.page.evaluate(
                    "Math.max(...document.getElementById('timeline').data.find((t) => t.name === 'allocated').y)"
                )
                == 5 * GIB
            )
            assert watched.wrong == []
            assert all(url.startswith((server.base, "data:")) for url in watched.requested)
        finally:
            watched.close()


@needs_browser
def test_a_killed_training_and_its_successor(rings: Path, browser: Any) -> None:
    with serving("--dir", str(rings)) as server, training(rings) as running:
        watched = open_page(browser, server)
        try:
            running.enter("forward")
            watched.until(shows("#current", "epoch/forward"))
            running.end("kill")
            seen_after(watched, "a kill", shows("#state", "killed"))
            assert "Open at the end: epoch" in watched.text("#ending")
            with training(rings):
                watched.until("document.querySelectorAll('#sessions option').length === 2")
                assert watched.text("#state") == "killed"
                watched.page.select_option("#sessions", index=0)
                watched.until(shows("#state", "running"))
            assert watched.wrong == []
        finally:
            watched.close()


@needs_browser
def test_ranks_stand_side_by_side_and_can_be_chosen(rings: Path, browser: Any) -> None:
    with serving("--dir", str(rings)) as server, training(rings, 0, 2) as first, training(rings, 1, 2) as second:
        for each, size in ((first, GIB), (second, 7 * GIB)):
            each.enter("forward", size)
        watched = open_page(browser, server)
        try:
            watched.until("document.querySelectorAll('#ranks tbody tr').length === 2")
            watched.until(shows("#ranks tbody tr:nth-child(2)", "most"))
            watched.until(shows("#job-remarks", "rank 1 uses the most in epoch"))
            watched.page.click("#ranks tbody tr:nth-child(2)")
            watched.until(shows("#facts", "rank 1 of 2"))
            watched.until(shows("#tiles", "7.00 GiB"))
            watched.page.click("#ranks tbody tr:nth-child(1)")
            watched.until(shows("#facts", "rank 0 of 2"))
            assert watched.wrong == []
        finally:
            watched.close()


PROXY = """
import socket, sys, threading
target, listener = int(sys.argv[1]), socket.create_server(("127.0.0.1", int(sys.argv[2])))
print(listener.getsockname()[1], flush=True)
def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for each in (source, sink):
        each.close()
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", target))
    for ends in ((client, server), (server, client)):
        threading.Thread(target=pump, args=ends, daemon=True).start()
"""


@contextlib.contextmanager
def tunnel(target: int, port: int = 0) -> Iterator[int]:
    """A way to the server that breaks off when it ends, as an ssh tunnel does; its port."""
    command = [sys.executable, "-c", PROXY, str(target), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@needs_browser
def test_a_lost_connection_is_said_and_made_up_for(rings: Path, browser: Any) -> None:
    with serving("--dir", str(rings)) as server, training(rings) as running:
        watched = Watched(browser)
        try:
            with tunnel(server.port) as port:
                watched.page.goto(f"http://localhost:{port}/#token={server.token}")
                running.enter("forward")
                watched.until(shows("#current", "epoch/forward"))
            watched.until(shows("#link", "connection lost"))
            running.leave()
            running.enter("backward", 9 * GIB)
            with tunnel(server.port, port):
                seen_after(watched, "after a lost connection", shows("#current", "epoch/backward"))
                watched.until(shows("#link", "live"))
                watched.until(shows("#phases", "forward"))
                watched.until(shows("#tiles", "9.00 GiB"))
            assert [text for text in watched.wrong if not text.startswith("console: Failed to load resource")] == []
        finally:
            watched.close()


@needs_browser
def test_hostile_names_are_shown_and_do_nothing(rings: Path, browser: Any) -> None:
    text = "<img src=x onerror=alert(2)>"
    with made_ring(rings, command=["python", text], host=text, job_id=text, world_size=2) as ring:
        hostile(ring)
        with made_ring(rings, pid=7, rank=1, command=[text], host=text, job_id=text, world_size=2) as other:
            hostile(other)
            with serving("--dir", str(rings)) as server:
                watched = open_page(browser, server)
                try:
                    watched.until("document.querySelector('#timeline .main-svg') !== null")
                    watched.until("document.querySelectorAll('#ranks tbody tr').length === 2")
                    assert_harmless(watched)
                    for selector in ("#command", "#phases", "#events", "#ranks"):
                        assert text in watched.text(selector)
                finally:
                    watched.close()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(server: Server, browser: Any, scheme: str) -> None:
    watched = open_page(browser, server, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    try:
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 390
        ground = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(int(number) for number in ground.removeprefix("rgb(").rstrip(")").split(","))
        assert (lightness > 600) == (scheme == "light")
        assert watched.wrong == []
    finally:
        watched.close()


@needs_browser
def test_zooming_stays_while_the_session_goes_on(rings: Path, browser: Any) -> None:
    with made_ring(rings) as ring:
        for _ in range(50):
            ring.run(["step"], 100)
        with serving("--dir", str(rings)) as server:
            watched = open_page(browser, server)
            try:
                watched.until("document.querySelector('#timeline .main-svg') !== null")
                box = watched.page.locator("#timeline .nsewdrag").first.bounding_box()
                watched.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
                watched.page.mouse.down()
                watched.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
                watched.page.mouse.up()
                ends = "document.getElementById('timeline').layout.xaxis.range.map((end) => new Date(end).getTime())"
                width = f"{ends}.reduce((from, to) => to - from)"
                watched.until(f"{width} < 3000")
                ring.run(["later"], 100)
                watched.until(shows("#phases", "later"))
                assert watched.page.evaluate(width) < 3000
                watched.page.click("#range-choice button:has-text('all')")
                watched.until(f"{width} > 4000")
            finally:
                watched.close()


HOUR_VIEW = """
import json, sys, time
from phasescope.views.catalogue import Catalogue
from phasescope.views.web import app
from phasescope.views.web.hub import Hub
from phasescope.views.page.page_data import snapshot

hub = Hub(Catalogue([sys.argv[1]]))
key = hub.newest()
began = time.process_time()
while hub.progress(key) is not None:
    pass
read = time.process_time() - began
told, cursor = hub.snapshot(key)
times = []
for _ in range(10):
    began = time.process_time()
    app.embedded_json(hub.delta(key, cursor))
    times.append((time.process_time() - began) * 1000)
with open("/proc/self/status") as status:
    (rss,) = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")]
print(json.dumps({"events": told["counts"]["events"], "read_s": read, "rss_mib": rss, "update_ms": sorted(times)[5]}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory there was at most")
def test_an_hour_stays_small_and_its_updates_short(tmp_path: Path) -> None:
    with made_ring(tmp_path / "rings", capacity_bytes=64 * 2**20) as ring:
        events = an_hour(ring, step_ms=400)
        done = subprocess.run(
            [sys.executable, "-c", HOUR_VIEW, str(tmp_path / "rings")],
            capture_output=True,
            text=True,
            timeout=CEILING_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print("an hour:", told)
    assert told["events"] == events
    assert told["rss_mib"] < 200
    assert told["update_ms"] < 500  # measured well below 100; machines that run tests are busy


def test_a_ring_that_wraps_faster_than_it_is_read_counts_what_was_missed(rings: Path) -> None:
    from phasescope.views.catalogue import Catalogue
    from phasescope.views.web.hub import Hub

    with made_ring(rings, capacity_bytes=256 * 1024) as ring:
        hub = Hub(Catalogue([str(rings)]))
        key = hub.newest()
        assert key is not None
        found = hub.snapshot(key)
        assert found is not None
        _, cursor = found
        for _ in range(20_000):
            ring.run(["step"], 1)
        told = hub.delta(key, cursor)
        Path(ring.path).unlink()
        ring.run(["after"], 1)
        again = hub.delta(key, cursor)
        hub.close()
    assert told is not None
    assert again is not None
    assert told["counts"]["missed"] > 30_000
    assert again["current"] == []
    assert again["ending"]["kind"] in ("running", "silent")


def test_64_sessions_are_listed_by_job(rings: Path) -> None:
    from phasescope.views.catalogue import Catalogue

    kept: list[MadeRing] = []
    try:
        for number in range(64):
            more = {"rank": number % 8, "world_size": 8, "job_id": f"job{number // 8}"}
            kept.append(MadeRing(rings, capacity_bytes=256 * 1024, pid=number, **more))
        began = time.process_time()
        jobs = Catalogue([str(rings)]).jobs()
        print(f"64 sessions listed in {(time.process_time() - began) * 1000:.0f} ms")
    finally:
        for ring in kept:
            ring.die()
    assert [len(job) for job in jobs] == [8] * 8
    assert [entry.constants["rank"] for entry in jobs[0]] == list(range(8))


def verdict_of(path: str) -> str:
    with phasescope.attach(path) as reader:
        return verdict(reader.explain()).text


def test_a_live_page_and_its_report_say_first_what_explain_says(rings: Path) -> None:
    with made_ring(rings) as ring, serving("--dir", str(rings)) as server:
        grows(ring, 104)
        text = verdict_of(ring.path)
        assert text.startswith("memory on cuda:0 grows: 1.00 MiB a step")
        told = dict(server.stream(last="answer"))
        assert told["snapshot"]["answer"] == told["answer"]
        assert told["answer"]["verdict"] == {"kind": "growth", "text": text, "is_good": False}
        assert "what to try first" in told["answer"]["lines"]
        assert json.dumps(text) in server.get("/report").text


@needs_browser
def test_a_live_page_says_the_verdict_and_leaves_it_open_when_it_changes(rings: Path, browser: Any) -> None:
    with made_ring(rings) as ring, serving("--dir", str(rings)) as server:
        ring.run(["step"], 10)
        watched = open_page(browser, server)
        try:
            watched.until(shows("#answer", "Nothing went wrong; whether memory grows is not known"))
            watched.page.click("#answer summary")
            grows(ring, 104)
            watched.until(shows("#answer", "Memory on cuda:0 grows: 1.00 MiB a step"))
            assert watched.page.evaluate("document.querySelector('#answer details').open")
            assert "what to try first" in watched.text("#answer")
            ring.stop()
            watched.until(shows("#answer", "Memory on cuda:0 grew: 1.00 MiB a step"))
            assert watched.wrong == []
        finally:
            watched.close()
