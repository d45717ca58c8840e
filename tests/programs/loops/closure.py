"""Optimise by LBFGS, which evaluates a closure several times within a step.

needs: torch
tree:
  step ×2
    optimizer ×2
      forward ×6
      backward ×6
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 1)
inputs, targets = torch.randn(8, 4), torch.randn(8, 1)
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=3)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    return loss


for _ in range(2):
    print(optimizer.step(closure).item().hex())
