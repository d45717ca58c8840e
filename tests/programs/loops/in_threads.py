"""Train in a thread of its own, while the main one tells how far it is.

needs: torch
tree:
  step ×4
    forward ×4
    backward ×4
    optimizer ×4
"""

import queue
import threading

import torch
from torch import nn

losses = queue.Queue()


def train():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        loss = model(torch.ones(2, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.put(loss.item().hex())
    losses.put(None)


thread = threading.Thread(target=train)
thread.start()
for loss in iter(losses.get, None):
    print(loss)
thread.join()
