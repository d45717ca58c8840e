r"""Fetch with a worker that fills a cache, in a run too short to show that it is full some day.

needs: torch
options: --interval-ms 20
says: whether its 1 data worker grows is not known: .* more since the start, seen in \d+ looks, too few to tell
tree:
  ...
"""

import time

import torch
from torch import nn

from phasescope.backends import host_details, host_private
from phasescope.capture import device_figures

device_figures.EXTRA_PERIOD_NS = 60_000_000  # workers are looked at once a second; a test has no minutes to wait
host_private._AT_MOST = host_details._AT_MOST = 2  # and a look may take 15 ms on a machine with other work to do,
host_details._WAITING_AT_MOST = 1  # and ten times as long until its turn comes


class Cached(torch.utils.data.Dataset):
    def __init__(self):
        self.cache = {}

    def __len__(self):
        return 240

    def __getitem__(self, index):
        return float(self.cache.setdefault(index, bytearray(2**18))[0])


torch.manual_seed(0)
loader = torch.utils.data.DataLoader(Cached(), 4, num_workers=1, multiprocessing_context="fork")
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
for batch in loader:
    loss = model(batch.float()[:, None]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    time.sleep(0.025)
print(loss.item().hex())
