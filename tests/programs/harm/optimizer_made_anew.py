"""Make a new optimizer for every batch, in a process with very many objects.

needs: torch
cpu: 5
tree:
  step ×100
    forward ×100
    backward ×100
    optimizer ×100
"""

import torch
from torch import nn

ballast = [{"n": [number]} for number in range(150_000)]
torch.manual_seed(0)
model = nn.Linear(4, 1)
for _ in range(100):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
print(len(ballast), [value.hex() for value in model.weight.flatten().tolist()])
