"""Fetch with forked workers from a list of many small objects: counting references copies its pages.

needs: torch
options: --interval-ms 20
verdict: workers_grow
stderr: none to speak of
tree:
  ...
"""

import torch
from _looks import wait_for_a_look
from torch import nn


class Rows(torch.utils.data.Dataset):
    def __init__(self):
        self.rows = [(float(number), str(number)) for number in range(370_000)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return sum(self.rows[at][0] for at in range(index, index + 10)) / 1e6


torch.manual_seed(0)
sampler = range(0, 312_000, 8)
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
    wait_for_a_look()
print(loss.item().hex())
