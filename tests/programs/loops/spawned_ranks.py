"""Start two ranks by torch.multiprocessing.spawn, which train together over gloo.

needs: torch
stderr: torch's own notes of its ports
ranks: 0 0 1
tree:
  step ×3
    forward ×3
    backward ×3
    optimizer ×3
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


def work(rank):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    meeting = f"file://{Path('meeting').resolve()}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model(torch.full((2, 4), float(rank))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    Path(f"rank-{rank}").write_text(str([value.hex() for value in model.module.weight.flatten().tolist()]))
    dist.barrier()  # the first to leave would close a connection that the other may still read from
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, nprocs=2)
    Path("meeting").unlink(missing_ok=True)
    sys.exit(0 if Path("rank-0").read_text() == Path("rank-1").read_text() else 1)
