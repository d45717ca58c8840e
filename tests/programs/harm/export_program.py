"""Export the trained model as a program, and run that.

needs: torch
tree:
  step ×2
    forward ×2
    backward ×2
    optimizer ×2
  evaluate ×1
    forward (GraphModule) ×1
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
exported = torch.export.export(model.eval(), (torch.ones(1, 4),))
torch.export.save(exported, "model.pt2")
again = torch.export.load("model.pt2")
with torch.no_grad():
    print(again.graph, [value.hex() for value in again.module()(torch.ones(1, 4)).flatten().tolist()])
