"""A Python program in a process of its own that does a thing for each line on its standard input, and says so."""

from __future__ import annotations

import subprocess
import sys

from support.waiting import CEILING_S


class ObedientProcess:
    """The program, once it has said that it is ready."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(CEILING_S)

    def close(self) -> None:
        """Kill it, if it still runs, and close its pipes."""
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
