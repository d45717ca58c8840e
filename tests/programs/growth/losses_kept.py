r"""Keep every loss with its graph in a list: a leak.

needs: torch
verdict: growth
says: \.item\(\)
tree:
  step ×150
    forward ×150
    backward ×150
    optimizer ×150
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
losses = []
for _ in range(150):
    batch = torch.randn(2048, 64)
    loss = model(batch).square().mean()
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
    losses.append(loss)
print(len(losses), losses[-1].item().hex())
