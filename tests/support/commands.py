"""A training for the commands to look at, and the command in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import cli
from support.obedient_process import ObedientProcess
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


class Training(ObedientProcess):
    """A training in a process of its own, inside the phase epoch/validation, that obeys the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(TRAINING, str(directory))

    def do(self, phase_name: str) -> None:
        """Run one phase; returns when it has ended."""
        self._tell(phase_name)
        self._expect("done")

    def stop(self) -> None:
        self._tell("stop")
        assert self.process.wait(CEILING_S) == 0


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder to its end, with these variables besides."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
    )


def printed(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and standard output."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = cli.main(list(arguments))
    return code, told.getvalue()


def explained_in(directory: Path) -> tuple[dict[str, Any], int]:
    """Return what `explain --json` says of a directory's newest session, and its exit code."""
    code, text = printed("explain", "--json", "--dir", str(directory))
    return dict(json.loads(text)), code


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
