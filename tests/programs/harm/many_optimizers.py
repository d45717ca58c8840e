"""Make a new optimizer for every batch among very many objects; then one for each parameter, to step in the backward.

needs: torch
cpu: 6
tree:
  step ×103
    forward ×103
    backward ×103
    optimizer ×100
"""

import torch
from torch import nn

ballast = [{"n": [number]} for number in range(150_000)]
torch.manual_seed(0)
model = nn.Linear(4, 1)
for _ in range(100):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
print(len(ballast), [value.hex() for value in model.weight.flatten().tolist()])

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
