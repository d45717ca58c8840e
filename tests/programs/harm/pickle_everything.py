"""Pickle the model, the optimizer, the scheduler and the loader between steps.

needs: torch
loading: under run
differs: *.pickle
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
"""

import pickle
from pathlib import Path

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 1)
optimizer = torch.optim.AdamW(model.parameters())
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
loader = torch.utils.data.DataLoader(torch.arange(12.0).reshape(4, 3), batch_size=2)
for epoch in range(2):
    for batch in loader:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
    scheduler.step()
    parts = {"model": model, "optimizer": optimizer, "loader": loader, "schedule": scheduler.state_dict()}
    for name, part in parts.items():
        Path(f"{name}-{epoch}.pickle").write_bytes(pickle.dumps(part))
    print(epoch, {name: b"phasescope" in pickle.dumps(part) for name, part in parts.items()})
restored = pickle.loads(Path("optimizer-1.pickle").read_bytes())
print(sorted(vars(restored)), restored)
