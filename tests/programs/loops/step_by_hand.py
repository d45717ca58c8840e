"""Update the weights by hand, without any optimizer.

needs: torch
tree:
  forward ×1
  step ×4
    backward ×4
    forward ×3
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
inputs, targets = torch.randn(16, 2), torch.randn(16, 1)
for _ in range(4):
    loss = (model(inputs) - targets).square().mean()
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    print(loss.item().hex())
