r"""Keep a copy of the weights of every epoch, as an early stopping that forgets to drop them: a leak once an epoch.

needs: torch
verdict: growth
says: per entry of epoch,
says: deepcopy|empty `best` from time to time
never: per entry of epoch/step
tree:
  epoch ×20
    step ×300
      data ×300
      forward ×300
      backward ×300
      optimizer ×300
"""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 8192), nn.Tanh(), nn.Linear(8192, 256), nn.Linear(256, 16))
model[:3].requires_grad_(False)  # gradients come and go at each step: they are to be small beside a copy
optimizer = torch.optim.SGD(model[3].parameters(), lr=0.01)
loader = DataLoader(TensorDataset(torch.randn(15 * 4, 64)), batch_size=4)
best = []
for _ in range(20):
    for (batch,) in loader:
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best.append((loss.item(), copy.deepcopy(model.state_dict())))
print(len(best), loss.item().hex())
