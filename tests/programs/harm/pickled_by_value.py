"""Pickle classes of the script's own by their contents, as cloudpickle and dill do, after they were trained with.

needs: torch
tree:
  step ×3
    forward ×3
    backward ×3
    optimizer ×6
"""

from pathlib import Path
from types import FunctionType

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 1)

    def forward(self, inputs):
        return self.inner(inputs)

    def __call__(self, inputs):
        return self.forward(inputs)


class Descent:
    def __init__(self, parameters):
        self.parameters = list(parameters)

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        with torch.no_grad():
            for parameter in self.parameters:
                parameter -= 0.1 * parameter.grad


class Slow(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


def as_loaded(value):
    """Return what a pickle of this would become: of a function they write the code, of all else what it asks for."""
    if isinstance(value, FunctionType):
        return value
    make, given = value.__reduce_ex__(4)[:2]
    return None if make.__class__.__module__.startswith("phasescope") else make(*given)


torch.manual_seed(0)
model = Model()
ours, slow = Descent(model.parameters()), Slow(model.parameters(), 0.1)
for _ in range(3):
    model(torch.randn(4, 2)).square().mean().backward()
    ours.step()
    slow.step()
    ours.zero_grad()
for cls, name in ((Model, "__call__"), (Descent, "step"), (Slow, "step")):
    method = as_loaded(vars(cls)[name])
    print(cls.__name__, method.__qualname__, method.__code__.co_freevars, Path(method.__code__.co_filename).name)
