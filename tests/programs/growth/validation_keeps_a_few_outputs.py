r"""Keep the outputs of each of five validations: too few to call it a leak, and not to be called healthy.

needs: torch
says: not known: too few to tell
says: entries of epoch/evaluate
never: does not grow
tree:
  epoch ×5
    step ×100
      data ×100
      forward ×100
      backward ×100
      optimizer ×100
    evaluate ×5
      data ×5
      forward ×5
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2560))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
training = DataLoader(TensorDataset(torch.randn(20 * 32, 64)), batch_size=32)
validation = DataLoader(TensorDataset(torch.randn(4096, 64)), batch_size=4096)
outputs = []
for _ in range(5):
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
