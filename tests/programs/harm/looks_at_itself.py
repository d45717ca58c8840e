"""Look at what hangs on the own model, class and optimizer, during the training.

needs: torch
loading: under run
tree:
  step ×2
    forward ×2
    backward ×2
    optimizer ×2
"""

import gc
import inspect
import itertools

import torch
from torch import nn


class Net(nn.Linear):
    def forward(self, x):
        frames = itertools.takewhile(lambda frame: frame.filename != __file__, inspect.stack()[1:])
        print("called through", [frame.function for frame in frames if "phasescope" in frame.filename])
        return super().forward(x)


torch.manual_seed(0)
model = Net(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    output = model(torch.ones(1, 2))
    print({name: len(value) for name, value in vars(model).items() if name.endswith("hooks")})
    print(vars(output), output._backward_hooks, type(output.grad_fn))
    output.sum().backward()
    optimizer.step()
print(sorted(vars(Net)), sorted(vars(optimizer)), model, optimizer)
del model, optimizer, output
print(gc.collect() >= 0, [type(thing).__name__ for thing in gc.get_objects() if type(thing) is Net])
