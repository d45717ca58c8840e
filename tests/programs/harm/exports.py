"""Script, trace and export the trained model, save all, and run that. A trace keeps the Python stack of its making.

needs: torch
differs: traced.pt
tree:
  step ×2
    forward ×2
    backward ×2
    optimizer ×2
  evaluate ×1
    forward ×1
    forward (RecursiveScriptModule) ×2
    forward (GraphModule) ×1
"""

import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")  # torch says of both that they are deprecated


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        if bool(x.sum() > 0):
            return self.layer(x)
        return -self.layer(x)


torch.manual_seed(0)
model = nn.Sequential(Gated(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
torch.jit.script(model).save("scripted.pt")
torch.jit.trace(model, torch.ones(1, 4)).save("traced.pt")
for name in ("scripted.pt", "traced.pt"):
    again = torch.jit.load(name)
    with torch.no_grad():
        print(name, again.code, [value.hex() for value in again(torch.ones(1, 4)).flatten().tolist()])
plain = nn.Sequential(model[0].layer, nn.ReLU(), model[1])  # a program has no branches that go by the data
torch.export.save(torch.export.export(plain.eval(), (torch.ones(1, 4),)), "model.pt2")
again = torch.export.load("model.pt2")
with torch.no_grad():
    print(again.graph, [value.hex() for value in again.module()(torch.ones(1, 4)).flatten().tolist()])
