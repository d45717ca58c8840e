"""Be killed within a forward: what was written until then is there.

needs: torch
exit: -9
verdict: killed
tree:
  step ×2, 1 open
    forward ×2, 1 open
    backward ×2
    optimizer ×2
"""

import os
import signal

import torch
from torch import nn


class Net(nn.Linear):
    steps = 0

    def forward(self, x):
        self.steps += 1
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


model = Net(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
