"""Train a generator against a discriminator, with an optimizer each.

needs: torch
tree:
  epoch ×1
    step ×3
      data ×3
      forward (Discriminator) ×9
      backward ×9
      forward (Generator) ×3
      optimizer ×6
"""

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, noise):
        return self.layers(noise)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x).flatten()


torch.manual_seed(0)
generator, discriminator = Generator(), Discriminator()
of_generator = torch.optim.Adam(generator.parameters())
of_discriminator = torch.optim.Adam(discriminator.parameters())
criterion = nn.BCEWithLogitsLoss()
for real in torch.utils.data.DataLoader(torch.randn(6, 4), batch_size=2):
    discriminator.zero_grad()
    criterion(discriminator(real), torch.ones(2)).backward()
    fake = generator(torch.randn(2, 2))
    on_fake = criterion(discriminator(fake.detach()), torch.zeros(2))
    on_fake.backward()
    of_discriminator.step()
    generator.zero_grad()
    on_generator = criterion(discriminator(fake), torch.ones(2))
    on_generator.backward()
    of_generator.step()
    print(on_fake.item().hex(), on_generator.item().hex())
