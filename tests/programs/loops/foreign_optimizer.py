"""Train with an optimizer that is not one of torch's, but has `step` and `zero_grad`, as fastai's.

needs: torch
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
"""

import torch
from torch import nn


class Momentum:
    def __init__(self, params, lr):
        self.param_groups = [{"params": list(params), "lr": lr}]
        self.state = {}

    def zero_grad(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                moment = self.state.setdefault(parameter, torch.zeros_like(parameter))
                moment.mul_(0.9).add_(parameter.grad)
                parameter -= group["lr"] * moment


torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = Momentum(model.parameters(), 0.1)
for _ in range(2):
    for batch in torch.utils.data.DataLoader(torch.randn(4, 4), batch_size=2):
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(loss.item().hex())
