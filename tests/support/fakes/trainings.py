"""A training in a process of its own that goes from phase to phase as the test says: nothing in it is left to time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.obedient_process import ObedientProcess
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAINING = """
import os, sys
import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend

backend = FakeBackend("cuda", allocated=2**30, used=3 * 2**30, free=77 * 2**30, total=80 * 2**30)
rank, world = int(sys.argv[2]), int(sys.argv[3])
with phasescope.start(
    directory=sys.argv[1], interval_ms=50, backends=[backend, "cpu"], rank=rank, world_size=world, job_id="job"
):
    with phase("epoch"):
        print("ready", flush=True)
        for line in sys.stdin:
            word, _, size = line.strip().partition(" ")
            if word == "stop":
                break
            if word == "raise":
                raise ValueError("it broke")
            if size:
                backend.set(int(size))
            with phase(word):
                print("inside", flush=True)
                sys.stdin.readline()
            print("done", flush=True)
"""


class Training(ObedientProcess):
    """A training in a process of its own that obeys the test, phase by phase."""

    def __init__(self, directory: Path, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(TRAINING, str(directory), str(rank), str(world_size))

    def enter(self, name: str, allocated: int | None = None) -> None:
        """Enter this phase, and return once it is in it."""
        self._tell(name if allocated is None else f"{name} {allocated}")
        self._expect("inside")

    def leave(self) -> None:
        self._tell("")
        self._expect("done")

    def end(self, how: str = "stop") -> None:
        if how == "kill":
            self.process.kill()
        else:
            self._tell(how)
        self.process.wait(CEILING_S)


@contextmanager
def training(directory: Path, rank: int = 0, world_size: int = 1) -> Iterator[Training]:
    running = Training(directory, rank, world_size)
    try:
        yield running
    finally:
        running.close()
