"""Load modules and data for a while, and then make a few healthy steps: no leak.

needs: torch
loading: under run
never: (?i)leak|save a checkpoint|iB per
tree:
  step ×20
    forward ×20
    backward ×20
    optimizer ×20
"""

import time

import torch
from torch import nn

torch.manual_seed(0)
loaded = []
for _ in range(60):  # what a start-up does for minutes, in two seconds
    loaded.append(torch.ones(2**18))
    time.sleep(0.03)
data = torch.cat(loaded)
del loaded
model = nn.Linear(64, 64)
optimizer = torch.optim.Adam(model.parameters())
for number in range(20):
    loss = model(data[number * 6400 : (number + 1) * 6400].reshape(100, 64)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    time.sleep(0.01)
print(loss.item().hex())
