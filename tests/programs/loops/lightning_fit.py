"""Fit a Lightning module, with checkpoints.

needs: lightning torch
loading: under run
tree:
  fit ×1
    setup ×1
    epoch ×2
      data ×4
      batch ×4
        forward ×4
        backward ×4
        optimizer ×4
      checkpoint ×2
"""

import logging
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import lightning.pytorch as pl  # noqa: E402 - quiet before
import torch  # noqa: E402
from torch import nn  # noqa: E402


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, batch):
        return self.layer(batch)

    def training_step(self, batch, index):
        return self(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


pl.seed_everything(0)
loader = torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2)
quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
model = Net()
pl.Trainer(accelerator="cpu", max_epochs=2, default_root_dir=".", **quiet).fit(model, loader)
print([value.hex() for value in model.layer.weight.flatten().tolist()])
