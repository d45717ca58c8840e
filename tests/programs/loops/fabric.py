"""Train two networks with Lightning's Fabric, in a loop of one's own: its wrapper around each does not name them.

needs: lightning torch
tree:
  epoch ×2
    step ×4
      data ×4
      forward (Encoder) ×4
      forward (Decoder) ×4
      backward ×4
      optimizer ×8
    evaluate ×2
      forward (Encoder) ×2
"""

import logging
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import torch  # noqa: E402 - quiet before
from lightning.fabric import Fabric  # noqa: E402
from torch import nn  # noqa: E402


class Encoder(nn.Linear):
    pass


class Decoder(nn.Linear):
    pass


fabric = Fabric(accelerator="cpu", devices=1)
fabric.launch()
torch.manual_seed(0)
encoder, decoder = Encoder(4, 2), Decoder(2, 4)
encoder, of_encoder = fabric.setup(encoder, torch.optim.SGD(encoder.parameters(), lr=0.1))
decoder, of_decoder = fabric.setup(decoder, torch.optim.SGD(decoder.parameters(), lr=0.1))
loader = fabric.setup_dataloaders(torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2))
for _ in range(2):
    for batch in loader:
        of_encoder.zero_grad()
        of_decoder.zero_grad()
        loss = (decoder(encoder(batch)) - batch).square().mean()
        fabric.backward(loss)
        of_encoder.step()
        of_decoder.step()
        print(loss.item().hex())
    with torch.no_grad():
        print(encoder(batch).sum().item().hex())
fabric.save("state.ckpt", {"encoder": encoder, "decoder": decoder, "optimizer": of_encoder})
