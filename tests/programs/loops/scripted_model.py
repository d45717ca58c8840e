"""Script the model first, and train what came of it.

needs: torch
tree:
  step ×4
    forward ×4
    backward ×4
    optimizer ×4
"""

import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")  # torch says that it is deprecated
torch.manual_seed(0)
model = torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    loss = model(torch.ones(2, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item().hex())
model.save("scripted.pt")
