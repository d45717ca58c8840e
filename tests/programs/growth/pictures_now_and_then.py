r"""Keep pictures for a log every hundred steps: a leak of the steps, as far as any phase shows.

needs: torch
verdict: growth
says: per entry of step
says: in step
never: evaluate
tree:
  step ×1500
    forward ×1500
    backward ×1500
    optimizer ×1500
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
pictures = []
for number in range(1500):
    loss = model(torch.randn(64, 64)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if number % 100 == 99:
        pictures.append(torch.ones(8, 3, 512, 512))
print(len(pictures), loss.item().hex())
