"""Save states only: with torch, and the weights as safetensors; then go on from them.

needs: torch safetensors
tree:
  step ×4
    forward ×4
    backward ×4
    optimizer ×4
"""

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def fresh():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return model, torch.optim.Adam(model.parameters())


def steps(model, optimizer):
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()


model, optimizer = fresh()
steps(model, optimizer)
save_file(model.state_dict(), "weights.safetensors")
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "state.pt")
model, optimizer = fresh()
state = torch.load("state.pt", weights_only=True)
model.load_state_dict(load_file("weights.safetensors"))
optimizer.load_state_dict(state["optimizer"])
steps(model, optimizer)
print([value.hex() for parameter in model.parameters() for value in parameter.flatten().tolist()])
print(list(state["model"]), sorted(state["optimizer"]))
