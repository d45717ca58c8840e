"""One rank of a real job: DDP over gloo on the CPU. `... FOLDER`; rank and world size are in the environment.

Rank 1 is slow at its data, rank 2 keeps 256 MiB in forward. Each rank records itself into FOLDER.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import phasescope
from phasescope import phase

STEPS = 24
SLOW, FAT = 1, 2
FAT_BYTES = 256 * 2**20


def main() -> None:
    folder, rank, world = Path(sys.argv[1]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    model = DistributedDataParallel(torch.nn.Linear(64, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    kept: list[torch.Tensor] = []
    with phasescope.start(backends=["cpu"], record=folder / "recordings" / f"rank{rank}.jsonl"):
        for _ in range(STEPS):
            step(rank, model, optimizer, kept)
    dist.destroy_process_group()


def step(rank: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, kept: list[torch.Tensor]) -> None:
    with phase("step"):
        with phase("data"):
            time.sleep(0.15 if rank == SLOW else 0.01)
            batch = torch.randn(8, 64)
        with phase("forward"):
            if rank == FAT and not kept:
                kept.append(torch.ones(FAT_BYTES, dtype=torch.uint8))
            loss = model(batch).pow(2).sum()
        with phase("backward"):
            loss.backward()
        with phase("optimizer"):
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    main()
