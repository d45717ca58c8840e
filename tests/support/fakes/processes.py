"""Runs a test's code in another process, if its effect on the process itself matters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable


def in_forked_child(function: Callable[[], Any]) -> Any:
    """Return the function's result from a forked child, through JSON.

    An exception there fails the test here, and so does a child that hangs.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer: fork beside threads
        pid = os.fork()
    if pid == 0:
        signal.alarm(int(CEILING_S))
        try:
            answer = {"result": function()}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = json.loads(pipe.read() or '{"failed": "the child died or hung"}')
    os.waitpid(pid, 0)
    assert "failed" not in answer, answer["failed"]
    return answer["result"]


def in_new_python(code: str, *options: str) -> str:
    """Return the output of a fresh interpreter that runs `code`. Its failure fails the test."""
    done = new_python(code, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def new_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter, and return it, however it ended."""
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )


def open_files_below(folder: Path) -> list[int]:
    """Return the descriptors of this process that are open on `folder` or below it. Linux only."""
    descriptors = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            target = entry.readlink()
        except OSError:
            continue  # the listing's own descriptor
        if target == folder or folder in target.parents:
            descriptors.append(int(entry.name))
    return descriptors
