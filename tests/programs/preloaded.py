"""Processes that have loaded a framework, and fork for each program: loading is most of its time.

One that is to have more loaded than another is a fork of that. What `phasescope run` does while a framework is loaded
is tried by the programs that say so: they are a process from their start, and so is each that has input or options of
Python's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
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
    "KERAS_HOME": os.devnull,  # a folder of settings, which is made where there is none
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # else loading says that it is on
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # it reads about every package that is installed, a tenth of loading torch
}
_SERVER = Path(__file__).with_name("forking.py")
_OWN_FRAME = re.compile(rb'  File "[^"]*forking\.py", line .*\n(?:    .*\n)+')  # of a traceback
_BY_NEED = {"tensorflow": "tensorflow", "torch": "torch", "lightning": "lightning.pytorch"}  # in this order
_COMPILER = re.compile(r"torch\.(optim\.|compile\b)")  # where a program's text has this, it loads torch's compiler


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program came to its end."""

    exit: int
    stdout: bytes
    stderr: bytes
    seconds: float  # of processor time, its children's included


def modules_for(needs: str, text: str) -> tuple[str, ...]:
    """The modules that a program with these needs and this text loads in any case: an optimizer the compiler, too."""
    modules = [module for need, module in _BY_NEED.items() if need in needs.split()]
    if "torch" in modules and _COMPILER.search(text):
        modules.insert(modules.index("torch") + 1, "torch._dynamo")
    return tuple(modules)


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
        *before, last = modules
        parent = preloaded(tuple(before)) if before else None
        self._link, theirs = socket.socketpair()
        self._process: subprocess.Popen[bytes] | None = None
        with theirs, tempfile.TemporaryFile() as output:
            if parent is None:
                self._process = subprocess.Popen(
                    [sys.executable, str(_SERVER), str(theirs.fileno()), last],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, **CALM},
                )
            else:
                parent._ask({"modules": [last]}, theirs.fileno(), output.fileno())
            theirs.close()
            self._answers = self._link.makefile("rb")
            self._loading_s: float = float(self._answer()["seconds"]) + (parent._loading_s if parent else 0.0)
            self.is_silent: bool = output.seek(0, os.SEEK_END) == 0 and (parent is None or parent.is_silent)
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
            self._ask(asked, stdout.fileno(), stderr.fileno())
            pid = self._answer()["pid"]
            self._link.settimeout(LIMIT_S)
            try:
                ended = self._answer()
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            told = [(stream.seek(0), stream.read())[1] for stream in (stdout, stderr)]
        return Ended(ended["exit"], told[0], _OWN_FRAME.sub(b"", told[1]), ended["seconds"] + self._loading_s)

    def _ask(self, request: dict[str, Any], *descriptors: int) -> None:
        socket.send_fds(self._link, [json.dumps(request).encode() + b"\n"], descriptors)

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        assert line, f"the process that forks ended by {self._process.wait() if self._process else 'itself'}"
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._link.settimeout(_GRACE_S)
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)
            self._answers.read()  # until it has ended: nobody here is the parent of a fork's fork
        self._answers.close()
        self._link.close()
        if self._process is None:
            return
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
