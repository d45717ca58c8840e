"""Keep the best model as a deep copy and an average of all, as many trainings do, and save both.

needs: torch
tree:
  step ×3
    forward ×3
    backward ×3
    optimizer ×3
"""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)))


torch.manual_seed(0)
model = Net()
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
best = None
for _ in range(3):
    loss = model(torch.ones(2, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    average.update_parameters(model)
    if best is None or loss.item() < best[0]:
        best = loss.item(), copy.deepcopy(model), copy.deepcopy(optimizer)
torch.save({"model": best[1], "optimizer": best[2].state_dict()}, "best.pt")
torch.save(average.module, "average.pt")
print(best[0].hex(), sorted(vars(best[1])), sorted(vars(best[2])))
print([value.hex() for parameter in average.parameters() for value in parameter.flatten().tolist()])
