"""Save on the way as trainings do: the whole model, the best one as a deep copy, an average, and all states.

needs: torch safetensors
tree:
  step ×4
    forward ×4
    backward ×4
    optimizer ×4
  evaluate ×1
    forward (Net) ×1
"""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.inner(x))))


def fresh():
    model = Net()
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def train(model, optimizer):
    """Make two steps, saving the whole model in each; return the best one and an average."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    best = None
    for number in range(2):
        loss = model(torch.randn(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        torch.save(model, f"whole-{number}.pt")
        if best is None or loss.item() < best[0]:
            best = loss.item(), copy.deepcopy(model), copy.deepcopy(optimizer)
    return best, average


torch.manual_seed(0)
model, optimizer = fresh()
best, average = train(model, optimizer)
torch.save({"model": best[1], "optimizer": best[2].state_dict()}, "best.pt")
torch.save(average.module, "average.pt")
save_file(model.state_dict(), "weights.safetensors")
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "state.pt")
print(best[0].hex(), sorted(vars(best[1])), sorted(vars(best[2])))

model, optimizer = fresh()
state = torch.load("state.pt", weights_only=True)
model.load_state_dict(load_file("weights.safetensors"))
optimizer.load_state_dict(state["optimizer"])
_, average = train(model, optimizer)
print(list(state["model"]), sorted(state["optimizer"]))
with torch.serialization.safe_globals([Net, nn.Linear, nn.BatchNorm1d]):
    again = torch.load("whole-1.pt", weights_only=True).eval()
with torch.no_grad():
    print(sorted(vars(again)), [value.hex() for value in again(torch.ones(1, 4)).flatten().tolist()])
print([value.hex() for parameter in average.parameters() for value in parameter.flatten().tolist()])
print(Path("whole-1.pt").stat().st_size)
