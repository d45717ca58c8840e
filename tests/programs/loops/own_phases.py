"""Mark phases of its own, and start a session where none runs, as the README shows.

needs: torch
tree:
  training ×1
    data ×4
    my forward ×4
      forward ×4
    backward ×4
    optimizer ×4
"""

import torch
from torch import nn

import phasescope
from phasescope import phase

torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2)
with phasescope.start(), phase("training"):
    for _ in range(2):
        for batch in loader:
            with phase("my forward"):
                loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(loss.item().hex())
