"""What the scripts of loops have in common: `phasescope run` is at work, and each loop's phases are told."""

# mypy: ignore-errors
# ruff: noqa: E402

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.integrations import _auto

_auto.instrument_imports()

import torch
from phasescope.integrations import _run_loops, _torch_run
from torch import nn
from torch.utils.data import DataLoader

import phasescope
from support.scenarios import notes, phases, scenario

if TYPE_CHECKING:
    from collections.abc import Callable

torch.set_num_threads(1)


def forget_optimizers() -> None:
    _run_loops.loops.optimizers.__init__()
    _torch_run._roles.__init__(_run_loops.loops.optimizers)


def loop(function: Callable[[], Any]) -> Callable[[], Any]:
    """A scenario whose phases are told, and what their ends say of those that were not closed as they should be."""

    def told() -> Any:
        torch.manual_seed(0)
        forget_optimizers()
        _torch_run.begin_anew()
        with phasescope.start() as session:
            error = None
            try:
                function()
            except KeyboardInterrupt as raised:
                error = raised
            _auto.script_ended(error)
            return phases(session), notes(session)

    told.__name__ = function.__name__
    return scenario(told)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.linear(noise)


class Discriminator(Generator):
    pass


def data(rows: int = 4) -> DataLoader[Any]:
    rows_: Any = torch.randn(rows, 4)
    return DataLoader(rows_, batch_size=2)


def trained(model: nn.Module | None = None) -> tuple[Any, torch.optim.Optimizer]:
    model = model or Net()
    return model, torch.optim.Adam(model.parameters())


def loss_of(output: torch.Tensor) -> torch.Tensor:
    return nn.MSELoss()(output, torch.zeros_like(output))


def step(model: Any, optimizer: Any, inputs: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss_of(model(inputs)).backward()
    optimizer.step()
