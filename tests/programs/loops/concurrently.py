"""Train in a coroutine while another reports, and then in a thread while the main one does.

needs: torch
tree:
  step ×8
    forward ×8
    backward ×8
    optimizer ×8
"""

import asyncio
import queue
import threading

import torch
from torch import nn


def training():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        loss = model(torch.ones(2, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


async def train(losses):
    for loss in training():
        await losses.put(loss)
    await losses.put(None)


async def report(losses):
    while (loss := await losses.get()) is not None:
        print(loss.hex())


async def main():
    losses = asyncio.Queue()
    await asyncio.gather(train(losses), report(losses))


def in_a_thread(losses):
    for loss in training():
        losses.put(loss)
    losses.put(None)


asyncio.run(main())
told = queue.Queue()
thread = threading.Thread(target=in_a_thread, args=(told,))
thread.start()
for loss in iter(told.get, None):
    print(loss.hex())
thread.join()
