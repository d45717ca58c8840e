"""Train a picture, not a model: by Adam and by LBFGS with its closure; the network is frozen (style transfer).

needs: torch
tree:
  step ×6
    forward ×4
    backward ×4
    optimizer ×6
      forward ×6
      backward ×6
"""

import torch
from torch import nn

torch.manual_seed(0)
features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval().requires_grad_(False)
with torch.no_grad():
    wanted = torch.randn(1, 4, 12, 12)
picture = torch.rand(1, 3, 16, 16, requires_grad=True)
optimizer = torch.optim.Adam([picture], lr=0.05)
for _ in range(4):
    optimizer.zero_grad()
    loss = (features(picture) - wanted).square().mean()
    loss.backward()
    optimizer.step()
    print(loss.item().hex())

sharper = torch.optim.LBFGS([picture], lr=0.5, max_iter=3)


def closure():
    sharper.zero_grad()
    loss = (features(picture) - wanted).square().mean()
    loss.backward()
    return loss


for _ in range(2):
    print(sharper.step(closure).item().hex())
