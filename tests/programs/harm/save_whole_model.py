"""Save a whole model in the middle of its training, and load it with weights only.

needs: torch
tree:
  step ×2
    forward ×2
    backward ×2
    optimizer ×2
  evaluate ×1
    forward (Sequential) ×1
"""

from pathlib import Path

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters())
for step in range(2):
    optimizer.zero_grad()
    model(torch.ones(3, 4)).square().mean().backward()
    optimizer.step()
    torch.save(model, f"whole-{step}.pt")
with torch.serialization.safe_globals([nn.Sequential, nn.Linear, nn.ReLU]):
    again = torch.load("whole-1.pt", weights_only=True)
with torch.no_grad():
    print(sorted(vars(again)), [value.hex() for value in again(torch.ones(1, 4)).flatten().tolist()])
print(Path("whole-1.pt").stat().st_size)
