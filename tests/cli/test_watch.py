"""`phasescope watch` on a real training: to a real receiver of web hooks that comes and goes, and to a real program."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import cli
from support.commands import Training, interrupted, needs_files, running
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_files


class Receiver:
    """A receiver of web hooks, which answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): text for name, text in self.headers.items()}
                receiver.got.append((self.path, headers, body))
                self.send_response(receiver.status)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


watching = functools.partial(running, "watch")


def test_a_web_hook_that_was_away_gets_each_alert_once_and_no_secret_is_shown(
    directory: Path, tmp_path: Path, training: Training, receiver: Receiver
) -> None:
    receiver.status = 503
    file = tmp_path / "webhook"
    file.write_text(f"http://me:s3cret1@{receiver.host}/hooks/s3cret2?key=s3cret3\n")
    arguments = ("--all", "--when", "used>1B", "--when", "died", "--webhook", f"@{file}")
    with watching(directory, *arguments, PHASESCOPE_WEBHOOK_AUTHORIZATION="") as process:
        until(lambda: receiver.got, CEILING_S)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert f"{receiver.host} answers 503" in said
        receiver.status = 200
        until(lambda: len(receiver.got) >= 2, CEILING_S)
        training.kill()
        until(lambda: [body for _, _, body in receiver.got if body["condition"] == "died"], CEILING_S)
        code, out, errors = interrupted(process)
    assert (code, out) == (0, "")
    assert "taken again" in errors
    assert "s3cret" not in said + errors
    path, headers, body = receiver.got[-1]
    assert (path, headers["content-type"]) == ("/hooks/s3cret2?key=s3cret3", "application/json")
    assert headers["authorization"] == "Basic bWU6czNjcmV0MQ=="
    assert (body["version"], body["session"]["pid"], body["session"]["rank"]) == (1, training.pid, 1)
    ids = [body["alert_id"] for _, _, body in receiver.got]
    assert len(set(ids)) == 2  # the first came several times, as the same; on one device, the host
    assert [body["condition"] for _, _, body in receiver.got].count("died") == 1


def test_a_program_is_run_with_the_alert_and_its_failure_is_said(
    directory: Path, tmp_path: Path, training: Training
) -> None:
    kept, program = tmp_path / "kept", tmp_path / "keep it.py"
    program.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read()); sys.exit(7)")
    command = f"{sys.executable} '{program}' '{kept}'"
    with watching(directory, str(training.pid), "--when", "used>1B", "--run", command) as process:
        until(kept.exists, CEILING_S)
        training.stop()
        _, errors = process.communicate(timeout=CEILING_S)  # it ends with its session
    assert process.returncode == 0
    (line,) = kept.read_text().splitlines()
    alert = json.loads(line)
    assert (alert["condition"], alert["device"], alert["phase"] is None or isinstance(alert["phase"], str)) == (
        *("used>1B", "host"),
        True,
    )
    assert "ended with 7" in errors
    assert "1 alert not delivered" in errors


def test_without_an_action_each_alert_is_a_line_and_the_training_is_as_it_was(
    directory: Path, training: Training
) -> None:
    with watching(directory, "--all", "--when", "used>1B") as process:
        assert process.stdout is not None
        alert = json.loads(process.stdout.readline())
        assert alert["session"]["pid"] == training.pid
        training.do("forward")
        training.stop()
        assert interrupted(process)[0] == 0
    with phasescope.attach(training.pid, directory=directory) as reader:
        assert (reader.state, reader.dropped, reader.damaged) == ("stopped", 0, 0)


RUNS_OUT = """
import sys
import phasescope
from phasescope import phase

with phasescope.start(directory=sys.argv[1], backends=["cpu"]):
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with phase("step"), phase("forward"):
            bytearray(1 << 62)
    except MemoryError:
        print("caught", flush=True)
    sys.stdin.read()
"""


def test_out_of_memory_that_the_training_caught_is_said_with_its_phase(directory: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    training = subprocess.Popen([sys.executable, "-c", RUNS_OUT, str(directory)], **pipes)
    try:
        assert training.stdin is not None
        assert training.stdout is not None
        assert training.stdout.readline() == "ready\n"
        conditions = ("--when", "used>1B", "--when", "oom")
        with watching(directory, str(training.pid), *conditions) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["condition"] == "used>1B"  # it has caught up
            training.stdin.write("go\n")
            training.stdin.flush()
            assert training.stdout.readline() == "caught\n"
            alert = json.loads(process.stdout.readline())
            assert (alert["condition"], alert["phase"]) == ("oom", "step/forward")
    finally:
        training.communicate("", timeout=CEILING_S)
    assert training.returncode == 0


@pytest.mark.parametrize("status", [302, 404])
def test_a_web_hook_that_refuses_is_said_and_not_tried_again(
    directory: Path, training: Training, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    url = f"http://{receiver.host}/hooks"
    with watching(directory, str(training.pid), "--when", "used>1B", "--webhook", url) as process:
        assert process.stderr is not None
        assert f"not taken: {receiver.host} answers {status}" in process.stderr.readline()
        code, _, errors = interrupted(process)
    assert (code, "1 alert not delivered" in errors) == (0, True)
    assert [path for path, _, _ in receiver.got] == ["/hooks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all"], "what for?"),
        (["--all", "--when", "nonsense"], "not one of growth"),
        (["--all", "--job", "7", "--when", "growth"], "exclude each other"),
        (["--all", "--when", "growth", "--webhook", "me:s3cret@nowhere"], "not an address"),
        (["--all", "--when", "growth", "--webhook", "@/no/where"], "/no/where: No such file"),
        (["--all", "--when", "growth", "--run", " "], "no command"),
        (["--all", "--when", "growth", "--run", "'"], "No closing quotation"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], message: str
) -> None:
    code, out, errors = run("watch", *arguments)
    assert (code, out) == (cli.WRONG_USAGE, "")
    assert message in errors
    assert "s3cret" not in errors
