"""The examples of each command's help are run as they stand; only pids and ports are those of the test."""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from phasescope.cli import COMMANDS
from phasescope.cli._examples import EXAMPLES
from phasescope.cli._extras import EXTRAS
from support.commands import SOURCE, Training
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shells, terminals and signals as Linux has them")

ALL = [(name, line) for name in COMMANDS for line, _ in EXAMPLES[name]]
FOLLOWING = ("top", "tail", "record", "web", "export", "watch")
ASKING = ("snapshot",)  # a training that runs
CHANGING = ("clean", "demo", "run")  # the sessions that there are
PIDS, PORTS = ("14001", "15532"), (":9464", "8800")
NEEDS = {
    "top": ("textual",),
    "demo": ("torch",),
    **dict.fromkeys(("web", "report"), ("starlette", "uvicorn", "plotly")),
}


def missing(line: str) -> list[str]:
    words = line.split()
    modules = [*NEEDS.get(words[1], ())]
    for extra in EXTRAS:
        if f"--{extra.name}" in words or f".{extra.name}" in line:
            modules += extra.modules
    return [module for module in modules if find_spec(module.partition(".")[0]) is None]


class Place:
    """A folder with all that the examples name, and the sessions that they speak of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rings = folder / "rings"
        self.rings.mkdir(mode=0o700)
        self.environment = {**os.environ, "PHASESCOPE_DIR": str(self.rings), "PYTHONPATH": str(SOURCE)}

    def fill(self) -> None:
        for rank, node in enumerate(("node-a", "node-b")):
            (self.folder / node).mkdir()
            self._record(f"{node}/run.jsonl", job_id="5b0e77", rank=rank, world_size=2)
        self._record("run.jsonl")
        for batch in (8, 16):
            self._record_batches(batch)
        for name in ("a.json", "b.json"):
            self.shell(f"phasescope summary run.jsonl --json > {name}")
        (self.folder / "train.py").write_text("import sys; print(sys.argv)\n")
        (self.folder / "package").mkdir()
        (self.folder / "package" / "training.py").write_text("print(__name__)\n")

    def add_program(self, name: str) -> None:
        (self.folder / name).write_text("#!/bin/sh\ncat >> alerts\n")
        (self.folder / name).chmod(0o700)

    def _record(self, name: str, **options: object) -> None:
        code = (
            "import json, sys, phasescope\n"
            "with phasescope.start(backends=['cpu'], **json.loads(sys.argv[1])):\n"
            "    for _ in range(5):\n"
            "        with phasescope.phase('step'): pass\n"
        )
        options = {**options, "record": str(self.folder / name)}
        words = [sys.executable, "-c", code, json.dumps(options)]
        subprocess.run(words, env=self.environment, check=True, timeout=CEILING_S)

    def _record_batches(self, batch: int) -> None:
        code = (
            "import sys, phasescope\n"
            "from phasescope import phase, testing\n"
            "batch = int(sys.argv[1])\n"
            "device = testing.FakeBackend('cuda', allocated=3 << 30, total=80 << 30)\n"
            "with phasescope.start(backends=[device, 'cpu'], peaks=True, record=f'batch-{batch}.jsonl') as session:\n"
            "    for look in range(3):\n"
            "        with phase('forward'): device.set((2 << 30) + (batch << 29))\n"
            "        with phase('backward'): device.set(3 << 30)\n"
            "        found = {'parameters': 1 << 30, 'gradients': 1 << 30, 'activations': batch << 29}\n"
            "        session.note_categories({'cuda:0': found}, looks=look, batch_size=batch)\n"
        )
        words = [sys.executable, "-c", code, str(batch)]
        subprocess.run(words, env=self.environment, cwd=self.folder, check=True, timeout=CEILING_S)

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        script = f'phasescope() {{ "{sys.executable}" -m phasescope "$@"; }}\n{line}'
        return subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=CEILING_S,
            check=False,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, tuple[Training, Training]]]:
    """A place that commands only look at, with two trainings that are over."""
    place = Place(tmp_path_factory.mktemp("examples"))
    place.fill()
    with two_trainings(place) as trainings:
        for training in trainings:
            training.stop()
        yield place, trainings


@contextmanager
def two_trainings(place: Place) -> Iterator[tuple[Training, Training]]:
    first, second = Training(place.rings), Training(place.rings)
    try:
        yield first, second
    finally:
        for training in (first, second):
            training.close()


def adapted(line: str, trainings: tuple[Training, Training]) -> str:
    for pid, training in zip(PIDS, trainings, strict=True):
        line = line.replace(pid, str(training.pid))
    for port in PORTS:
        line = line.replace(port, ":0" if port.startswith(":") else "0")
    return line


def ends_by(pid: int, number: int) -> bool:
    """Return whether the process has a handler of its own for this signal."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def put_all(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def listening(place: Place) -> Any:
    """Return a collector in a process of its own, for which the packages of the extra are needed."""
    from support.otlp_collector import Collector

    collector = Collector(place.folder)
    collector.start()
    return collector


