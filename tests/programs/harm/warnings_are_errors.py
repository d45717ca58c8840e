"""Train with every warning an error.

needs: torch
launcher: -W error
tree:
  epoch ×1
    step ×2
      data ×2
      forward ×2
      backward ×2
      optimizer ×2
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for batch in torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2):
    model(batch).sum().backward()
    optimizer.step()
print([value.hex() for value in model.weight.flatten().tolist()])
