"""DistributedDataParallel on two processes, on the CPU: torchrun --nproc-per-node 2 examples/torch_ddp.py

Each rank has a session of its own. `phasescope summary --job` puts them side by side.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from phasescope.integrations.torch import instrument
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import phasescope
from phasescope import phase


def main(epochs: int = 2) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(2048, 64), torch.randint(0, 10, (2048,)))
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data)
    model = DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss()

    with (
        phasescope.start() as session,
        instrument(model, optimizer, DataLoader(data, batch_size=64, sampler=sampler)) as marked,
    ):
        assert marked.loader is not None
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            with phase("epoch", n=epoch):
                for inputs, targets in marked.loader:
                    optimizer.zero_grad()
                    loss_of(model(inputs), targets).backward()
                    optimizer.step()
        if dist.get_rank() == 0:
            print(session.summary())
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
