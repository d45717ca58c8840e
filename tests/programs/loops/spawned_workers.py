"""Fetch with a spawned worker that stays.

needs: torch
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
"""

import torch
from torch import nn


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((4,), float(index))


def main():
    torch.manual_seed(0)
    how = {"num_workers": 1, "multiprocessing_context": "spawn", "persistent_workers": True}
    loader = torch.utils.data.DataLoader(Numbers(), batch_size=4, **how)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    for _ in range(2):
        for batch in loader:
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(loss.item().hex())


if __name__ == "__main__":
    main()
