"""Update the weights by hand, without any optimizer: in a function of its own, with batches from a loader.

needs: torch
tree:
  epoch ×2
    step ×8
      data ×8
      forward ×8
      backward ×8
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def train(inputs, targets):
    loss = (model(inputs) - targets).square().mean()
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    print(loss.item().hex())


for _ in range(2):
    for batch in DataLoader(TensorDataset(torch.randn(16, 2), torch.randn(16, 1)), 4):
        train(*batch)
