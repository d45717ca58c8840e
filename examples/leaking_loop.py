"""A loop that grows: it keeps every loss with its whole graph. `phasescope explain` on its session says so."""

from __future__ import annotations

import torch

import phasescope
from phasescope import phase


def main(steps: int = 300) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1))
    losses = []

    with phasescope.start() as session:
        for step in range(steps):
            with phase("step", n=step):
                with phase("forward"):
                    loss = model(torch.randn(128, 256)).square().mean()
                with phase("bookkeeping"):
                    losses.append(loss)  # the leak: `loss.item()` would keep a number, this keeps the graph
        print(session.summary())


if __name__ == "__main__":
    main()
