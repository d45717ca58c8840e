"""Fetch with forked workers from a list of many small objects: counting references copies its pages.

needs: torch
options: --interval-ms 20
verdict: workers_grow
stderr: none to speak of
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


class Rows(torch.utils.data.Dataset):
    def __init__(self):
        self.rows = [(float(number), str(number)) for number in range(600_000)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return sum(self.rows[at][0] for at in range(index, index + 10)) / 1e6


torch.manual_seed(0)
sampler = range(0, 528_000, 8)
loader = torch.utils.data.DataLoader(
    Rows(), batch_size=300, sampler=sampler, num_workers=2, multiprocessing_context="fork"
)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for batch in loader:
    loss = model(batch.float()[:, None]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    time.sleep(0.025)  # and none is caught up on: a busy machine makes it longer, not uneven
print(loss.item().hex())
