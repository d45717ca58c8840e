"""Let Lightning launch the second rank itself.

needs: lightning torch
stderr: Lightning tells of ports
ranks: 0 1
tree:
  fit ×1
    setup ×1
    epoch ×1
      data ×2
      batch ×2
        forward ×2
        backward ×2
        optimizer ×2
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
loader = torch.utils.data.DataLoader(torch.ones(8, 4), batch_size=2)
quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
model = Net()
trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, default_root_dir=".", **quiet)
trainer.fit(model, loader)
if trainer.global_rank == 0:
    print([value.hex() for value in model.layer.weight.flatten().tolist()])
