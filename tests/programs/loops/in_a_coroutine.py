"""Train in a coroutine, with another that reports meanwhile.

needs: torch
tree:
  step ×4
    forward ×4
    backward ×4
    optimizer ×4
"""

import asyncio

import torch
from torch import nn


async def train(losses):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        loss = model(torch.ones(2, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        await losses.put(loss.item())
    await losses.put(None)


async def report(losses):
    while (loss := await losses.get()) is not None:
        print(loss.hex())


async def main():
    losses = asyncio.Queue()
    await asyncio.gather(train(losses), report(losses))


asyncio.run(main())
