"""Trainings that go wrong, and one that does not: `explained.py NAME`. Run as processes by test_explain_real.py."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
from collections import deque
from typing import Any

import phasescope
from phasescope import phase

STEPS = 300
MIB = 2**20


def torch_leak() -> None:
    """Every step keeps a batch that was only to be looked at."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Linear(64, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    kept = []
    with phasescope.start():
        for _ in range(STEPS):
            with phase("step"):
                with phase("data"):
                    batch = torch.rand(4096, 64)  # 1 MiB
                    kept.append(batch)
                with phase("forward"):
                    loss = model(batch).square().mean()
                with phase("backward"):
                    loss.backward()
                with phase("optimizer"):
                    optimizer.step()
                    optimizer.zero_grad()


def tensorflow_leak() -> None:
    """Every step keeps its predictions."""
    import tensorflow as tf

    weights = tf.Variable(tf.random.normal((64, 64)))
    kept = []
    with phasescope.start():
        for _ in range(STEPS):
            with phase("step"):
                with phase("data"):
                    batch = tf.random.normal((4096, 64))
                with phase("predict"):
                    kept.append(tf.matmul(batch, weights))


class Leaking:
    """A dataset whose workers remember all that they ever gave."""

    def __init__(self) -> None:
        self.seen: list[bytearray] = []

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> int:
        self.seen.append(bytearray(b"x" * (MIB // 8)))
        return index


def worker_leak() -> None:
    """The loop is healthy; a DataLoader worker is not."""
    import torch

    from phasescope.backends import host_details, host_private
    from phasescope.capture import device_figures

    # Workers are looked at once a second, and less often where that takes long; a test has no minute to wait.
    device_figures.EXTRA_PERIOD_NS = 15_000_000
    host_details._AT_MOST = host_details._WAITING_AT_MOST = host_private._AT_MOST = 1
    torch.set_num_threads(1)
    dataset: Any = Leaking()
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=1)
    with phasescope.start(interval_ms=15) as session:
        for number, _ in enumerate(phasescope.track(loader)):
            with phase("step"):
                session._clock.wait_until(__import__("threading").Event(), session._clock.monotonic_ns() + 10_000_000)
            if number == STEPS:
                break


def limited() -> None:
    """One allocation that is more than the limit the process has set itself."""
    import numpy as np

    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    with phasescope.start():
        for _ in range(60):
            with phase("step"), phase("forward"):
                np.ones(MIB)
        with phase("step"), phase("evaluate"):
            np.ones(16 << 30, dtype=np.uint8)


def growing_to_limit() -> None:
    """A little more in every step, until the limit is reached."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    kept = []
    with phasescope.start():
        while True:
            with phase("step"):
                with phase("compute"):
                    sum(range(1000))
                with phase("log"):
                    kept.append(b"x" * (2 * MIB))


def killed() -> None:
    """A healthy loop that somebody else ends."""
    phasescope.start()
    for number in range(10_000):
        with phase("step"):
            bytearray(MIB)
        if number == STEPS:
            os.kill(os.getpid(), signal.SIGKILL)


def healthy() -> None:
    """Caches that fill and are emptied, an evaluation every so often, nothing that stays."""
    import torch

    torch.set_num_threads(1)
    rng = random.Random(0)
    model = torch.nn.Linear(64, 64)
    cache: list[Any] = []
    with phasescope.start():
        for number in range(STEPS):
            with phase("step"):
                with phase("forward"):
                    model(torch.rand(1024, 64)).sum().backward()
                with phase("cache"):
                    cache.append(torch.rand(rng.randint(256, 2048), 64))
                    if len(cache) > 25:
                        cache.clear()
            if number % 50 == 49:
                with phase("evaluate"):
                    model(torch.rand(16384, 64)).sum()


def full_buffer() -> None:
    """A replay buffer that is full after 40 % of the steps, and a history that takes a page now and then."""
    held: deque[bytearray] = deque(maxlen=400)
    history = []
    with phasescope.start():
        for number in range(1000):
            with phase("step"):
                with phase("data"):
                    held.append(bytearray(200_000))
                with phase("log"):
                    history.append(str(number) * 32)
            if number % 200 == 199:
                with phase("evaluate"):
                    bytearray(30 * MIB)


if __name__ == "__main__":
    {
        function.__name__: function
        for function in (
            torch_leak,
            tensorflow_leak,
            worker_leak,
            limited,
            growing_to_limit,
            killed,
            healthy,
            full_buffer,
        )
    }[sys.argv[1]]()
