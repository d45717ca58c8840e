"""Fetch with two forked workers that are made for each epoch, and then with a spawned one that stays.

needs: torch
tree:
  epoch ×4
    step ×8
      data ×8
      forward ×8
      backward ×8
      optimizer ×8
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
    forked = {"num_workers": 2, "multiprocessing_context": "fork"}
    spawned = {"num_workers": 1, "multiprocessing_context": "spawn", "persistent_workers": True}
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    for workers in (forked, spawned):
        loader = torch.utils.data.DataLoader(Numbers(), batch_size=4, **workers)
        for _ in range(2):
            for batch in loader:
                loss = model(batch).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                print(loss.item().hex())


if __name__ == "__main__":
    main()
