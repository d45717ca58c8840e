"""Step after every second batch only, with autocast and a gradient scaler.

needs: torch
tree:
  epoch ×1
    step ×2
      data ×4
      forward ×4
      backward ×4
      optimizer ×2
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
for number, batch in enumerate(torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=2), 1):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(batch).square().mean() / 2
    scaler.scale(loss).backward()
    if number % 2 == 0:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    print(loss.item().hex(), scaler.get_scale())
