"""Train in a thread that fails between its forward and its backward, and in a pool's thread that fails in a forward.

needs: torch
tree:
  step ×6, 2 error
    forward ×6, 1 error
    backward ×4
    optimizer ×4
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn


class Model(nn.Linear):
    def forward(self, batch):
        if batch.sum() > 6:
            raise ValueError("too much")
        return super().forward(batch)


def train(last):
    model = Model(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number in range(3):
        loss = model(torch.full((4,), last if number == 2 else 1.0)).square().mean()
        optimizer.zero_grad()
        if number == 2:
            raise LookupError("no label")
        loss.backward()
        optimizer.step()


def tell(failed):
    print(failed.thread.name, failed.exc_value)


threading.excepthook = tell
thread = threading.Thread(target=train, args=(1.0,), name="first")
thread.start()
thread.join()
with ThreadPoolExecutor(1) as pool:
    print(repr(pool.submit(train, 9.0).exception()))
