"""Fetch with a worker that remembers all that it ever gave: a leak in the worker.

needs: torch
options: --interval-ms 20
verdict: workers_grow
tree:
  ...
"""

import time

import torch
from torch import nn

from phasescope.backends import host_details, host_private
from phasescope.capture import device_figures

device_figures.EXTRA_PERIOD_NS = 20_000_000  # workers are looked at once a second; a test has no minutes to wait
host_private._AT_MOST = host_details._AT_MOST = 2  # and a look may take 15 ms on a machine with other work to do,
host_details._WAITING_AT_MOST = 1  # and ten times as long until its turn comes


class Remembering(torch.utils.data.Dataset):
    def __init__(self):
        self.seen = []

    def __len__(self):
        return 880

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
    time.sleep(0.025)  # and none is caught up on: a busy machine makes it longer, not uneven
print(loss.item().hex())
