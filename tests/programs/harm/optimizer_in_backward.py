"""Let each of 200 parameters have an optimizer of its own that steps within the backward pass.

needs: torch
cpu: 5
tree:
  step ×3
    forward ×3
    backward ×3
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(100)))
optimizers = {parameter: torch.optim.SGD([parameter], lr=0.01) for parameter in model.parameters()}


def step(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()


for parameter in model.parameters():
    parameter.register_post_accumulate_grad_hook(step)
for _ in range(3):
    model(torch.ones(2, 4)).sum().backward()
print([value.hex() for value in model[0].weight.flatten().tolist()])
