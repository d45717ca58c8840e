"""Train a small PyTorch model on the CPU, watch it live from a second process, and sum it up.

Needs PyTorch: pip install "phasescope[demo]". Takes a few seconds and writes nothing but its live session.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._packages import is_installed
from phasescope.analysis.formatting import elide, printable
from phasescope.cli import MISSING_DEPENDENCY, OK, CommandError
from phasescope.cli._output import Terminal
from phasescope.cli._quantities import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.capture.session import Session

_SECONDS = 6.0
_STEPS_PER_EPOCH = 100
_BATCH = 256
_MOST_STEPS = 10**9
_MOST_KEPT = 2000  # a GiB
_THRESHOLD, _THRESHOLD_BYTES, _M_MMAP_THRESHOLD = "MALLOC_MMAP_THRESHOLD_", 65536, -3
_WATCH_AT = 0.3  # of the run
_WATCHED_LINES = 6
_WATCH_ENDS_SECONDS = 5.0

_EXAMPLE = """\
A training of your own needs no change:

  {command} run train.py

or has phases of its own:

  import phasescope
  from phasescope import phase

  phasescope.start()
  for batch in phasescope.track(loader):
      with phase("forward"): ...
      with phase("backward"): ...
      with phase("optimizer"): ...

From another terminal, while it runs, after it ended, and after it was killed:
"""
_COMMANDS = (
    ("top", "watch it in that terminal"),
    ("web", "watch it in a browser"),
    ("explain PID", "why its memory grows, or why it died"),
    ("summary PID", "time and memory by phase"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps", type=whole(_MOST_STEPS), metavar="N", help="end after N steps, however long they take"
    )
    parser.add_argument("--seconds", type=_positive, metavar="S", help=f"end after S seconds (default {_SECONDS:g})")
    parser.add_argument(
        "--leak", action="store_true", help="keep the activations of each step, and print what explain says"
    )
    parser.add_argument("--dir", metavar="DIR", help="put its live session into this directory")


def run(arguments: argparse.Namespace) -> int:
    if not is_installed("torch"):
        raise CommandError('the demo needs PyTorch: pip install "phasescope[demo]"', MISSING_DEPENDENCY)
    import phasescope

    out = Terminal()
    out.line("training a small PyTorch model on the CPU ...", "bold")
    if arguments.leak and _gives_back_at_once():
        out.line(f"({_THRESHOLD}={_THRESHOLD_BYTES}: freed memory goes back at once, so each phase shows its own)")
    training = _Training(leak=arguments.leak)  # importing torch takes a second; that is not part of the demonstration
    with phasescope.start(directory=arguments.dir) as session:
        watch = _WatchingProcess(session.path, out)
        for done in training.run(arguments.steps, arguments.seconds):
            if done >= _WATCH_AT:
                watch.begin()
        watch.end()
        out.line(f"{training.steps:,} steps: the loss went from {training.first_loss:.3f} to {training.last_loss:.3f}")
    _answer(session, out, in_full=arguments.leak)
    out.line()
    name = _command_name()
    out.line(_EXAMPLE.format(command=name))
    commands = [f"{name} {command.replace('PID', str(session.pid))}" for command, _ in _COMMANDS]
    width = max(map(len, commands))
    for command, (_, what) in zip(commands, _COMMANDS, strict=True):
        out.line(f"  {command:<{width}}  {what}")
    return OK


def _command_name() -> str:
    """Return how to call the command in this terminal: `make demo` leaves it in an environment that is not active."""
    called = Path(sys.argv[0])
    if shutil.which("phasescope") is not None or called.name != "phasescope":
        return "phasescope"
    return printable(str(called))


def _gives_back_at_once() -> bool:
    """Set what `explain` advises for memory on the host, if the C library knows it; return whether it does.

    Else memory that one phase freed is what the next one gets, and it is not known which of them keeps any.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        if ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES):
            os.environ[_THRESHOLD] = str(_THRESHOLD_BYTES)
            return True
    return False


