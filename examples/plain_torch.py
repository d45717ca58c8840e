"""A plain PyTorch training on CPU, with phases. Run it, and look in from another terminal: phasescope tail <pid>."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset

import phasescope
from phasescope import phase


def main(epochs: int = 3) -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(4096, 64), torch.randint(0, 10, (4096,))
    loader = DataLoader(TensorDataset(features, labels), batch_size=64, shuffle=True)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss()

    with phasescope.start() as session:
        for epoch in range(epochs):
            with phase("epoch", n=epoch):
                for inputs, targets in phasescope.track(loader, name="data"):
                    with phase("forward"):
                        loss = loss_of(model(inputs), targets)
                    with phase("backward"):
                        optimizer.zero_grad()
                        loss.backward()
                    with phase("optimizer"):
                        optimizer.step()
        print(session.summary())


if __name__ == "__main__":
    main()
