"""Trainings whose memory grows, or only seems to: `growing.py NAME`. Run as processes by test_growth_real.py."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phasescope
from phasescope import phase

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20


def start_up() -> None:
    """Two hundred samples of a program that loads ever more, and then dies of a module that is not there."""
    kept: list[Any] = []
    phasescope.start(interval_ms=10)
    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        kept.append(b"x" * MIB)
        time.sleep(0.01)
    import no_module_of_that_name  # type: ignore[import-not-found]  # noqa: F401


def loading() -> None:
    """A data set is read, shard by shard, each in a phase; then it is trained on."""
    shards = []
    with phasescope.start(interval_ms=10):
        for _ in range(60):
            with phase("load"):
                shards.append(np.ones(MIB))
        for number in range(300):
            with phase("step"):
                float(shards[number % 60].sum())


def mapped() -> None:
    """A data set of 600 MiB is mapped and read once, 2 MiB in each step."""
    read_mapped(lambda _row: None)


def mapped_and_leaking() -> None:
    """The same, and half a MiB of each step is kept."""
    kept: list[Any] = []
    read_mapped(lambda row: kept.append(row[: MIB // 2].copy()))


def read_mapped(keep: Callable[[Any], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(300, 2 * MIB))
        data = np.load(path, mmap_mode="r")
        with phasescope.start(interval_ms=20):
            for row in data:
                with phase("step"):
                    keep(row)
                    int(row.sum())
                    time.sleep(0.003)


def varying() -> None:
    """Batches of 200 MiB, give or take 50; 2 MiB of each step are kept in none of the inner phases."""
    rng = random.Random(0)
    kept: list[Any] = []
    with phasescope.start(interval_ms=20):
        for _ in range(150):
            with phase("step"):
                with phase("forward"):
                    batch: Any = np.zeros(max(50, int(rng.gauss(200, 50))) * MIB, dtype=np.uint8)
                    batch[::4096] = 1
                kept.append(np.ones(2 * MIB, dtype=np.uint8))
                with phase("backward"):
                    del batch


def look_often() -> None:
    """Children are looked at once a second, within a budget; a test has no minute to wait."""
    from phasescope.backends import host_details, host_private
    from phasescope.capture import device_figures

    device_figures.EXTRA_PERIOD_NS = 30_000_000
    host_details._AT_MOST = host_details._WAITING_AT_MOST = host_private._AT_MOST = 1


class Labels:
    """A data set of many small objects, each of which is only read."""

    def __init__(self) -> None:
        self.names = [str(number) for number in range(3_000_000)]

    def __len__(self) -> int:
        return 3_000_000

    def __getitem__(self, index: int) -> int:
        return sum(map(len, self.names[index : index + 2_000]))


def copied_on_write() -> None:
    """Two forked workers read a list that the parent made: page by page it becomes theirs."""
    import torch

    look_often()
    loader = torch.utils.data.DataLoader(
        Labels(),
        batch_sampler=[[2_000 * number] for number in range(1_400)],
        num_workers=2,
    )
    with phasescope.start(interval_ms=30):
        for _ in loader:
            with phase("step"):
                time.sleep(0.003)


def left_behind() -> None:
    """A loader with persistent workers is made again in each epoch, and the old ones are kept."""
    import torch

    look_often()
    loaders, data = [], torch.ones(64, 8)
    with phasescope.start(interval_ms=30):
        for _ in range(6):
            loaders.append(torch.utils.data.DataLoader(data, num_workers=2, persistent_workers=True))
            for _ in loaders[-1]:
                with phase("step"):
                    time.sleep(0.01)


def short() -> None:
    """A healthy training of sixty steps."""
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    optimizer = torch.optim.Adam(model.parameters())
    with phasescope.start(interval_ms=20):
        for _ in range(60):
            with phase("step"):
                loss = model(torch.rand(512, 256)).square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()


def evaluating() -> None:
    """After a hundred healthy steps an evaluation gathers all that it ever predicts, and is killed for it."""
    kept: list[Any] = []
    phasescope.start(interval_ms=20)
    for _ in range(100):
        with phase("step"):
            np.ones(MIB // 8)
    with phase("evaluate"):
        for _ in range(300):
            kept.append(np.ones(MIB // 8))
            time.sleep(0.003)
        os.kill(os.getpid(), 9)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
