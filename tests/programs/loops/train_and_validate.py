"""Train and validate in turn, each over a loader of its own: validation's batches are larger.

needs: torch
tree:
  epoch ×2
    step ×6
      data ×6
      forward ×6
      backward ×6
      optimizer ×6
    evaluate ×2
      data ×2
      forward ×2
"""

import torch
from torch import nn

torch.manual_seed(0)
training = torch.utils.data.DataLoader(torch.randn(6, 4), batch_size=2)
validation = torch.utils.data.DataLoader(torch.randn(64, 4), batch_size=64)
model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    model.train()
    for batch in training:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for batch in validation:
            print(model(batch).mean().item().hex())
