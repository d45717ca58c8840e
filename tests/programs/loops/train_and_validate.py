"""Train and validate in turn, with larger batches; then train through a wrapper and validate what is inside, as timm.

needs: torch
loading: under run
tree:
  epoch ×4
    step ×10
      data ×10
      forward ×10
      backward ×10
      optimizer ×10
    evaluate ×4
      data ×6
      forward ×6
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

inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)
wrapped = Wrapper(inner)
training, validation = torch.randn(4, 4), torch.randn(4, 4)
for _ in range(2):
    wrapped.train()
    for batch in torch.utils.data.DataLoader(training, batch_size=2):
        loss = wrapped(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wrapped.eval()
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(validation, batch_size=2):
            print(inner(batch).mean().item().hex())
