r"""Fetch with a worker that fills a cache, in a run too short to show that it is full some day.

needs: torch
options: --interval-ms 20
says: whether its 1 data worker grows is not known: .* more since the start, seen in \d+ looks, too few to tell
tree:
  ...
"""

import torch
from _looks import wait_for_a_look
from torch import nn


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
    wait_for_a_look()
print(loss.item().hex())