def _answer(session: Session, out: Terminal, *, in_full: bool) -> None:
    """Sum up the session that has just ended, as `run` does; show also what `explain` says if `in_full`."""
    from phasescope.analysis.diagnosis.verdict import verdict

    with session.reader() as reader:
        answer = reader.explain()
    said = verdict(answer)
    out.line()
    out.line(said.text, "green" if said.is_good else "red")
    out.line(answer.evidence.summary.table(out.width))
    if not in_full:
        return
    out.line()
    out.line(f"phasescope explain {session.pid}", "bold")
    for line in str(answer).splitlines():
        out.line(f"  {printable(line)}".rstrip())


class _Training:
    """A multi-layer perceptron that learns a function of eight numbers, as anybody would write it.

    `leak` makes the mistake that is made most often: a list that keeps a tensor of each step, half a MiB of it.
    """

    def __init__(self, *, leak: bool = False) -> None:
        warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # torch works without it
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)  # for layers this small, threads cost more than they bring
        inputs = torch.rand(_BATCH * _STEPS_PER_EPOCH, 8)
        targets = torch.sin(inputs.sum(dim=1, keepdim=True) * 2)
        dataset = torch.utils.data.TensorDataset(inputs, targets)
        self._loader = torch.utils.data.DataLoader(dataset, batch_size=_BATCH, shuffle=True)
        self._model = torch.nn.Sequential(
            torch.nn.Linear(8, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 1),
        )
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=1e-3)
        self._loss = torch.nn.MSELoss()
        self._leak = leak
        self._kept: list[Any] = []
        self.steps = 0
        self.first_loss = self.last_loss = math.nan

    def run(self, steps: int | None, seconds: float | None) -> Iterator[float]:
        """Train; after each step, yield how much of the run is done."""
        from phasescope import phase, track

        if seconds is None and steps is None:
            seconds = _SECONDS
        began, epoch, done = time.monotonic(), 0, 0.0
        while done < 1 and len(self._kept) < _MOST_KEPT:
            with phase("epoch", n=epoch):
                for inputs, targets in track(self._loader):
                    self._step(inputs, targets)
                    done = max(
                        self.steps / steps if steps is not None else 0.0,
                        (time.monotonic() - began) / seconds if seconds is not None else 0.0,
                    )
                    yield done
                    if done >= 1 or len(self._kept) >= _MOST_KEPT:
                        break
            epoch += 1

    def _step(self, inputs: Any, targets: Any) -> None:
        from phasescope import phase

        with phase("forward"):
            hidden = self._model[:-1](inputs)
            loss = self._loss(self._model[-1](hidden), targets)
            if self._leak:
                self._kept.append(hidden.detach())
        with phase("backward"):
            loss.backward()
        with phase("optimizer"):
            self._optimizer.step()
            self._optimizer.zero_grad()
        self.last_loss = loss.item()
        if not self.steps:
            self.first_loss = self.last_loss
        self.steps += 1


class _WatchingProcess:
    """A second process that follows this one for a few events, as anybody may from another terminal."""

    def __init__(self, path: str | None, out: Terminal) -> None:
        self._path = path
        self._out = out
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start it; once only, and not if the session has no file that another process could read."""
        if self._thread is None and self._path is not None:
            command = ["-m", "phasescope", "tail", self._path, "-n", "0", "--types", "phase_exit,sample"]
            self._process = subprocess.Popen(
                [sys.executable, *command], stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
            )
            self._thread = threading.Thread(target=self._show, args=(self._process,), daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Wait for the last of its lines."""
        if self._thread is not None and self._process is not None:
            self._thread.join(_WATCH_ENDS_SECONDS)
            self._process.kill()
            self._process.wait()

    def _show(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            self._out.line()
            self._out.line(f"meanwhile, in process {process.pid}: phasescope tail {os.getpid()}", "bold")
            for _, line in zip(range(_WATCHED_LINES + 1), lines, strict=False):
                self._out.line("  │ " + elide(line.rstrip(), (self._out.width or 120) - 4))
        process.kill()
        self._out.line()


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
