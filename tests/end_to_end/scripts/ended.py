"""Trainings that end in ways that are easily told wrong: `ended.py NAME`. Run as processes by test_explain_ends.py."""

from __future__ import annotations

import importlib
import mmap
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import phasescope
from phasescope import phase

STEPS = 200
MIB = 2**20
kept: list[Any] = []


def _leaking_steps(mib: int = 2) -> None:
    for _ in range(STEPS):
        with phase("step"), phase("forward"):
            kept.append(b"x" * (mib * MIB))
            time.sleep(0.001)


def missing_module() -> None:
    """A leak, and then an import of what is not installed, which has nothing to do with it."""
    with phasescope.start():
        _leaking_steps()
        with phase("report"):
            importlib.import_module("there_is_no_such_module")


def open_files() -> None:
    """A leak of file descriptors beside one of memory."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    with phasescope.start():
        while True:
            with phase("step"), phase("data"):
                kept.append(Path(os.devnull).open())  # noqa: SIM115
                kept.append(b"x" * (2 * MIB))
                time.sleep(0.001)


def mappings() -> None:
    """Small shared tensors are kept until the process may map no more."""
    import torch

    torch.multiprocessing.set_sharing_strategy("file_system")
    with phasescope.start():
        for _ in range(20):
            with phase("step"):
                torch.ones(10).share_memory_()
        with phase("fill"):
            while True:
                kept.append(mmap.mmap(-1, 4096))
                if len(kept) % 1000 == 0 and _mapped() > 60_000:
                    break
        with phase("step"), phase("data"):
            while True:
                kept.append(torch.ones(10).share_memory_())


def _mapped() -> int:
    with Path("/proc/self/maps").open("rb") as file:
        return sum(1 for _ in file)


class _Archive:
    """A file whose end cannot be written any more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        raise RuntimeError("the archive could not be finished")


def cleanup() -> None:
    """What runs on the way out of a MemoryError fails as well, and hides it."""
    with phasescope.start():
        for _ in range(60):
            with phase("step"):
                bytearray(MIB)
        with phase("save"), _Archive():
            bytearray(2**50)


def fallback() -> None:
    """A MemoryError is handled by going on for long, within the handler, and something else ends the training."""

    def train(size: int) -> None:
        for number in range(60):
            with phase("step"):
                bytearray(size)
                if number == 50:
                    raise KeyError("loss")

    with phasescope.start(), phase("train"):
        try:
            train(2**50)
        except MemoryError:
            train(MIB)


def gathering() -> None:
    """Healthy steps, then an evaluation that gathers all it computes, until it is killed."""
    with phasescope.start(interval_ms=20):
        for _ in range(STEPS):
            with phase("train"), phase("step"):
                bytearray(MIB)
                time.sleep(0.001)
        with phase("evaluate"):
            for _ in range(120):
                kept.append(b"x" * (4 * MIB))
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)


def gathering_to_limit() -> None:
    """The same, where it ends with a MemoryError."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    with phasescope.start(interval_ms=20):
        for _ in range(STEPS):
            with phase("train"), phase("step"):
                bytearray(MIB)
        with phase("evaluate"):
            while True:
                kept.append(b"x" * (4 * MIB))
                time.sleep(0.01)


def _instrumented_step() -> Any:
    """A step of a real network under `instrument` alone, that fails as on a device where the caller lets it."""
    import torch
    from phasescope.integrations.torch import instrument

    class Sgd(torch.optim.SGD):  # type: ignore[misc]
        is_full = False

        def step(self, closure: Any = None) -> Any:
            if self.is_full:
                raise torch.OutOfMemoryError(_RAN_OUT)
            return super().step(closure)

    model = torch.nn.Linear(8, 8)
    optimizer = Sgd(model.parameters(), lr=0.1)
    phasescope.start(backends=["cpu"], interval_ms=3_600_000)
    instrument(model, optimizer)
    for _ in range(3):
        model(torch.ones(2, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


_RAN_OUT = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.00 GiB is "
    "free. Of the allocated memory 76.00 GiB is allocated by PyTorch, and 200.00 MiB is reserved by PyTorch but "
    "unallocated."
)


def in_backward() -> None:
    """The device is full in the middle of a backward pass that only `instrument` marks."""
    import torch

    model, _ = _instrumented_step()

    def fail(_grad: Any) -> None:
        raise torch.OutOfMemoryError(_RAN_OUT)

    model.weight.register_hook(fail)
    model(torch.ones(2, 8)).sum().backward()


def in_optimizer() -> None:
    """The same in the step of an optimizer."""
    import torch

    model, optimizer = _instrumented_step()
    optimizer.is_full = True
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
