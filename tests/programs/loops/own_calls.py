"""Train and evaluate a model whose base class has a `__call__` of its own, which never comes to torch's, as GPyTorch's.

needs: torch
tree:
  step ×6
    forward ×6
    backward ×6
    optimizer ×6
  evaluate ×1
    forward ×3
"""

import torch
from torch import nn


class Module(nn.Module):
    def __call__(self, *inputs):
        return self.forward(*inputs).contiguous()


class Kernel(Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return (-(torch.cdist(inputs, inputs) ** 2) * self.scale).exp()


class Process(Module):
    def __init__(self):
        super().__init__()
        self.mean, self.kernel = nn.Linear(2, 1), Kernel()

    def forward(self, inputs):
        return self.kernel(inputs) @ self.mean(inputs)

    def __call__(self, inputs):
        return super().__call__(inputs) if self.training else super().__call__(inputs).relu()


torch.manual_seed(0)
model = Process()
optimizer = torch.optim.Adam(model.parameters(), 0.1)
inputs, targets = torch.randn(8, 2), torch.randn(8, 1)
for _ in range(6):
    optimizer.zero_grad()
    loss = (model(inputs) - targets).square().mean()
    loss.backward()
    optimizer.step()
    print(loss.item().hex())
model.eval()
with torch.no_grad():
    for _ in range(3):
        print(model(inputs).sum().item().hex())
