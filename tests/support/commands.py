"""A training for the commands to look at, and the command in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import cli
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(cli.__file__).parents[2]


needs_files = pytest.mark.skipif(
    not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked"
)


TRAINING = """
import sys
import phasescope
from phasescope import phase

with phasescope.start(directory=sys.argv[1], interval_ms=10, backends=["cpu"], rank=1, world_size=4) as session:
    with phase("epoch", n=3):
        for batch in phasescope.track([1, 2, 3]):
            with phase("forward"):
                pass
        with phase("validation"):
            print("ready", flush=True)
            for line in sys.stdin:  # the test's commands
                if line == "stop\\n":
                    break
                with phase(line.strip()):
                    pass
                print("done", flush=True)
"""


class Training:
    """A training in a process of its own, inside the phase epoch/validation, that obeys the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    @property
    def pid(self) -> int:
        return self.process.pid

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == line + "\n"

    def do(self, phase_name: str) -> None:
        """Run one phase; returns when it has ended."""
        self._tell(phase_name)
        self._expect("done")

    def stop(self) -> None:
        self._tell("stop")
        assert self.process.wait(CEILING_S) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(CEILING_S)

    def close(self) -> None:
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def second_process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "phasescope", *arguments], **(pipes | options))


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=CEILING_S)
    return process.returncode, out, err


@contextlib.contextmanager
def running(command: str, directory: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command on the rings of a directory, until the test has ended it."""
    process = second_process(command, *arguments, "--dir", str(directory), env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=CEILING_S)


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """End a command with Ctrl-C; its exit code, standard output and standard error."""
    process.send_signal(signal.SIGINT)
    return outcome(process)
