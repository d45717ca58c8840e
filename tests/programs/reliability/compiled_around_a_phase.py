"""Compile a function with a phase in it as one whole graph.

needs: torch
"""

import torch

import phasescope

phasescope.start()


@torch.compile(fullgraph=True, backend="eager")
def doubled(x):
    with phasescope.phase("inside"):
        return x * 2


print(doubled(torch.ones(3)).tolist(), doubled(torch.ones(4)).tolist())
