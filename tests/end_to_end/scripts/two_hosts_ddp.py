"""One rank of a job on two hosts, as torchrun starts it: DDP over gloo on the CPU. `... SLOW_RANK NODE AHEAD_S`.

The clock of node 2 is ahead.
"""

from __future__ import annotations

import os
import sys
import time

slow, node, ahead_s = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if node == "2":
    _right_ns = time.time_ns
    time.time_ns = lambda: _right_ns() + ahead_s * 1_000_000_000  # before phasescope asks for its clock

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

import phasescope  # noqa: E402
from phasescope import phase  # noqa: E402

STEPS = 24


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    model = DistributedDataParallel(torch.nn.Linear(64, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    dist.barrier()
    with phasescope.start(backends=["cpu"]):
        for _ in range(STEPS):
            with phase("step"):
                with phase("data"):
                    time.sleep(0.1 if rank == slow else 0.005)
                    batch = torch.randn(8, 64)
                with phase("forward"):
                    loss = model(batch).pow(2).sum()
                with phase("backward"):
                    loss.backward()
                with phase("optimizer"):
                    optimizer.step()
                    optimizer.zero_grad()
    dist.destroy_process_group()


main()
