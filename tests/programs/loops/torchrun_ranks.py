"""Be started twice by torchrun, and train together over gloo.

needs: torch
launcher: -m torch.distributed.run --standalone --nproc-per-node 2
stderr: torch's own notes of its ports
ranks: 0 1
tree:
  epoch ×1
    step ×3
      data ×3
      forward ×3
      backward ×3
      optimizer ×3
"""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
data = torch.utils.data.TensorDataset(torch.randn(12, 4))
sampler = torch.utils.data.DistributedSampler(data)
loader = torch.utils.data.DataLoader(data, batch_size=2, sampler=sampler)
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for (batch,) in loader:
    model(batch).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
Path(f"rank-{os.environ['RANK']}").write_text(str([value.hex() for value in model.module.weight.flatten().tolist()]))
dist.barrier()  # the first to leave would close a connection that the other may still read from
dist.destroy_process_group()
