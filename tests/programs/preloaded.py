"""Processes that have loaded a framework, and fork for each program: loading is most of its time.

Only of a program that neither starts a session nor has a launcher. What `phasescope run` does while a framework is
loaded is tried by those programs that are a process from their start: all but the kinds that `trial.py` names, and of
these the ones that say so.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIMIT_S = 600.0
CALM = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # it reads about every package that is installed, a tenth of loading torch
}
_SERVER = Path(__file__).with_name("forking.py")
_LOADED = {"torch": "torch", "lightning": "lightning.pytorch"}  # by what a program needs


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program came to its end."""

    exit: int
    stdout: bytes
    stderr: bytes
    seconds: float  # of processor time, its children's included


def modules_for(needs: str, text: str) -> tuple[str, ...]:
    """The modules that a program with these needs and this text loads in any case: an optimizer the compiler, too."""
    modules = [_LOADED[name] for name in needs.split() if name in _LOADED]
    return (*modules, "torch._dynamo") if modules and "torch.optim." in text else tuple(modules)


_GRACE_S = 30.0
_processes: dict[tuple[str, ...], Preloaded] = {}


def preloaded(modules: tuple[str, ...]) -> Preloaded:
    """Return the process that has loaded these modules; it is started once, and ends with this one or by `end_all`."""
    if modules not in _processes:
        _processes[modules] = Preloaded(modules)
    return _processes[modules]


def end_all() -> None:
    """End those processes: to a test that comes after they would be children like its own."""
    while _processes:
        _processes.popitem()[1].close()


class Preloaded:
    """A process that has loaded modules, and forks when it is asked to run a program."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._link, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as output:
            self._process = subprocess.Popen(
                [sys.executable, str(_SERVER), str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **CALM},
            )
            theirs.close()
            self._answers = self._link.makefile("rb")
            self._loading_s = float(self._answer()["seconds"])
            self.is_silent = output.seek(0, os.SEEK_END) == 0
            """Whether loading shows nothing. What it does show, a program may have silenced before."""

    def run(
        self, through: list[str], program: Path, arguments: list[bytes], work: Path, environment: dict[str, str]
    ) -> Ended:
        """Run a program in a fork, and wait for its end; the time that loading took counts as its own.

        `through` is what stands before it on Python's command line: nothing, or `-m` with a module and its options.
        """
        asked = {
            "through": through,
            "program": str(program),
            "arguments": [os.fsdecode(argument) for argument in arguments],
            "work": str(work),
            "environment": environment,
        }
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            line = json.dumps(asked).encode() + b"\n"
            socket.send_fds(self._link, [line], [stdout.fileno(), stderr.fileno()])
            pid = self._answer()["pid"]
            self._link.settimeout(LIMIT_S)
            try:
                ended = self._answer()
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            told = [(stream.seek(0), stream.read())[1] for stream in (stdout, stderr)]
        return Ended(ended["exit"], told[0], told[1], ended["seconds"] + self._loading_s)

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        assert line, f"the process that forks ended by {self._process.wait()}"
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._answers.close()
        self._link.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