@pytest.mark.parametrize(
    ("command", "line"),
    [each for each in ALL if each[0] not in (*FOLLOWING, *ASKING, *CHANGING)],
    ids=lambda each: each,
)
def test_an_example_that_only_looks_runs(
    command: str, line: str, looked_at: tuple[Place, tuple[Training, Training]]
) -> None:
    if missing(line):
        pytest.skip(f"needs {', '.join(missing(line))}")
    place, trainings = looked_at
    done = place.shell(adapted(line, trainings))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout or " > " in line


def test_an_example_that_asks_is_answered(place: Place) -> None:
    with two_trainings(place) as trainings:
        for line in (line for command, line in ALL if command in ASKING):
            words = [sys.executable, "-m", *shlex.split(adapted(line, trainings))]
            process = subprocess.Popen(words, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE)
            while process.poll() is None:
                trainings[0].do("step")
            out, _ = process.communicate(timeout=CEILING_S)
            assert (process.returncode, bool(out)) == (0, True)


@pytest.mark.parametrize(("command", "line"), [each for each in ALL if each[0] in CHANGING], ids=lambda each: each)
def test_an_example_runs(command: str, line: str, place: Place) -> None:
    if missing(line):
        pytest.skip(f"needs {', '.join(missing(line))}")
    place.fill()
    with two_trainings(place) as trainings:
        for training in trainings:
            training.stop()
        done = place.shell(adapted(line, trainings))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout or " > " in line


@pytest.mark.parametrize(
    ("command", "line"), [each for each in ALL if each[0] in FOLLOWING and each[0] != "top"], ids=lambda each: each
)
def test_an_example_that_follows_runs_until_it_ends(command: str, line: str, place: Place) -> None:
    if missing(line):
        pytest.skip(f"needs {', '.join(missing(line))}")
    with two_trainings(place) as trainings:
        words = shlex.split(adapted(line, trainings))
        place.add_program("page.sh")
        collector = listening(place) if "--otlp" in words else None
        if collector is not None:
            words[-1] = collector.url
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=place.folder,
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=put_all, args=(process.stdout, lines), daemon=True).start()
        if command == "watch":  # which has nothing to say of these trainings
            until(lambda: ends_by(process.pid, signal.SIGTERM))
        elif collector is None:
            assert lines.get(timeout=CEILING_S), process.stderr
        else:
            until(collector.requests)
        for training in trainings:
            training.stop()
        if command in ("web", "export", "watch"):
            process.send_signal(signal.SIGINT)
        # By the signal itself if it came when the command had ended already, with its session.
        assert process.wait(CEILING_S) in (0, 130, -signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        if collector is not None:
            collector.kill()
    assert "Traceback" not in told
    assert "usage" not in told


@pytest.mark.parametrize("line", [line for line, _ in EXAMPLES["top"]])
def test_an_example_in_a_terminal_runs_until_it_is_left(line: str, place: Place) -> None:
    import pty

    if missing(line):
        pytest.skip("needs textual")
    with two_trainings(place) as trainings:
        words = [sys.executable, "-m", *shlex.split(adapted(line, trainings))]
        screen, terminal = pty.openpty()
        environment = {**place.environment, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
        process = subprocess.Popen(
            words, cwd=place.folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        shown = bytearray()

        def read() -> None:
            try:
                while piece := os.read(screen, 65536):
                    shown.extend(piece)
            except OSError:  # the terminal's other end is closed
                pass

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        until(lambda: b"validation" in shown, state=lambda: bytes(shown[-2000:]))
        os.write(screen, b"q")
        assert process.wait(CEILING_S) == 0
        thread.join(CEILING_S)
        os.close(screen)


def test_the_pids_and_ports_of_the_examples_are_those_that_are_replaced() -> None:
    numbers = {word.strip(":") for _, line in ALL for word in shlex.split(line) if word.strip(":").isdecimal()}
    assert numbers <= {*PIDS, *(port.strip(":") for port in PORTS), "60", "3"}
