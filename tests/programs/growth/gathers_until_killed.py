"""Gather every output of a long evaluation, until the process is killed.

needs: torch
exit: -9
verdict: growth
says: evaluate: open for .* on host since it began
says: look in all of evaluate
tree:
  step ×60
    forward ×60
    backward ×60
    optimizer ×60
  evaluate ×0, 1 open
    data ×250
    forward ×250
"""

import os
import signal
import time

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(60):
    loss = model(torch.randn(64, 64)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
gathered = []
with torch.no_grad():
    for (batch,) in torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(300 * 16, 256, 64)), 16):
        gathered.append(model(batch))
        time.sleep(0.01)
        if len(gathered) == 250:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is full
