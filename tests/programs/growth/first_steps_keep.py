r"""Keep what the first steps of each epoch make, to show it: a leak that most steps know nothing of.

needs: torch
verdict: growth
says: per entry of epoch,
says: epoch/step
never: per entry of epoch/step
tree:
  epoch ×20
    step ×300
      data ×300
      forward ×300
      backward ×300
      optimizer ×300
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 256))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(TensorDataset(torch.randn(15 * 64, 64)), batch_size=64)
shown = []
for _ in range(20):
    for number, (batch,) in enumerate(loader):
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number < 3:
            shown.append(torch.ones(1024, 1024))
print(len(shown), loss.item().hex())
