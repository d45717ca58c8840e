"""Compile the model after its optimizer was made, and cut the batches by hand, with evaluations between.

needs: torch
tree:
  evaluate ×2
    forward ×4
  step ×4
    forward ×4
    backward ×4
    optimizer ×4
"""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.mix(self.norm(x))


class Letters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(8, 16)

    def forward(self, letters, targets):
        x = self.embed(letters)
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


torch.manual_seed(0)
text = torch.randint(16, (500,))
model = Letters()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
model = torch.compile(model, backend="eager")


def batch():
    starts = torch.randint(len(text) - 9, (4,))
    return torch.stack([text[at : at + 8] for at in starts]), torch.stack([text[at + 1 : at + 9] for at in starts])


@torch.no_grad()
def estimate():
    model.eval()
    losses = [model(*batch())[1].item() for _ in range(2)]
    model.train()
    return sum(losses) / 2


for number in range(4):
    if number % 2 == 0:
        print("evaluated", estimate().hex())
    _, loss = model(*batch())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    print(loss.item().hex())
