r"""Keep the outputs of each validation, once an epoch, in a list that nobody clears: a leak, and not of the steps.

needs: torch
verdict: growth
says: per entry of epoch/evaluate
says: in epoch/evaluate|kept by list `outputs` in validation_keeps_outputs.py
says: what outlives it|empty `outputs` from time to time
never: per entry of epoch/step
tree:
  epoch ×14
    step ×210
      data ×210
      forward ×210
      backward ×210
      optimizer ×210
    evaluate ×14
      data ×14
      forward ×14
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2560))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
training = DataLoader(TensorDataset(torch.randn(15 * 32, 64)), batch_size=32)
validation = DataLoader(TensorDataset(torch.randn(4096, 64)), batch_size=4096)
outputs = []
for _ in range(14):
    model.train()
    for (batch,) in training:
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for (batch,) in validation:
            outputs.append(model(batch))
print(len(outputs), loss.item().hex())
