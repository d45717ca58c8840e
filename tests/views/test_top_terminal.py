"""`phasescope top` in a real terminal: tmux, of 80×24 and larger, over a real torch training in another process."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("textual")
TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(TMUX is None, reason="there is no tmux to drive a terminal with")

TRAINING = """
import time
import torch
import phasescope
from phasescope import phase

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
phasescope.start(interval_ms=50)
print("ready", flush=True)
while True:
    with phase("step"):
        with phase("forward"):
            loss = model(torch.randn(32, 64)).square().mean()
        with phase("backward"):
            optimizer.zero_grad()
            loss.backward()
        with phase("optimizer"):
            optimizer.step()
        with phase("waiting"):
            time.sleep(0.05)
"""


class Terminal:
    """A terminal of its own tmux server, which runs one command."""

    def __init__(self, socket: Path, command: str, rings: Path, **environment: str) -> None:
        self._tmux = [str(TMUX), "-S", str(socket), "-f", os.devnull]
        settings = {"PHASESCOPE_DIR": str(rings), **environment}
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        shell = f"env -u COLUMNS -u LINES {words} {command}; echo gone $?; sleep {CEILING_S}"
        self._do("new-session", "-d", "-x", "80", "-y", "24", shell)

    def _do(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, timeout=CEILING_S, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def screen(self, *, with_styles: bool = False) -> str:
        return self._do("capture-pane", "-p", *(["-e"] if with_styles else []))

    def press(self, *keys: str) -> None:
        self._do("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._do("resize-window", "-x", str(columns), "-y", str(rows))

    def until(self, condition: Callable[[str], object]) -> float:
        began = time.monotonic()
        until(lambda: condition(self.screen()), pause_s=0.02, state=self.screen)
        return time.monotonic() - began

    def shows(self, *texts: str) -> float:
        return self.until(lambda screen: all(text in screen for text in texts))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=CEILING_S, check=False)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []
    socket = Path("/tmp") / f"phasescope-tmux-{os.getpid()}-{time.monotonic_ns() % 10**9}"  # a socket's path is short

    def open_one(command: str, rings: Path, **environment: str) -> Terminal:
        opened.append(Terminal(socket, command, rings, **environment))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
    socket.unlink(missing_ok=True)


class Training(NamedTuple):
    """A training that goes on until it is killed, and where its ring lies."""

    process: subprocess.Popen[str]
    rings: Path


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    pytest.importorskip("torch")
    rings = tmp_path_factory.mktemp("terminal") / "rings"
    environment = {**os.environ, "PHASESCOPE_DIR": str(rings)}
    process = subprocess.Popen([sys.executable, "-c", TRAINING], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield Training(process, rings)
    process.kill()
    process.wait()
    process.stdout.close()


TOP = f"{shlex.quote(sys.executable)} -m phasescope top"


def test_without_colours_no_colour_is_written(terminal: Callable[..., Terminal], training: Training) -> None:
    top = terminal(TOP, training.rings, NO_COLOR="1", TERM="xterm-256color")
    top.shows("● running", "forward")
    written = top.screen(with_styles=True)
    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", written) for code in found.split(";")}
    assert codes <= {"", "0", "1", "2", "7", "39", "49", "22", "27"}, codes
    top.press("?")
    top.shows("export the session")
    top.press("q")
    top.shows("gone 0")


def test_a_training_is_watched_until_it_is_killed(terminal: Callable[..., Terminal], training: Training) -> None:
    pid = training.process.pid
    top = terminal(f"{TOP} {pid}", training.rings, TERM="xterm-256color")
    top.shows(f"pid {pid}", "● running", "● step", "backward", "optimizer", "used by all")
    assert re.search(r"this process +[\d.]+ MiB", top.screen()), "what torch itself takes"
    assert re.search(r"^●? +forward +\d+ .*%$", top.screen(), re.MULTILINE)
    assert any("█" in line for line in top.screen().splitlines())

    top.resize(132, 43)
    top.until(lambda screen: len(screen.rstrip("\n").splitlines()) == 43 and "quit" in screen.splitlines()[-1])
    assert "p50" in top.screen(), "there is room for more"
    top.resize(60, 16)
    top.until(lambda screen: len(screen.splitlines()[0]) <= 60 and "quit" in screen.splitlines()[-1])
    assert "p50" not in top.screen()

    os.kill(pid, signal.SIGKILL)
    training.process.wait()
    took = top.shows("killed or crashed", "✗")
    print(f"its end was shown after {took:.2f} s")

    top.press("q")
    top.shows("gone 0")


def test_errors_may_go_to_a_file(terminal: Callable[..., Terminal], training: Training, tmp_path: Path) -> None:
    log = tmp_path / "log"
    top = terminal(f"{TOP} 2>{shlex.quote(str(log))}", training.rings, TERM="xterm-256color")
    top.shows("quit")
    top.press("q")
    top.shows("gone 0")
    assert log.read_text() == ""


def test_it_waits_where_there_is_no_session_and_ctrl_c_ends_it(terminal: Callable[..., Terminal], rings: Path) -> None:
    top = terminal(TOP, rings, TERM="xterm-256color")
    top.shows("waiting for a session", "phasescope.start()")
    top.press("C-c")
    top.shows("gone 0")


HANGUP = """
import os, pty, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.executable, [sys.executable, "-m", "phasescope", "top", "--dir", sys.argv[1]])
shown = b""
while b"phasescope.start" not in shown:
    shown += os.read(terminal, 65536)
os.close(terminal)
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    if os.waitpid(pid, os.WNOHANG)[0]:
        sys.exit(0)
    time.sleep(0.05)
os.kill(pid, signal.SIGKILL)
sys.exit("it went on without its terminal")
"""


def test_it_ends_with_its_terminal_even_under_nohup(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGUP, str(tmp_path), str(CEILING_S / 2)],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
