"""Train with an optimizer for each parameter, made when that one steps first, as Pyro does; then another model so.

needs: torch
tree:
  step ×8
    forward ×8
    backward ×8
    optimizer ×24
"""

import torch
from torch import nn

torch.manual_seed(0)
for width in (4, 6):
    first, second = nn.Linear(2, width), nn.Linear(width, 1, bias=False)
    model = nn.Sequential(first, nn.Tanh(), second)
    optimizers = {}
    for _ in range(4):
        model.zero_grad()
        loss = model(torch.randn(8, 2)).square().mean()
        loss.backward()
        for name, parameter in model.named_parameters():
            if name not in optimizers:
                optimizers[name] = torch.optim.Adam([parameter])
            optimizers[name].step()
        print(loss.item().hex())
