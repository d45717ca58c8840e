"""Fetch with a worker that remembers all that it ever gave: a leak in the worker.

needs: torch
options: --interval-ms 20
verdict: workers_grow
tree:
  ...
"""

import torch
from _looks import wait_for_a_look
from torch import nn


class Remembering(torch.utils.data.Dataset):
    def __init__(self):
        self.seen = []

    def __len__(self):
        return 520

    def __getitem__(self, index):
        self.seen.append(bytearray(b"x" * 2**17))
        return float(index)


torch.manual_seed(0)
loader = torch.utils.data.DataLoader(Remembering(), 4, num_workers=1, multiprocessing_context="fork")
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
for batch in loader:
    loss = model(batch.float()[:, None]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    wait_for_a_look()
print(loss.item().hex())
