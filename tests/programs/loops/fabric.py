"""Train with Lightning's Fabric, in a loop of one's own.

needs: lightning torch
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
"""

import logging
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import torch  # noqa: E402 - quiet before
from lightning.fabric import Fabric  # noqa: E402
from torch import nn  # noqa: E402

fabric = Fabric(accelerator="cpu", devices=1)
fabric.launch()
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
loader = fabric.setup_dataloaders(torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2))
for _ in range(2):
    for batch in loader:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        fabric.backward(loss)
        optimizer.step()
        print(loss.item().hex())
fabric.save("state.ckpt", {"model": model, "optimizer": optimizer})
