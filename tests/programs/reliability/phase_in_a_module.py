"""Keep a phase in a module, and copy, average and save that module afterwards.

needs: torch
tree:
  forward ×5
    my part ×5
"""

import copy
import pickle

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import phasescope


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.part = phasescope.phase("my part")

    def forward(self, x):
        with self.part:
            return self.layer(x)


session = phasescope.start()
torch.manual_seed(0)
model = Net()
for _ in range(2):
    model(torch.ones(1, 4))
others = [copy.deepcopy(model), AveragedModel(model).module, pickle.loads(pickle.dumps(model))]
torch.save(model, "model.pt")
print([other(torch.ones(1, 4)).item().hex() for other in others])
