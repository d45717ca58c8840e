"""Train through a wrapper, and evaluate the model inside of it, as timm does with DDP's `module`.

needs: torch
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
    evaluate ×2
      data ×4
      forward ×4
"""

import torch
from torch import nn


class Wrapper(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


torch.manual_seed(0)
inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)
model = Wrapper(inner)
data, held_out = torch.randn(4, 4), torch.randn(4, 4)
for _ in range(2):
    model.train()
    for batch in torch.utils.data.DataLoader(data, batch_size=2):
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        told = [inner(batch).mean().item() for batch in torch.utils.data.DataLoader(held_out, batch_size=2)]
    print(loss.item().hex(), [value.hex() for value in told])
